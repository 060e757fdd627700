"""Clients to which Vault gives no credential, for a while, and who take it badly.

Each deviates from the reference client, and is listed in ``lease.py``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import ClassVar

from resilient_vault_client import Credential, PermissionDenied, VaultError, VaultUnavailable
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import ServerFailed
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from resilient_vault_client._leases import Leases
from resilient_vault_client._token import Token
from tests.mutants.clients import Leasing

# Failing


class _AsksAgain(Leases):
    """Asks again within a call, for as long as that has time."""

    pause = 0.1

    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        while True:
            try:
                return super()._ask(path, token, deadline)
            except ServerFailed:
                if deadline.remaining() < 2 * self.pause:
                    raise
                time.sleep(self.pause)


class LeasesInHaste(Leasing):
    """Asks a failing engine for a credential ten times a second."""

    leases_type: ClassVar[type[Leases]] = _AsksAgain


class _AsksAgainSlowly(_AsksAgain):
    pause = 0.4


class LeasesOften(Leasing):
    """Two and a half times a second."""

    leases_type: ClassVar[type[Leases]] = _AsksAgainSlowly


class _DropsItsToken(Leases):
    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        try:
            return super()._ask(path, token, deadline)
        except ServerFailed:
            self._authenticator._lose(token, "rejected")
            raise


class TakesAFailingEngineForADeadToken(Leasing):
    """Logs in anew where Vault's engine for the database fails."""

    leases_type: ClassVar[type[Leases]] = _DropsItsToken


class CallsAFailureADenial(Leasing):
    """Tells whoever asks while the engine fails that he may not."""

    def lease(self, path: str, failed: str | None = None) -> Credential:
        try:
            return super().lease(path, failed)
        except ServerFailed as error:
            raise PermissionDenied(str(error)) from error


# Denied


class _AsksEachTime(Leases):
    """Asks Vault in each call, without a pause after a denial."""

    def _note(self, held: Held, error: VaultError) -> None:
        super()._note(held, error)
        held.blocked_until = 0.0

    def _failed(self, held: Held, error: VaultError) -> float:
        wait = super()._failed(held, error)
        held.blocked_until = 0.0
        return wait


class LogsInForEachDeniedLease(Leasing):
    """Takes a denial for the end of its token."""

    leases_type: ClassVar[type[Leases]] = _AsksEachTime

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        session = self.client._session()
        careful = session.leases._with_token

        def careless(operation, **rest):  # type: ignore[no-untyped-def]  # as `WithToken`
            try:
                return careful(operation, **rest)
            except PermissionDenied:
                if (token := session.authenticator.current) is not None:
                    session.authenticator._lose(token, "rejected")
                raise

        session.leases._with_token = careless


class _AsksThrice(_AsksEachTime):
    tries = 3

    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        for _ in range(self.tries - 1):
            try:
                return super()._ask(path, token, deadline)
            except PermissionDenied:
                time.sleep(0.01)
        return super()._ask(path, token, deadline)


class AsksThriceForADeniedLease(Leasing):
    """Makes sure in each call that it is denied, and once more; it never logs in for that."""

    leases_type: ClassVar[type[Leases]] = _AsksThrice

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().authenticator._policy_login_due = math.inf


class _AsksTwice(_AsksThrice):
    tries = 2


class AsksTwiceForADeniedLease(AsksThriceForADeniedLease):
    """Makes sure that it is denied, each time."""

    leases_type = _AsksTwice


class CallsADenialAnOutage(Leasing):
    """Tells whoever is denied to come again later."""

    def lease(self, path: str, failed: str | None = None) -> Credential:
        try:
            return super().lease(path, failed)
        except PermissionDenied as error:
            raise VaultUnavailable(str(error), sent=False) from error


# Both, and what comes after it


class _Rests(Leases):
    """Asks for nothing for so many seconds after what it was not given."""

    seconds = 14.0
    after: type[VaultError] = ServerFailed
    _until = 0.0

    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        left = self._until - time.monotonic()
        if left > 0 and held.error is not None:
            known = held.error.again()
            known.retry_in, known.echo = left, True
            raise known
        try:
            return super()._replace(held, deadline, patience, reason)
        except self.after as error:
            if not error.echo:  # one that Vault gave, and not what is known of the last
                self._until = time.monotonic() + self.seconds
            raise


class RestsForLongAfterAFailure(Leasing):
    """Asks for nothing for fourteen seconds after a failure of the engine."""

    leases_type: ClassVar[type[Leases]] = _Rests


class _RestsAfterADenial(_Rests):
    seconds = 22.0
    after = PermissionDenied


class RestsForLongAfterADenial(Leasing):
    """For twenty-two seconds after a denial, which lasts longer than a failure."""

    leases_type: ClassVar[type[Leases]] = _RestsAfterADenial


class _RestsAWhile(_Rests):
    seconds = 9.5
    after = VaultError


class RestsAWhileAfterEither(Leasing):
    """For nine and a half seconds after either: longer than each lasted, by half as much again."""

    leases_type: ClassVar[type[Leases]] = _RestsAWhile
