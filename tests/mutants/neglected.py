"""Clients with a defect in what is seldom looked at: a lease's clock, a login that fails.

And a token that never ends, and a credential that is to replace another and does not come. Each is
listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from resilient_vault_client._leases import Leases
from resilient_vault_client._token import Token as LeasingToken
from tests.mutants.clients import Leasing
from tests.mutants.edges_leases import NeverRenews, RenewsAtShare, Trusting
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import ClientError, DeniedError, GivenUpError, UnavailableError

# A lease, by the clock on the wall (TOK-18)


class _OverAtATimeOfDay(Grant):
    """A lease whose end is noted as a time of day."""

    _over = 0.0

    @property
    def _expires_at(self) -> float:
        return clock() + self._over - time.time()

    @_expires_at.setter
    def _expires_at(self, end: float) -> None:
        self._over = time.time() + end - clock()


class _EndsAtATimeOfDay(Leases):
    def _ask(self, path: str, token: LeasingToken, deadline: Deadline) -> Grant:
        grant = super()._ask(path, token, deadline)
        end = grant._expires_at
        grant.__class__ = _OverAtATimeOfDay
        grant._expires_at = end
        return grant


class EndsItsLeasesAtATimeOfDay(Leasing):
    """Notes at which time of day a lease ends, and asks for another credential from there on."""

    leases_type: ClassVar[type[Leases]] = _EndsAtATimeOfDay


class _RenewsAtATimeOfDay(Trusting):
    def _plan(self, held: Held, grant: Grant) -> None:
        super()._plan(held, grant)
        self.__dict__.setdefault("_due", {})[held.path] = time.time() + held.due - clock()

    def _tend(self, held: Held, deadline: Deadline | None = None) -> float | None:
        if held.pause is None:  # else it is tried again, as soon as its pause is over
            held.due = clock() + self.__dict__.get("_due", {}).get(held.path, 0.0) - time.time()
        return super()._tend(held, deadline)

    def _step(self) -> float | None:
        wait = super()._step()
        return None if wait is None else min(wait, 0.25)


class RenewsItsLeasesAtATimeOfDay(Leasing):
    """Renews a lease when its time of day has come, and hands out what it has until then."""

    leases_type: ClassVar[type[Leases]] = _RenewsAtATimeOfDay


class _AtAThird(NeverRenews, RenewsAtShare):
    share = 0.34


class ReplacesItsLeasesAtAThird(Leasing):
    """Renews no lease: it takes another credential as soon as its turn has come."""

    leases_type: ClassVar[type[Leases]] = _AtAThird


class _AtAQuarter(NeverRenews, RenewsAtShare):
    share = 0.25


class ReplacesItsLeasesAtAQuarter(Leasing):
    """Sooner than that."""

    leases_type: ClassVar[type[Leases]] = _AtAQuarter


# A credential in the place of another, which does not come (LEASE-03)


class _WaitsForEverForAnother(NeverRenews):
    def _ask(self, path: str, token: LeasingToken, deadline: Deadline) -> Grant:
        if self._by_path[path].grant is not None:
            deadline = Deadline(3600.0)
        return super()._ask(path, token, deadline)


class WaitsForEverForAnotherCredential(Leasing):
    """Renews no lease, and has no deadline for what is to replace one behind its callers' backs."""

    leases_type: ClassVar[type[Leases]] = _WaitsForEverForAnother


# A login that fails (PRC-06)


class LeavesAThreadForEachFailedLogin(LazyClient):
    """Starts a thread that is to log in again, and logs in again itself: none of them ends."""

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except GivenUpError:  # nobody was asked
            raise
        except UnavailableError:
            threading.Thread(target=threading.Event().wait, args=(600.0,), daemon=True).start()
            raise


# A token that never ends (TKF-01)


class _LooksAtItsFile(LazyClient):
    """Asks Vault how long the token lives that is in its file, whenever there is another."""

    auth = frozenset({"token-file"})

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._left, self._seen = float("inf"), ""

    def _valid_token(self, deadline: float) -> Token:
        value = Path(self._environ["VAULT_TOKEN_FILE"]).read_text(encoding="ascii").strip()
        token = Token(value, first_ttl=0.0, ttl=0.0, renewable=False, batch=False, uses=0)
        if value and value != self._seen:
            looked = self._ask("GET", "auth/token/lookup-self", deadline, token)
            if looked.status == 200:
                self._left, self._seen = float(looked.body["data"]["ttl"]), value
        return token

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        del where, token, deadline
        return False  # whoever replaces it will have done so by the next call

    def close(self) -> None:
        self._closed = True  # the token is its agent's


class TakesNoEndForTheEnd(_LooksAtItsFile):
    """Uses no token that has no seconds left to live, and so none that lives for ever."""

    def _valid_token(self, deadline: float) -> Token:
        token = super()._valid_token(deadline)
        if self._left <= 0:
            raise DeniedError("the token in the file has ended")
        return token


class LooksForEverAtWhatHasNoEnd(_LooksAtItsFile):
    """Looks at its token once more when two thirds of what it has left to live are over."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._over = threading.Event()
        threading.Thread(target=self._look_on, name="looks", daemon=True).start()

    def _look_on(self) -> None:
        while not self._over.wait(min(2 / 3 * self._left, 0.5)):
            seen, self._seen = self._seen, ""
            if seen:
                try:
                    self._valid_token(time.monotonic() + self._deadline)
                except (ClientError, OSError):
                    self._left = float("inf")  # there will be another one

    def close(self) -> None:
        self._over.set()
        super().close()
