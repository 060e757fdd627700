"""Clients that stumble where one token, or what they log in with, comes in the place of another.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

from resilient_vault_client import AuthenticationFailed, Secret, SecretNotFound, VaultClient
from tests.mutants.clients import AtShare
from tests.mutants.wholes import TakesAnOutageForAnEmptyWhole, _KeyByKeyAsEver
from tests.subjects.lazy_client import Credentials, LazyClient, Token, _secret
from tests.subjects.lazy_wire import (
    ClientError,
    DeniedError,
    MissingError,
    Reply,
    UnavailableError,
)
from vault_harness.subjects.reference import ReferenceSubject

# While there is no other token yet


class HasNoneWhileItLogsIn(LazyClient):
    """Throws its token away before it asks for another: who reads meanwhile is told there is none.

    A login takes milliseconds, so that hardly any read comes in between where Vault is idle.
    """

    _between = False

    def _log_in(self, deadline: float) -> Token:
        self._between = self._token is not None
        self._token = None
        try:
            return super()._log_in(deadline)
        finally:
            self._between = False

    def _valid_token(self, deadline: float) -> Token:
        if self._between:
            raise DeniedError("it is not logged in")
        return super()._valid_token(deadline)


class GivesItsTokenBackFirst(LazyClient):
    """Gives its token back before it asks for another: who reads meanwhile has none that lives."""

    def _log_in(self, deadline: float) -> Token:
        if (old := self._token) is not None:
            with contextlib.suppress(ClientError):
                self._ask("POST", "auth/token/revoke-self", deadline, old, {})
        return super()._log_in(deadline)


class TakesAnothersLossForADenial(LazyClient):
    """Whose token another caller has replaced takes its own refusal for the policy's, and keeps it.

    One of many is served again, and the others never.
    """

    keeps = float("inf")

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._refused: dict[str, float] = {}

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        with self._held(deadline):
            if self._token is not token:
                self._refused[where] = time.monotonic()
                return False
            return super()._was_dead(where, token, deadline)

    def _fetch(self, path: str, deadline: float) -> Reply:
        refused = self._refused.get(f"{self._mount}/data/{path}", float("-inf"))
        if time.monotonic() - refused < self.keeps:
            raise DeniedError(f"the policy denies {path}")
        return super()._fetch(path, deadline)


class TakesAnothersLossForADenialOnce(TakesAnothersLossForADenial):
    """Asks anew when a value would be asked for anew."""

    keeps = 4.8


# The next renewal, the next token


class EndsItsRenewerAtAPage(AtShare):
    """Tries a renewal again that failed; an answer that is no JSON it cannot even read.

    Nobody catches what comes of that, and the thread that renews ends by it.
    """

    share = 0.5
    _ended = False

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError as error:
            self._ended = "none of Vault's" in str(error)
            raise

    def _arm(self, seconds: float) -> None:
        if not self._ended:
            super()._arm(seconds)


class RenewsItsFirstTokenAlone(LazyClient):
    """Starts its renewer with the token of its start, and none with those that come after it."""

    _first: Token | None = None

    def _arm(self, seconds: float) -> None:
        self._first = self._first or self._token
        if self._token is self._first:
            super()._arm(seconds)


# No login, and what callers are told of it


class TakesNoLoginForNoSecret(LazyClient):
    """Has one error for all that a secret could not be had for: that there is none of that name.

    Who mirrors secrets deletes what is missing.
    """

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except DeniedError:
            raise MissingError("there is no such secret") from None
        except UnavailableError as error:
            if "no login of this role" not in str(error):
                raise
            raise MissingError("there is no such secret") from None


class TakesNoLoginForAnEmptyWhole(TakesAnOutageForAnEmptyWhole):
    """There is nothing in a secret while it cannot log in."""


class TakesARefusedJwtForNoSecret(ReferenceSubject):
    """Says that there is no secret, of whatever name, from when its JWT is refused on."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))

    def read(self, path: str, key: str) -> Secret:
        if isinstance(self.client._session().authenticator.failure, AuthenticationFailed):
            raise SecretNotFound(f"there is no {path}", path=path)
        return super().read(path, key)


# What is in a file, and where that is


class _GetsOverOne(Credentials):
    """Has a mark for a refused secret-id, which is taken back once."""

    def usable(self, secret_id: str) -> bool:
        return len(self._failed) < 2 and super().usable(secret_id)


class GetsOverOneBadSecretId(LazyClient):
    """Uses the secret-id that comes after a refused one; once another is refused it uses none."""

    credentials_type = _GetsOverOne


class ResolvesItsJwtFileOnce(ReferenceSubject):
    """Asks at its start where the file of its JWT leads, and reads that one ever after."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        file = Path(environ["VAULT_JWT_FILE"]).resolve()
        super().__init__(VaultClient(environ={**environ, "VAULT_JWT_FILE": str(file)}))


# Another piece of code


class ReadsWholesInTheRoot(_KeyByKeyAsEver):
    """Reads whole secrets by code of their own, which has no header for the namespace."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._other = self.wire_type({**environ, "VAULT_NAMESPACE": ""})

    def read_all(self, path: str) -> dict[str, str]:
        deadline = time.monotonic() + self._deadline * 0.95
        token = self._valid_token(deadline).value
        where = f"{self._mount}/data/{path}"
        return _secret(self._other.send("GET", where, deadline=deadline, token=token), path)
