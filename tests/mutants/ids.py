"""Clients that do well with what they log in with, as far as is tried first, and no step further.

At the second login, at a file that is gone for a moment, at Vault's absence, at the next burst of
tries. Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

from resilient_vault_client import VaultClient, VaultError, VaultUnavailable
from resilient_vault_client._approle import AppRole
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._wrapped import WrappedSecretId
from tests.subjects.lazy_client import Credentials, LazyClient, Token, _mark
from tests.subjects.lazy_wire import GivenUpError
from vault_harness.subjects.reference import ReferenceSubject

# Files of ids


class NeedsItsFile(LazyClient):
    """What logs in ends with an error that nobody expected: the file was not there."""

    _ended = False

    def _log_in(self, deadline: float) -> Token:
        file = self._environ.get("VAULT_SECRET_ID_FILE")
        if self._ended or (file and not Path(file).exists()):
            self._ended = True
            raise GivenUpError("nobody logs in any more")
        return super()._log_in(deadline)


# Wrapping tokens


class UnwrapsBy(ReferenceSubject):
    """The reference client, which opens its wrapping token in another way."""

    wrapped_type: type[WrappedSecretId] = WrappedSecretId

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        method = self.client._session().authenticator._method
        assert isinstance(method, AppRole)
        assert method._wrapped is not None
        method._wrapped.__class__ = self.wrapped_type


class _KeepsNothing(WrappedSecretId):
    """What is in the file is opened, whatever came of it before."""

    def load(self, deadline: Deadline, patience: float) -> str:
        self._opened.wrapping = ""
        return super().load(deadline, patience)


class OpensAtEachLogin(UnwrapsBy):
    """Its secret-id is for one login: for the next one it opens the same wrapping token again."""

    wrapped_type = _KeepsNothing


class _OpensOnceMore(WrappedSecretId):
    """What it has been given is tried to be had anew, before each login but the first."""

    def load(self, deadline: Deadline, patience: float) -> str:
        if self._opened.secret_id:
            with contextlib.suppress(VaultError):
                answer = self._api.unwrap(self._opened.wrapping, deadline)
                self._opened.secret_id = str(answer["data"]["secret_id"])
        return super().load(deadline, patience)


class KnocksAtEachLogin(UnwrapsBy):
    """Whoever looks for stolen secret-ids in the audit log is called at each login of its."""

    wrapped_type = _OpensOnceMore


class _BurntByAnOutage(WrappedSecretId):
    """Tried is spent."""

    def _open(self, wrapping: str, deadline: Deadline, patience: float) -> str:
        try:
            return super()._open(wrapping, deadline, patience)
        except VaultUnavailable:
            return ""


class TakesAnOutageForASpentToken(UnwrapsBy):
    """A wrapping token that could not be opened for Vault's absence is one that cannot be."""

    wrapped_type = _BurntByAnOutage


# Bursts of tries


class _InBursts(Credentials):
    """A refused secret-id is tried thrice at once, then again after a rest."""

    burst, rest = 3, 20.0

    def usable(self, secret_id: str) -> bool:
        times = self._failed.get(_mark(secret_id), [])
        return len(times) % self.burst > 0 or not times or time.monotonic() - times[-1] >= self.rest


class TriesInBursts(LazyClient):
    """Has a circuit around its logins: three failures open it, and twenty seconds close it."""

    credentials_type = _InBursts


class _InPairs(_InBursts):
    burst = 2


class TriesInPairs(LazyClient):
    """Reads the file anew and tries once more, after each rest."""

    credentials_type = _InPairs
