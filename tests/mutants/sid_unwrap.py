"""Clients that break SID-09 to 11: wrapped secret-ids."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

from resilient_vault_client import (
    PermissionDenied,
    RequestRefused,
    Secret,
    VaultClient,
    VaultError,
    VaultUnavailable,
)
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Token as ReferenceToken
from resilient_vault_client._methods import AppRole, WrappedSecretId
from resilient_vault_client._renewer import Renewer
from resilient_vault_client._transport import Answer, Api
from tests.mutants.clients import WHOLES, Mutant, Tolerated, by_name
from tests.mutants.reference_clients import LoadsInEachWay
from vault_harness.judge.subjects.reference import ReferenceSubject

# SID-09


class _Opens(WrappedSecretId):
    """Opens what is in the file again and again."""

    def _open(self, wrapping: str, deadline: Deadline) -> str:
        for _ in range(3):
            with contextlib.suppress(VaultError):
                answer = self._api.unwrap(wrapping, deadline)
                return str(answer["data"].get("secret_id", ""))
        return ""


class OpensAnyWrappingToken(ReferenceSubject):
    """It retries a spent one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        method = self.client._session().authenticator._method
        assert isinstance(method, AppRole)
        assert method._wrapped is not None
        method._wrapped.__class__ = _Opens


class LogsInWithoutASecretId(OpensAnyWrappingToken):
    """With the empty result of a spent wrapping token."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        method = self.client._session().authenticator._method
        assert isinstance(method, AppRole)
        wrapped = method._wrapped
        assert wrapped is not None
        load = wrapped.load

        def whatever(deadline: Deadline) -> str:
            with contextlib.suppress(VaultError):
                return load(deadline)
            return ""

        wrapped.load = whatever  # type: ignore[method-assign]  # that is its fault


class UnwrapsBy(ReferenceSubject):
    wrapped_type: type[WrappedSecretId] = WrappedSecretId

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        method = self.client._session().authenticator._method
        assert isinstance(method, AppRole)
        assert method._wrapped is not None
        method._wrapped.__class__ = self.wrapped_type


WHOLES[WrappedSecretId] = UnwrapsBy, "wrapped_type"


class _OpensTwice(WrappedSecretId):
    """Tries a spent wrapping token a second time."""

    tries = 2

    def _open(self, wrapping: str, deadline: Deadline) -> str:
        away: VaultUnavailable | None = None
        for _ in range(self.tries):
            try:
                answer = self._api.unwrap(wrapping, deadline)
            except VaultUnavailable as error:
                away = error
            except VaultError:
                away = None
            else:
                return str(answer["data"].get("secret_id", ""))
        if away is not None:  # no answer said that it is spent
            raise away
        return ""


class OpensAWrappingTokenTwice(UnwrapsBy):
    """Before it waits for another one."""

    wrapped_type: type[WrappedSecretId] = _OpensTwice


class _UnwrapsThreeTimes(_OpensTwice):
    tries = 3


class UnwrapsATokenThreeTimes(OpensAWrappingTokenTwice):
    wrapped_type = _UnwrapsThreeTimes


class _PausesAfterALoss(WrappedSecretId):
    """Reports an outage, not a denial, until Vault has refused the token."""

    rests = 0.8
    _lost: tuple[str, float] = "", 0.0

    def _open(self, wrapping: str, deadline: Deadline) -> str:
        lost, at = self._lost
        if lost == wrapping and time.monotonic() < at + self.rests:
            raise VaultUnavailable("the answer to an unwrap was lost a moment ago")
        try:
            answer = self._api.unwrap(wrapping, deadline)
        except VaultUnavailable:
            self._lost = wrapping, time.monotonic()
            raise
        except VaultError:
            return ""
        return str(answer["data"].get("secret_id", ""))


class _NeverKnows(_PausesAfterALoss):
    """Takes Vault's word that the token is spent for an outage."""

    _spent = ""

    def _open(self, wrapping: str, deadline: Deadline) -> str:
        if wrapping != self._spent:
            if opened := super()._open(wrapping, deadline):
                return opened
            self._spent = wrapping
        raise VaultUnavailable("nothing came out of the wrapping token")


class TreatsASpentWrappingTokenAsAnOutage(OpensAWrappingTokenTwice):
    wrapped_type = _NeverKnows


class TreatsAnOutageAsASpentWrappingToken(WrappedSecretId):
    """Takes a failed try for a spent token."""

    def _open(self, wrapping: str, deadline: Deadline) -> str:
        try:
            return super()._open(wrapping, deadline)
        except VaultUnavailable:
            return ""


class _RefusedByAGateway(Api):
    def unwrap(self, token: str, deadline: Deadline) -> Answer:
        try:
            return super().unwrap(token, deadline)
        except VaultUnavailable as error:
            if error.status != 502:
                raise
            raise RequestRefused("the wrapping token is spent") from error


class TreatsAGatewayPageAsASpentWrappingToken(WrappedSecretId):
    def _open(self, wrapping: str, deadline: Deadline) -> str:
        self._api = copy.copy(self._api)
        self._api.__class__ = _RefusedByAGateway
        return super()._open(wrapping, deadline)


class PausesAfterALostUnwrap(OpensAWrappingTokenTwice):
    """The pause lasts for several calls."""

    wrapped_type = _PausesAfterALoss


# SID-10


class LooksAtItsWrappingTokenOnce(ReferenceSubject):
    def __init__(self, environ: Mapping[str, str]) -> None:
        file = Path(environ["VAULT_WRAPPED_SECRET_ID_FILE"])
        kept = file.with_name("kept-wrapping")
        kept.write_text(file.read_text(encoding="ascii"), encoding="ascii")
        environ = {**environ, "VAULT_WRAPPED_SECRET_ID_FILE": str(kept)}
        super().__init__(VaultClient(environ=environ))


class ChecksOnlyItsFirstWrappingToken(WrappedSecretId):
    """It opens any later one."""

    def _open(self, wrapping: str, deadline: Deadline) -> str:
        if not self._opened.secret_id:
            return super()._open(wrapping, deadline)
        try:
            answer = self._api.unwrap(wrapping, deadline)
        except (RequestRefused, PermissionDenied):
            return ""
        return str((answer.get("data") or {}).get("secret_id") or "")


class _AtAThird(Renewer):
    def _plan(self, token: ReferenceToken) -> None:
        token.renewable = False
        super()._plan(token)
        self._due = token.granted_at + (token.expires_at - token.granted_at) / 3


class KeepsAndUnwraps(UnwrapsBy):
    """It may have replaced a lost token by its next read."""

    keeps = 9.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().renewer.__class__ = _AtAThird
        self.declares["refresh"] = self.keeps + 1.0
        self._values: dict[tuple[str, str], tuple[float, Secret]] = {}

    def read(self, path: str, key: str) -> Secret:
        asked = monotonic()
        kept = self._values.get((path, key))
        if kept is None or asked - kept[0] >= self.keeps:
            kept = self._values[path, key] = asked, super().read(path, key)
        return kept[1]


# SID-11


class UnwrapsTheSameTokenAtEachLogin(WrappedSecretId):
    """Unwraps the token in the file, also a spent one."""

    def load(self, deadline: Deadline) -> str:
        self._opened.wrapping = ""
        return super().load(deadline)


class TriesASpentWrappingTokenAtEachLogin(WrappedSecretId):
    """Tries to unwrap the same token before each login but the first."""

    def load(self, deadline: Deadline) -> str:
        if self._opened.secret_id:
            with contextlib.suppress(VaultError):
                answer = self._api.unwrap(self._opened.wrapping, deadline)
                self._opened.secret_id = str(answer["data"]["secret_id"])
        return super().load(deadline)


MUTANTS = by_name(
    Mutant(LogsInWithoutASecretId, "SID-09", "requests (login)").called(
        "logs-in-with-an-empty-secret-id-after-a-lost-unwrap"
    ),
    Mutant(UnwrapsATokenThreeTimes, "SID-09", "requests (unwrap)").called(
        "tries-a-lost-wrapping-token-three-times"
    ),
    Mutant(TreatsASpentWrappingTokenAsAnOutage, "SID-09", "a read fails as denied"),
    Mutant(TreatsAnOutageAsASpentWrappingToken, "SID-09", "a good read within"),
    Mutant(TreatsAGatewayPageAsASpentWrappingToken, "SID-09", "a good read within"),
    Mutant(OpensAnyWrappingToken, "SID-10", "neither opened nor used").called(
        "unwraps-any-wrapping-token"
    ),
    Mutant(LooksAtItsWrappingTokenOnce, "SID-10", "a good read within").called(
        "never-reads-another-wrapping-token"
    ),
    Mutant(ChecksOnlyItsFirstWrappingToken, "SID-10", "neither opened nor used"),
    Mutant(LogsInWithoutASecretId, "SID-11", "requests (login)"),
    Mutant(LooksAtItsWrappingTokenOnce, "SID-11", "a good read within").called(
        "never-reads-a-second-wrapping-token"
    ),
    Mutant(UnwrapsATokenThreeTimes, "SID-11", "requests (unwrap)").called(
        "tries-a-spent-wrapping-token-three-times"
    ),
    Mutant(UnwrapsTheSameTokenAtEachLogin, "SID-11", "a good read within"),
    Mutant(TriesASpentWrappingTokenAtEachLogin, "SID-11", "at most 0 requests (unwrap)"),
)


TOLERATED = by_name(
    Tolerated(LoadsInEachWay, "SID-09").called("loads-code-with-a-lost-wrapping-token", takes=1.7),
    Tolerated(OpensAWrappingTokenTwice, "SID-09").called("tries-a-lost-wrapping-token-twice"),
    Tolerated(PausesAfterALostUnwrap, "SID-09"),
    Tolerated(KeepsAndUnwraps, "SID-10").called(
        "notices-a-lost-token-late-with-a-foreign-wrapping-token"
    ),
    Tolerated(OpensAWrappingTokenTwice, "SID-11").called("tries-a-spent-wrapping-token-twice"),
)
