"""The leases of a client: each renewed in time, and replaced when that is needed and only then.

A credential is replaced when Vault does not know its lease any more, when its token was replaced or
died, when its maximum is near, when a login with it was refused, or when its life is about to end
because renewals fail. Each of these makes one new credential, not one for each failure.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from resilient_vault_client._api import Api
from resilient_vault_client._background import Background
from resilient_vault_client._backoff import Backoff
from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import (
    ClientClosed,
    ConfigurationError,
    PermissionDenied,
    RequestRefused,
    ServerFailed,
    VaultError,
    VaultUnavailable,
)
from resilient_vault_client._grant import Credential, Grant
from resilient_vault_client._held import Held
from resilient_vault_client._login import Authenticator
from resilient_vault_client._notifier import Notifier
from resilient_vault_client._retrier import Retrier, never, unless_sent
from resilient_vault_client._token import Token
from resilient_vault_client.events import (
    Leased,
    LeaseLost,
    LeaseOrphaned,
    LeaseRenewalFailed,
    LeaseRenewed,
)

_log = logging.getLogger("resilient_vault_client")

Listener = Callable[[Credential], None]

Listeners = Mapping[str, Sequence[Listener]]
"""Who is told of a new credential, by its path."""

# Where in its life a lease is renewed, at random, as a token is.
_EARLIEST, _LATEST = 0.5, 0.75

# A life of fewer seconds that cannot be made longer is not worth waiting in.
_TOO_SHORT = 1.0

# What is left of a life when a new credential is asked for although a renewal may yet work.
_LAST_RESORT = 0.15
_SHORTEST = 0.1  # seconds from one try to the next, however soon a lease ends

# Seconds for which a replaced credential is kept alive: its pool needs a moment to move on.
_MOVE_ON = 2.0

_NO_PATIENCE = 0.0

# What Vault says, with a 400, of a lease that is gone, and of one that lives and cannot be made to
# live longer. With other words the engine behind it failed, a database for instance.
_GONE = ("not found", "invalid lease", "expired")
_NOT_RENEWABLE = "not renewable"


class WithToken(Protocol):
    """Does something with the current token, and once more with another if it was dead."""

    def __call__(
        self,
        operation: Callable[[Token], Grant],
        *,
        scope: str,
        deadline: Deadline,
        patience: float,
        repeat: Callable[[VaultUnavailable], bool],
    ) -> Grant:
        """What the operation returns."""


class Leases(Background):
    """Holds a client's leases in one process, and the thread that keeps them.

    Args:
        with_token: Makes a request with the current token.
        authenticator: Who holds the token.
        api: Vault's API.
        retrier: Makes requests under the circuit.
        backoff: How long to pause after a failure.
        notifier: Who hears of it.
        listeners: Who is told of a new credential.
        timeout: What one request may take, in seconds.
        threaded: False starts no thread: what is due is done when somebody asks.
    """

    def __init__(
        self,
        with_token: WithToken,
        authenticator: Authenticator,
        *,
        api: Api,
        retrier: Retrier,
        backoff: Backoff,
        notifier: Notifier,
        listeners: Listeners,
        timeout: float,
        threaded: bool,
    ) -> None:
        super().__init__("vault-leases", "keep the leases")
        self._with_token = with_token
        self._authenticator = authenticator
        self._api = api
        self._retrier = retrier
        self._backoff = backoff
        self._notifier = notifier
        self._listeners = listeners
        self._timeout = timeout
        self._threaded = threaded
        self._by_path: dict[str, Held] = {}

    def current(self, path: str, deadline: Deadline) -> Credential:
        """The credential of this path, a new one if there is none that works.

        Raises:
            VaultError: Vault gave none.
        """
        if self._stopped:
            raise ClientClosed("the client is closed")
        held = self._by_path.setdefault(path, Held(path))
        if self._threaded:
            self.ensure_running()
        elif held.grant is not None and clock() >= held.due and not held.busy:
            # In this call; whoever comes meanwhile is given what there is.
            self._tend(held, deadline)
        grant = held.grant
        if grant is not None and grant.usable:
            return grant.credential
        old: Grant | None = None
        with self._notifier.later(), held.alone(deadline):
            grant = held.grant
            if grant is not None:
                self._on_current_token(grant)
            if grant is None or not grant.usable:
                old = grant
                grant = self._replace(held, deadline, self._timeout, _why(old))
        self._tell(old, grant)
        self.wake()
        return grant.credential

    def failed(self, path: str, username: str) -> None:
        """A login with that name was refused: the credential is of no use any more."""
        held = self._by_path.get(path)
        grant = held.grant if held is not None else None
        if held is None or grant is None or grant.credential.username != username:
            return
        if grant.lost is not None or not held.may_refuse(self._backoff):
            return
        grant.lost = "refused"
        self._notifier.notify(LeaseLost(path=path, reason="refused"))
        self.wake()

    @property
    def trouble(self) -> str | None:
        """Why a credential that was asked for does not work and is not replaced, if so."""
        for held in list(self._by_path.values()):
            grant = held.grant
            if held.error is not None and grant is not None and not grant.usable:
                return f"the lease of {held.path} has ended and is not replaced: {held.error}"
        return None

    def give_back(self, tokens: list[Token], timeout: float) -> None:
        """Revoke the leases that do not end with one of these tokens; it may not be allowed."""
        deadline = Deadline(timeout)
        for held in list(self._by_path.values()):  # a call that is late may add another one
            for grant in [*([held.grant] if held.grant else []), *(one for one, _ in held.leaving)]:
                if grant.usable and grant.token not in tokens:
                    with contextlib.suppress(VaultError):
                        self._api.revoke_lease(grant.token.text, grant.id, deadline)

    # The thread

    def _step(self) -> float | None:
        waits = []
        for held in list(self._by_path.values()):
            if self._stopped:
                return None
            wait = self._tend(held)
            if wait is not None:
                waits.append(max(0.0, wait))
        return min(waits, default=None)

    def _tend(self, held: Held, deadline: Deadline | None = None) -> float | None:
        """Do what is due for one path, by the deadline of a call or in the thread's own time.

        Returns:
            The seconds until something else is due.
        """
        now = clock()
        for grant, until in list(held.leaving):
            if until <= now:
                self._let_go(held, grant, until, deadline)
        waits = [until - now for _, until in held.leaving]
        if held.grant is not None:
            waits.append(self._keep(held, deadline))
        return min((wait for wait in waits if wait != float("inf")), default=None)

    def _keep(self, held: Held, deadline: Deadline | None = None) -> float:
        """Renew or replace the current lease if that is due; the seconds until it is."""
        deadline = deadline or Deadline(self._timeout)
        old: Grant | None = None
        try:
            with self._notifier.later(), held.alone(deadline):
                old = grant = held.grant
                assert grant is not None  # once there is one, there always is
                reason = self._reason(grant)
                if reason is None and clock() >= held.due:
                    reason = self._renew(held, grant, deadline)
                if reason is not None and clock() >= held.blocked_until:
                    grant = self._replace(held, deadline, _NO_PATIENCE, reason)
            self._tell(old, grant)
        except ClientClosed:
            return float("inf")
        except VaultError as error:
            return self._failed(held, error)
        waits_for = held.blocked_until if reason is not None and grant is old else held.due
        return waits_for - clock()

    def _reason(self, grant: Grant) -> str | None:
        """Why a lease must be replaced now; None if it need not."""
        replaced = not self._on_current_token(grant)
        if not grant.usable:
            return _why(grant)
        return "token" if replaced else None

    def _on_current_token(self, grant: Grant) -> bool:
        """Whether a lease hangs on the current token, which may have been read again."""
        current = self._authenticator.current
        return current is None or not current.usable or grant.moves_to(current)

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        """Give a lease a longer life; why it must be replaced instead, if so."""
        if grant.capped or not grant.renewable:
            return "max_ttl" if grant.capped else "not_renewable"
        try:
            started, answer = self._retrier.run(
                lambda: (clock(), self._ask_for_more(grant, deadline)),
                scope=f"renew {held.path}",
                deadline=deadline,
                patience=_NO_PATIENCE,
                repeat=never,
            )
        except RequestRefused as refusal:
            if not any(word in str(refusal) for word in _GONE):
                if _NOT_RENEWABLE not in str(refusal):
                    raise
                self._live_out(held, grant, refusal)
                return None
            grant.lost = "not_found"
            self._notifier.notify(LeaseLost(path=held.path, reason="not_found"))
            return "not_found"
        except PermissionDenied as denial:
            return self._denied(held, grant, denial, deadline)
        grant.renewed(answer, started)
        self._plan(held, grant)
        self._notifier.notify(
            LeaseRenewed(path=held.path, ttl=grant.remaining, capped=grant.capped)
        )
        return None

    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        return self._api.renew_lease(grant.token.text, grant.id, grant.increment, deadline)

    def _denied(
        self, held: Held, grant: Grant, denial: PermissionDenied, deadline: Deadline
    ) -> str | None:
        """A renewal was answered 403: the token is dead, or may not renew leases."""
        new = self._authenticator.after_denial(
            grant.token, denial, deadline, _NO_PATIENCE, policy_login=False
        )
        if new is not None:
            return None if grant.moves_to(new) else "token"
        self._live_out(held, grant, denial)
        return None

    def _live_out(self, held: Held, grant: Grant, error: VaultError) -> None:
        """Vault will not renew this lease, which is good for the rest of its life."""
        grant.renewable = False
        held.due = grant.granted_at + grant.life * (1.0 - _LAST_RESORT)
        wait = max(0.0, held.due - clock())
        self._notifier.notify(
            LeaseRenewalFailed(
                path=held.path, error=error, remaining=grant.remaining, retry_in=wait
            )
        )

    def _replace(self, held: Held, deadline: Deadline, patience: float, reason: str) -> Grant:
        """A new credential in the place of the current one, which is kept alive for a moment."""
        held.check()
        old = held.grant

        def ask(token: Token) -> Grant:
            # A file with the same token as before was read again for this: its owner renewed it.
            if old is not None and old.outlives_token and old.moves_to(token) and old.usable:
                return old
            return self._ask(held.path, token, deadline)

        try:
            grant = self._with_token(
                ask,
                scope=f"lease {held.path}",
                deadline=deadline,
                patience=patience,
                repeat=unless_sent,
            )
        except VaultError as error:
            self._note(held, error)
            raise
        if grant is old:
            held.error = None
            return grant
        if old is not None:
            held.leaving.append((old, clock() + _MOVE_ON))
        held.grant, held.error, held.blocked_until = grant, None, 0.0
        self._plan(held, grant)
        self._notifier.notify(Leased(path=held.path, reason=reason, ttl=grant.remaining))
        return grant

    def _ask(self, path: str, token: Token, deadline: Deadline) -> Grant:
        started = clock()
        answer = self._api.lease(token.text, path, deadline)
        if not answer.get("lease_id"):
            raise ConfigurationError(
                f"nothing is leased at {path}: read it with get_secret if it is a secret", path=path
            )
        return Grant(path, answer, token, started)

    def _note(self, held: Held, error: VaultError) -> None:
        """Remember why there is no new credential, and when to try again."""
        error.path = held.path
        if error.echo or isinstance(error, ClientClosed):
            return
        held.error = error.again()
        if error.sent and isinstance(error, VaultUnavailable) and (error.status or 200) < 300:
            self._notifier.notify(LeaseOrphaned(path=held.path))
        if not isinstance(error, VaultUnavailable):
            held.pause, held.paused_for = self._backoff.next(held.pause), error
            held.blocked_until = clock() + max(held.pause, error.retry_in or 0.0)

    def _failed(self, held: Held, error: VaultError) -> float:
        """Choose when to try again: with growing pauses, to the end of the lease."""
        grant = held.grant
        assert grant is not None  # it is the one that could not be kept
        if error.echo:
            wait = max(error.retry_in or 0.0, 0.05)
        else:
            if held.pause is None or held.paused_for is not error:  # once for each failure
                held.pause = self._backoff.next(held.pause)
            wait = max(held.pause, error.retry_in or 0.0)
            held.paused_for = None
            self._notifier.notify(
                LeaseRenewalFailed(
                    path=held.path, error=error, remaining=grant.remaining, retry_in=wait
                )
            )
        last_resort, renewing = grant.increment * _LAST_RESORT, grant.renewable
        refused = isinstance(error, ServerFailed | RequestRefused)
        if refused and grant.remaining <= last_resort:
            # Vault answers, and does not renew: a new credential may work where that does not.
            grant.renewable = False
        if grant.usable:
            wait = min(wait, max(grant.remaining - last_resort, wait / 4))
            if renewing:  # never so late that it ends first: what is in use then is refused
                wait = min(wait, max(grant.remaining / 2, _SHORTEST))
        held.due = clock() + wait
        if not grant.usable:
            held.blocked_until = max(held.blocked_until, held.due)
        return wait

    def _plan(self, held: Held, grant: Grant) -> None:
        """Choose when to act next for a lease that is new, or newly renewed."""
        held.pause = held.paused_for = None
        if grant.capped and grant.life < _TOO_SHORT:
            held.due = clock()
        else:
            held.due = grant.granted_at + grant.life * self._backoff.between(_EARLIEST, _LATEST)

    def _let_go(
        self, held: Held, grant: Grant, until: float, deadline: Deadline | None = None
    ) -> None:
        """A replaced credential has no users any more."""
        try:
            held.leaving.remove((grant, until))
        except ValueError:
            return  # without a thread two calls may come to that at once
        current = self._authenticator.current
        if grant.lost == "refused" and current is not None and grant.moves_to(current):
            # It would live on beside its successor; where the policy does not allow it, it does.
            with contextlib.suppress(VaultError):
                self._api.revoke_lease(
                    grant.token.text, grant.id, deadline or Deadline(self._timeout)
                )
        grant.let_go()

    def _tell(self, old: Grant | None, new: Grant) -> None:
        """Tell who wants to know that the credential is another one."""
        if old is None or old is new:
            return
        for listener in self._listeners.get(new.credential.path, ()):
            try:
                listener(new.credential.copy())
            except Exception as error:  # noqa: BLE001 - the application's callback may raise anything
                _log.warning("vault: a callback of a lease raised %s", type(error).__name__)


def _why(grant: Grant | None) -> str:
    """Why there is no credential that works."""
    if grant is None:
        return "start"
    return grant.lost or ("token" if grant.token.lost is not None else "expired")
