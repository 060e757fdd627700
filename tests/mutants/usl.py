"""Clients that break USL: a Vault that unseals itself, and sometimes cannot."""

from __future__ import annotations

from tests.mutants.clients import Mutant, NeverRecovers, RetriesWithoutAPause, Tolerated
from tests.mutants.login_clients import TriesTwiceInEachCall

MUTANTS: dict[str, Mutant] = {
    "never-recovers-after-an-auto-unseal": Mutant(NeverRecovers, "USL-01", "a good read within"),
    "retries-without-a-pause-while-the-key-is-missing": Mutant(
        RetriesWithoutAPause, "USL-01", "no connection storm"
    ),
}


TOLERATED: dict[str, Tolerated] = {
    "tries-twice-in-each-call-without-a-key": Tolerated(TriesTwiceInEachCall, "USL-01"),
}
