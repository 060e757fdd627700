"""Clients that lease well until they hand out nothing: for good, for too long, or to most callers.

Each deviates from the reference client, and is listed in ``lease.py``.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from typing import ClassVar

from resilient_vault_client import (
    Credential,
    PermissionDenied,
    Secret,
    VaultError,
    VaultUnavailable,
)
from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import ServerFailed
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from resilient_vault_client._leases import Leases
from tests.mutants.clients import Leasing

# When a lease has ended


class _Silent(Leases):
    """Asks for nothing new until its last credential is over for so many seconds."""

    seconds = math.inf

    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        old = held.grant
        over = old is None or clock() >= old.expires_at + self.seconds
        if self._is_for(reason) and not over:
            raise VaultUnavailable("the lease has ended, and there is no other", sent=False)
        return super()._replace(held, deadline, patience, reason)

    def _is_for(self, reason: str) -> bool:
        return reason in ("token", "expired")


class EndsWithItsToken(Leasing):
    """Takes the end of a lease's token for the end of all that it leases."""

    leases_type: ClassVar[type[Leases]] = _Silent


class _SilentForLong(_Silent):
    seconds = 6.0


class RestsForLongAfterItsToken(Leasing):
    """For six seconds after it."""

    leases_type = _SilentForLong


class _SilentForAMoment(_Silent):
    seconds = 3.0


class RestsAMomentAfterItsToken(Leasing):
    """For three seconds: around a login nobody counts what is refused, and a call takes two."""

    leases_type = _SilentForAMoment


class _SilentAfterA500(_Silent):
    _failing = False

    def _failed(self, held: Held, error: VaultError) -> float:
        self._failing |= isinstance(error, ServerFailed)
        return super()._failed(held, error)

    def _is_for(self, reason: str) -> bool:
        return self._failing and reason != "start"


class GivesUpAfterA500(Leasing):
    """Hands out nothing any more once a renewal was answered 500."""

    leases_type = _SilentAfterA500


class _SilentForLongAfterA500(_SilentAfterA500):
    seconds = 10.0


class RestsForLongAfterA500(Leasing):
    """For ten seconds after each lease that it could not renew: more than a life."""

    leases_type = _SilentForLongAfterA500


class _SilentForAWhileAfterA500(_SilentAfterA500):
    seconds = 6.0


class RestsAWhileAfterA500(Leasing):
    """For three quarters of a life: to that its pauses after failed renewals may have grown."""

    leases_type = _SilentForAWhileAfterA500


class _SilentAtItsMaxTtl(_Silent):
    def _is_for(self, reason: str) -> bool:
        return reason in ("expired", "max_ttl", "not_found")


class EndsAtItsMaxTtl(Leasing):
    """Hands out nothing any more once a lease was not renewed for longer."""

    leases_type = _SilentAtItsMaxTtl


# When a token is dead


class _Restless(Leases):
    """Tries again at once, so that when it succeeds is not a matter of pauses."""

    def _failed(self, held: Held, error: VaultError) -> float:
        super()._failed(held, error)
        held.blocked_until = 0.0
        return 0.1


class LeasesWithADeadToken(Leasing):
    """Takes a 403 to what it leases for a denial, and never logs in for that."""

    leases_type = _Restless
    after = math.inf

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        session = self.client._session()
        careful, denied_at = session._with_token, math.inf

        def careless(operation, *, deadline, patience, **rest):  # type: ignore[no-untyped-def]  # as `WithToken`
            nonlocal denied_at
            if time.monotonic() >= denied_at + self.after:
                return careful(operation, deadline=deadline, patience=patience, **rest)
            try:
                return operation(session._token(deadline, patience))
            except PermissionDenied as denial:
                denied_at = min(denied_at, time.monotonic())
                raise VaultUnavailable(str(denial), sent=False) from denial

        session.leases._with_token = careless


class LogsInLateForALease(LeasesWithADeadToken):
    """Logs in for it, but after six and a half seconds."""

    after = 6.5


class LogsInForALeaseJustInTime(LeasesWithADeadToken):
    """After four seconds."""

    after = 4.0


# When several ask at once


class TurnsAwayAllButOne(Leasing):
    """Has one thread at a time ask for a credential; whoever comes meanwhile is turned away.

    The first ones take a moment, so that those who come together with them meet them, however late
    a busy machine lets them come.
    """

    at_once = 1
    takes = 0.5

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._turns = threading.BoundedSemaphore(self.at_once)
        self._turned_away = threading.Event()

    def lease(self, path: str, failed: str | None = None) -> Credential:
        if not self._turns.acquire(blocking=False):
            self._turned_away.set()
            raise VaultUnavailable("others ask for a credential", sent=False)
        try:
            self._turned_away.wait(self.takes)
            return super().lease(path, failed)
        finally:
            self._turns.release()


class TurnsAwayTheFifth(TurnsAwayAllButOne):
    """Four at a time."""

    at_once = 4


class LeasesOnceItIsUp(Leasing):
    """Comes up slowly: until then reads wait for it, and who wants a credential is turned away."""

    takes = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._up_at = time.monotonic() + self.takes

    def read(self, path: str, key: str) -> Secret:
        time.sleep(max(0.0, self._up_at - time.monotonic()))
        return super().read(path, key)

    def lease(self, path: str, failed: str | None = None) -> Credential:
        if time.monotonic() < self._up_at:
            raise VaultUnavailable("it is not up yet", sent=False)
        return super().lease(path, failed)
