"""Clients that break USL: a Vault that unseals itself, and sometimes cannot."""

from __future__ import annotations

from tests.mutants.clients import Mutant, NeverRecovers, RetriesWithoutAPause, Tolerated, by_name
from tests.mutants.login_clients import TriesTwiceInEachCall

MUTANTS = by_name(
    Mutant(NeverRecovers, "USL-01", "a good read within").called(
        "never-recovers-after-an-auto-unseal"
    ),
    Mutant(RetriesWithoutAPause, "USL-01", "no connection storm").called(
        "retries-without-a-pause-while-the-key-is-missing"
    ),
)


TOLERATED = by_name(
    Tolerated(TriesTwiceInEachCall, "USL-01").called("tries-twice-in-each-call-without-a-key"),
)
