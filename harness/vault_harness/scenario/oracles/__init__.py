"""Oracles: functions from a history to findings. Each factory names a promise and its bound.

Times are in seconds, on the history's one clock. A bound on a time is exact, but for what the
machine was late by meanwhile (`History.slack`, some hundredths of a second on an idle one).

An oracle that asks something of each of many (reads, lives, failures) finds fault with none at all,
unless it is told that there `may_be_empty`. A bound on a count holds for none.
"""

from vault_harness.scenario.oracles._addresses import leaves_address, reaches_address, reads_at
from vault_harness.scenario.oracles._base import HANDOVER, Oracle
from vault_harness.scenario.oracles._callers import (
    every_call_ends_within,
    failed_reads_at_most,
    fails_as,
    failures_are,
    health_is_answered,
    no_failed_read,
    no_wrong_value,
    of_one_version,
    recovers_within,
    says_of_its_health,
    sees,
    stays_alive,
    writes_again,
)
from vault_harness.scenario.oracles._calm import asks_no_more_than_before
from vault_harness.scenario.oracles._credentials import (
    accepted_again,
    credentials_apart,
    credentials_at_most,
    leases_renewed_within,
    no_refused_use,
    renewals_of_a_lost_lease_at_most,
    uses_go_on,
)
from vault_harness.scenario.oracles._going_on import (
    reads_go_on,
    renewals_hold_up_nobody,
)
from vault_harness.scenario.oracles._herd import (
    each_caller_recovers,
    logins_are_spread,
    no_stampede,
    still_waiting,
)
from vault_harness.scenario.oracles._lives import (
    LOGS_IN_INSTEAD,
    came_through,
    last_grant,
    never_renews,
    no_refused_read,
    renewals_at_most,
    renewed_or_replaced,
    renews_again,
    renews_within,
    replaced_before_the_end,
)
from vault_harness.scenario.oracles._logins import (
    bad_logins_at_most,
    last_pause,
    logins_at_most,
    logins_given_up,
    logins_with_one_secret_id_at_most,
    logs_in_again,
    same_token,
)
from vault_harness.scenario.oracles._measured import (
    at_most,
    none_of,
    takes_at_most,
)
from vault_harness.scenario.oracles._requests import (
    STORM_PEAK,
    a_denial_costs_little,
    kept_unasked,
    names_its_namespace,
    no_connection_storm,
    no_credential_sent,
    no_request_storm,
    obeys_retry_after,
    pauses_between_tries,
    quiet_requests,
    requests_a_call_at_most,
    requests_at_most,
)

__all__ = [
    "HANDOVER",
    "LOGS_IN_INSTEAD",
    "Oracle",
    "STORM_PEAK",
    "a_denial_costs_little",
    "accepted_again",
    "came_through",
    "asks_no_more_than_before",
    "at_most",
    "bad_logins_at_most",
    "each_caller_recovers",
    "last_grant",
    "last_pause",
    "still_waiting",
    "credentials_apart",
    "credentials_at_most",
    "every_call_ends_within",
    "failed_reads_at_most",
    "fails_as",
    "failures_are",
    "health_is_answered",
    "kept_unasked",
    "leaves_address",
    "logins_are_spread",
    "leases_renewed_within",
    "logins_at_most",
    "logins_given_up",
    "logins_with_one_secret_id_at_most",
    "logs_in_again",
    "never_renews",
    "no_connection_storm",
    "no_credential_sent",
    "no_failed_read",
    "no_refused_read",
    "names_its_namespace",
    "no_refused_use",
    "no_request_storm",
    "no_stampede",
    "no_wrong_value",
    "none_of",
    "obeys_retry_after",
    "of_one_version",
    "pauses_between_tries",
    "quiet_requests",
    "reaches_address",
    "reads_at",
    "reads_go_on",
    "recovers_within",
    "renewals_at_most",
    "renewals_hold_up_nobody",
    "renewals_of_a_lost_lease_at_most",
    "renewed_or_replaced",
    "renews_again",
    "renews_within",
    "replaced_before_the_end",
    "requests_a_call_at_most",
    "requests_at_most",
    "same_token",
    "says_of_its_health",
    "sees",
    "stays_alive",
    "takes_at_most",
    "uses_go_on",
    "writes_again",
]
