"""Clients that break JWT."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from resilient_vault_client import AuthenticationFailed, Secret, SecretNotFound, VaultClient
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Token as HeldToken
from resilient_vault_client._methods import JwtFile
from tests.mutants.clients import Mutant, by_name
from tests.mutants.reference_clients import GivesUpAfterAnEmptyFile
from vault_harness.judge.subjects.reference import ReferenceSubject

# JWT-01


class ReadsItsJwtOnce(ReferenceSubject):
    def __init__(self, environ: Mapping[str, str]) -> None:
        file = Path(environ["VAULT_JWT_FILE"])
        kept = file.with_name("kept-jwt")
        kept.write_text(file.read_text(encoding="ascii"), encoding="ascii")
        super().__init__(VaultClient(environ={**environ, "VAULT_JWT_FILE": str(kept)}))


class RetriesItsJwtWithoutAPause(ReferenceSubject):
    """At every call, and between calls."""

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


class GivesUpAfterARefusedJwt(ReferenceSubject):
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


class ReplacesAJwtTokenAfterItsEnd(ReferenceSubject):
    """It renews the token of an AppRole."""

    after = 1.2
    _over = 0.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ, renew=False))
        method = self.client._session().authenticator._method
        assert isinstance(method, JwtFile)
        log_in = method.log_in

        def past_its_end(deadline: Deadline) -> HeldToken:
            time.sleep(max(0.0, self._over - time.monotonic()))  # the caller has two seconds
            token = log_in(deadline)
            self._over = token.expires_at + self.after
            return token

        method.log_in = past_its_end  # type: ignore[method-assign]  # that is its fault


class ResolvesItsJwtLinkOnce(ReferenceSubject):
    """At its start, and reads that file for ever."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        file = Path(environ["VAULT_JWT_FILE"]).resolve()
        super().__init__(VaultClient(environ={**environ, "VAULT_JWT_FILE": str(file)}))


class TreatsARefusedJwtAsAMissingSecret(ReferenceSubject):
    """Every secret, once its JWT was refused."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))

    def read(self, path: str, key: str) -> Secret:
        if isinstance(self.client._session().authenticator.failure, AuthenticationFailed):
            raise SecretNotFound(f"there is no {path}", path=path)
        return super().read(path, key)


MUTANTS = by_name(
    Mutant(ReadsItsJwtOnce, "JWT-01", "0 refused logins"),
    Mutant(RetriesItsJwtWithoutAPause, "JWT-01", "requests (login)"),
    Mutant(GivesUpAfterARefusedJwt, "JWT-01", "a good read within"),
    Mutant(ReplacesAJwtTokenAfterItsEnd, "JWT-01", "a token is replaced before it ends"),
    Mutant(GivesUpAfterAnEmptyFile, "JWT-01", "a good read within").called(
        "gives-up-after-an-empty-jwt-file"
    ),
    Mutant(ResolvesItsJwtLinkOnce, "JWT-01", "0 refused logins"),
    Mutant(TreatsARefusedJwtAsAMissingSecret, "JWT-01", "a failure then is"),
)
