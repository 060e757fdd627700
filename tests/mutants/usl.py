"""Clients that break the promises of USL: a Vault that unseals itself, and cannot for a while."""

from __future__ import annotations

from tests.mutants.clients import Mutant, NeverComesBack, RetriesWithoutAPause

MUTANTS: dict[str, Mutant] = {
    "never-comes-back-after-an-auto-unseal": Mutant(NeverComesBack, "USL-01", "a good read within"),
    "retries-without-a-pause-for-the-key": Mutant(
        RetriesWithoutAPause, "USL-01", "no connection storm"
    ),
}
