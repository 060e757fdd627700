"""Clients that are broken on purpose, each in one way that was seen in the wild.

A mutant deviates in a few lines from a client that is correct: from ``tests.subjects.lazy_client``,
or from the reference client where the fault needs a cache or a fallback. `MUTANTS` says which
scenario must catch it, and what its verdict must say. Each can be tried by hand::

    ./dev scenarios --only TOK-01 --subject python:tests.mutants.lazy_mutants:NeverRenews
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.mutants import lazy_mutants as lazy
from tests.mutants import reference_mutants as reference

LAZY = "python:tests.subjects.lazy_client:LazyClient"
REFERENCE = "reference"


@dataclass(frozen=True)
class Mutant:
    """A broken client, and how it must be caught.

    Attributes:
        factory: Makes it from an environment.
        scenario: The id of the scenario that must fail it.
        reason: What one of the findings must say.
        base: The correct client, as a subject, from which it deviates.
        process: Whether it runs in a process of its own.
    """

    factory: Callable[[Mapping[str, str]], Any]
    scenario: str
    reason: str
    base: str = LAZY
    process: bool = False

    @property
    def subject(self) -> str:
        """What to give as ``--subject``."""
        text = f"python:{self.factory.__module__}:{self.factory.__name__}"
        return (
            f"command:{sys.executable} -m vault_harness.subjects {text}" if self.process else text
        )


MUTANTS: dict[str, Mutant] = {
    "never-renews": Mutant(lazy.NeverRenews, "TOK-01", "a renewal or a login between"),
    "renews-too-late": Mutant(lazy.RenewsTooLate, "TOK-01", "a renewal or a login between"),
    "renews-once": Mutant(lazy.RenewsOnce, "TOK-01", "a renewal or a login between"),
    "renews-all-the-time": Mutant(lazy.RenewsAllTheTime, "TOK-01", "into a life of"),
    "logs-in-for-every-read": Mutant(lazy.LogsInForEveryRead, "TOK-01", "at most 1 login"),
    "renews-by-the-clock": Mutant(lazy.RenewsByTheClock, "TOK-02", "instances differ by"),
    "ignores-max-ttl": Mutant(lazy.IgnoresMaxTtl, "TOK-03", "no read fails"),
    "renews-the-unrenewable": Mutant(lazy.RenewsTheUnrenewable, "TOK-06", "renewals"),
    "never-logs-in-again": Mutant(lazy.NeverLogsInAgain, "TOK-11", "a new login within"),
    "logs-in-twice": Mutant(lazy.LogsInTwice, "TOK-11", "at most 1 login"),
    "logs-in-once-per-thread": Mutant(lazy.LogsInOncePerThread, "TOK-12", "at most 1 login"),
    "renews-in-a-hot-loop": Mutant(lazy.RenewsInAHotLoop, "TOK-15", "at most 4 renewals"),
    "gives-up-renewing": Mutant(lazy.GivesUpRenewing, "TOK-16", "the next renewal succeeds"),
    "loses-a-reset-renewal": Mutant(lazy.GivesUpRenewing, "NET-12", "the next renewal succeeds"),
    "leaves-its-token-behind": Mutant(lazy.LeavesItsTokenBehind, "TOK-19", "tokens alive"),
    "hangs-at-the-end": Mutant(lazy.HangsAtTheEnd, "TOK-19", "tokens alive"),
    "logs-in-on-every-403": Mutant(lazy.LogsInOnEvery403, "POL-01", "3 logins for"),
    "takes-denied-for-unavailable": Mutant(
        lazy.TakesDeniedForUnavailable, "POL-01", "fails as denied"
    ),
    "reads-its-secret-id-once": Mutant(lazy.ReadsItsSecretIdOnce, "SID-01", "refused logins"),
    "hammers-its-secret-id": Mutant(lazy.HammersItsSecretId, "SID-02", "the same secret-id"),
    "never-tries-a-new-secret-id": Mutant(
        lazy.NeverTriesANewSecretId, "SID-03", "a good read within"
    ),
    "always-says-well": Mutant(
        reference.AlwaysSaysWell, "SID-02", "health tells the truth", REFERENCE
    ),
    "takes-a-seal-for-a-dead-token": Mutant(
        lazy.TakesASealForADeadToken, "SEA-01", "the token survives"
    ),
    "retries-without-a-pause": Mutant(lazy.RetriesWithoutAPause, "SEA-01", "no request storm"),
    "storms-at-its-start": Mutant(lazy.StormsAtItsStart, "SEA-03", "no request storm"),
    "gives-up-at-its-start": Mutant(lazy.GivesUpAtItsStart, "SEA-03", "a good read within"),
    "one-call-at-a-time": Mutant(lazy.OneCallAtATime, "SRV-04", "every call ends within"),
    "ignores-retry-after": Mutant(lazy.IgnoresRetryAfter, "SRV-05", "Retry-After is obeyed"),
    "never-comes-back": Mutant(lazy.NeverComesBack, "NET-01", "a good read within"),
    "dies-in-an-outage": Mutant(
        lazy.DiesInAnOutage, "NET-02", "the client stays alive", process=True
    ),
    "no-total-deadline": Mutant(lazy.NoTotalDeadline, "NET-08", "every call ends within"),
    "takes-half-an-answer": Mutant(lazy.TakesHalfAnAnswer, "NET-10", "no wrong value"),
    "caches-for-ever": Mutant(
        reference.CachesForEver, "KV-01", "a rotated secret is seen", REFERENCE
    ),
    "serves-stale-for-ever": Mutant(
        reference.ServesStaleForEver, "KV-02", "no value is served", REFERENCE
    ),
    "hides-that-it-is-stale": Mutant(
        reference.HidesThatItIsStale, "KV-02", "no value is served", REFERENCE
    ),
    "takes-deleted-for-empty": Mutant(lazy.TakesDeletedForEmpty, "KV-03", "reported as deleted"),
    "has-no-fallback": Mutant(reference.HasNoFallback, "FBK-01", "is the fallback", REFERENCE),
    "falls-back-for-good": Mutant(
        reference.FallsBackForGood, "FBK-01", "still give the fallback", REFERENCE
    ),
    "falls-back-on-a-denial": Mutant(
        reference.FallsBackOnADenial, "FBK-02", "fails as denied", REFERENCE
    ),
    "logs-its-token": Mutant(lazy.LogsItsToken, "PRC-04", "token"),
    "shows-its-secret-id": Mutant(lazy.ShowsItsSecretId, "PRC-04", "secret-id"),
}
"""The catalogue: every name says the fault."""
