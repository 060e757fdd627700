"""Clients that break the promises of TKF: a token file that an agent replaces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from resilient_vault_client import VaultClient
from tests.mutants.clients import REFERENCE, Mutant
from vault_harness.subjects.reference import ReferenceSubject


class ReadsItsTokenOnce(ReferenceSubject):
    """Takes the token that is in the file when it starts, and keeps it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        file = Path(environ["VAULT_TOKEN_FILE"])
        kept = file.with_name("kept-token")
        kept.write_text(file.read_text(encoding="ascii"), encoding="ascii")
        super().__init__(VaultClient(environ={**environ, "VAULT_TOKEN_FILE": str(kept)}))


class RevokesItsAgentsToken(ReferenceSubject):
    """Gives the token back at its end, as if it were its own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))

    def close(self) -> None:
        token = self.client._session().authenticator.current
        if token is not None:
            token.revocable = True
        super().close()


class HammersARefusedToken(ReferenceSubject):
    """Asks about a token that was refused as often as it can."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))

    def read(self, path: str, key: str) -> object:  # type: ignore[override]  # as good
        for _ in range(6):
            self.client._session().authenticator._login_backoff._until = 0.0
            value = super().read(path, key)
            if not value.stale:
                return value
        return value


MUTANTS: dict[str, Mutant] = {
    "reads-its-token-once": Mutant(ReadsItsTokenOnce, "TKF-01", "a good read within", REFERENCE),
    "revokes-its-agents-token": Mutant(
        RevokesItsAgentsToken, "TKF-01", "agent's token is left alone", REFERENCE
    ),
    "hammers-a-refused-token": Mutant(
        HammersARefusedToken, "TKF-01", "no request storm", REFERENCE
    ),
}
