"""Oracles: functions from a history to findings. Each factory names a promise and its bound.

Times are in seconds. `TOLERANCE` is granted to every bound on a time: a lab's machine is busy.
"""

from vault_harness.scenario.oracles._base import (
    STORM_PEAK,
    TOLERANCE,
    Oracle,
)
from vault_harness.scenario.oracles._callers import (
    every_call_ends_within,
    failed_reads_at_most,
    fails_as,
    failures_are,
    no_failed_read,
    no_wrong_value,
    recovers_within,
    says_of_its_health,
    sees,
    stays_alive,
)
from vault_harness.scenario.oracles._measured import (
    at_most,
    none_of,
)
from vault_harness.scenario.oracles._vault import (
    bad_logins_at_most,
    logins_at_most,
    logins_with_one_secret_id_at_most,
    logs_in_again,
    no_connection_storm,
    no_refused_read,
    no_request_storm,
    obeys_retry_after,
    renewals_at_most,
    renews_again,
    renews_within,
    requests_a_call_at_most,
    requests_at_most,
    same_token,
)

__all__ = [
    "Oracle",
    "STORM_PEAK",
    "TOLERANCE",
    "at_most",
    "bad_logins_at_most",
    "every_call_ends_within",
    "failed_reads_at_most",
    "fails_as",
    "failures_are",
    "logins_at_most",
    "logins_with_one_secret_id_at_most",
    "logs_in_again",
    "no_connection_storm",
    "no_failed_read",
    "no_refused_read",
    "no_request_storm",
    "no_wrong_value",
    "none_of",
    "obeys_retry_after",
    "recovers_within",
    "renewals_at_most",
    "renews_again",
    "renews_within",
    "requests_a_call_at_most",
    "requests_at_most",
    "same_token",
    "says_of_its_health",
    "sees",
    "stays_alive",
]
