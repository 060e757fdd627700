"""Beyond the lab: stand-ins for Vault, other hosts and leaders, starts, lives, footprints."""

from __future__ import annotations

from vault_harness.scenario.helpers._asking_vault import (
    allow_writes,
    canary,
    lockout,
    turns,
    version_of,
)
from vault_harness.scenario.helpers._connections import (
    dead_connections,
    end_connections,
    handshakes_since,
    nobody_takes_connections,
)
from vault_harness.scenario.helpers._footprint import (
    Footprint,
    footprint,
    footprint_at_rest,
    held_by,
    left_behind,
    processor_time,
    threads_beside,
)
from vault_harness.scenario.helpers._instead import (
    OtherHost,
    instead_of_vault,
    other_host,
    silent_host,
    uninitialised,
    vault_gone,
)
from vault_harness.scenario.helpers._leaders import (
    fails_over,
    leading_to,
    leads_again,
    served_again,
)
from vault_harness.scenario.helpers._lives import (
    accessor_in_use,
    given_up,
    lost_until_met,
    recovery_of_calls,
    renewal_comes,
    replaced_unmet,
    served_while_its_token_lives,
    sleeps,
)
from vault_harness.scenario.helpers._starts import (
    await_start,
    callers_if_started,
    start_meanwhile,
    started_again,
    tries_meanwhile,
    works_after_all,
)
from vault_harness.scenario.helpers._ways import (
    ask_for_a_whole,
    every_way,
    has_its_files,
    reading_in_each_way,
    reading_in_every_way,
    recovers_in_each_way,
    ways,
    wholes_come_back,
)

__all__ = [
    "Footprint",
    "OtherHost",
    "accessor_in_use",
    "allow_writes",
    "ask_for_a_whole",
    "await_start",
    "callers_if_started",
    "canary",
    "dead_connections",
    "end_connections",
    "every_way",
    "fails_over",
    "footprint",
    "footprint_at_rest",
    "given_up",
    "handshakes_since",
    "has_its_files",
    "held_by",
    "instead_of_vault",
    "leading_to",
    "leads_again",
    "left_behind",
    "lockout",
    "lost_until_met",
    "nobody_takes_connections",
    "other_host",
    "processor_time",
    "reading_in_each_way",
    "reading_in_every_way",
    "recovers_in_each_way",
    "recovery_of_calls",
    "renewal_comes",
    "served_again",
    "replaced_unmet",
    "served_while_its_token_lives",
    "silent_host",
    "sleeps",
    "start_meanwhile",
    "started_again",
    "threads_beside",
    "tries_meanwhile",
    "turns",
    "uninitialised",
    "vault_gone",
    "version_of",
    "ways",
    "wholes_come_back",
    "works_after_all",
]
