"""Clients that break the promises of JWT: a platform's own way in, whose file is replaced."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from resilient_vault_client import VaultClient
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._jwt import JwtFile
from resilient_vault_client._token import Token as HeldToken
from tests.mutants import oversights, turnovers
from tests.mutants.clients import REFERENCE, Mutant
from vault_harness.subjects.reference import ReferenceSubject


class ReadsItsJwtOnce(ReferenceSubject):
    """Takes the JWT that is in the file when it starts, and keeps it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        file = Path(environ["VAULT_JWT_FILE"])
        kept = file.with_name("kept-jwt")
        kept.write_text(file.read_text(encoding="ascii"), encoding="ascii")
        super().__init__(VaultClient(environ={**environ, "VAULT_JWT_FILE": str(kept)}))


class HammersItsJwt(ReferenceSubject):
    """Tries a refused JWT again at every call, and between them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))

    def read(self, path: str, key: str) -> object:  # type: ignore[override]  # as good
        session = self.client._session()
        method = session.authenticator._method
        assert isinstance(method, JwtFile)
        for _ in range(4):
            method._until = session.authenticator._login_backoff._until = 0.0
            value = super().read(path, key)
            if not value.stale:
                return value
        return value


class TakesARefusedJwtForTheEnd(ReferenceSubject):
    """Logs in no more once a JWT of its was refused."""

    _refused = ""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        method = self.client._session().authenticator._method
        assert isinstance(method, JwtFile)
        spare = method._spare

        def for_good(jwt: str) -> None:
            if method._rejected:
                method._until, jwt = float("inf"), self._refused
            else:
                self._refused = jwt
            spare(jwt)

        method._spare = for_good  # type: ignore[method-assign]  # that is its fault


class LetsAJwtsTokenRunOut(ReferenceSubject):
    """Looks after the token of an AppRole; one that came by a JWT it replaces when it has ended."""

    after = 1.2
    _over = 0.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ, renew=False))
        method = self.client._session().authenticator._method
        assert isinstance(method, JwtFile)
        log_in = method.log_in

        def past_its_end(deadline: Deadline, patience: float) -> HeldToken:
            time.sleep(max(0.0, self._over - time.monotonic()))  # the caller has two seconds
            token = log_in(deadline, patience)
            self._over = token.expires_at + self.after
            return token

        method.log_in = past_its_end  # type: ignore[method-assign]  # that is its fault


MUTANTS: dict[str, Mutant] = {
    "reads-its-jwt-once": Mutant(ReadsItsJwtOnce, "JWT-01", "0 refused logins", REFERENCE),
    "hammers-its-jwt": Mutant(HammersItsJwt, "JWT-01", "requests (login)", REFERENCE),
    "takes-a-refused-jwt-for-the-end": Mutant(
        TakesARefusedJwtForTheEnd, "JWT-01", "a good read within", REFERENCE
    ),
    "lets-a-jwts-token-run-out": Mutant(
        LetsAJwtsTokenRunOut, "JWT-01", "a token is replaced before it ends", REFERENCE
    ),
    "takes-an-empty-jwt-file-for-the-end": Mutant(
        oversights.TakesAnEmptyFileForTheEnd, "JWT-01", "a good read within", REFERENCE
    ),
    "resolves-its-jwt-file-once": Mutant(
        turnovers.ResolvesItsJwtFileOnce, "JWT-01", "0 refused logins", REFERENCE
    ),
    "takes-a-refused-jwt-for-no-secret": Mutant(
        turnovers.TakesARefusedJwtForNoSecret, "JWT-01", "a failure then is", REFERENCE
    ),
}
