"""Keep the leases of a client: renew each in time, and replace it only when necessary.

That is when Vault has lost it, its token was replaced or died, its maximum is near, the database
refused it, or renewals fail near its end. Each event makes one new credential.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from resilient_vault_client._config import seconds_of_a_call
from resilient_vault_client._deadline import Backoff, Deadline, clock
from resilient_vault_client._errands import Background
from resilient_vault_client._errors import (
    ClientClosed,
    ConfigurationError,
    PermissionDenied,
    RequestRefused,
    ServerFailed,
    VaultError,
    VaultTimeout,
    VaultUnavailable,
    boundary,
)
from resilient_vault_client._grant import (
    EARLIEST,
    LAST_RESORT,
    LATEST,
    TOO_SHORT,
    Credential,
    Grant,
    Token,
)
from resilient_vault_client._login import Authenticator
from resilient_vault_client._retrier import Tools, never, unless_sent
from resilient_vault_client.events import (
    Leased,
    LeaseLost,
    LeaseOrphaned,
    LeaseRenewalFailed,
    LeaseRenewed,
)


class Held:
    """The leases of one path.

    Attributes:
        grant: None before the first.
        due: When to renew or replace it, by `clock`.
        paused_for: The failure that chose `pause`, until a thread has waited for it.
        error: Why there is no new lease, or None.
        leaving: Replaced leases, each with its end.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.grant: Grant | None = None
        self.due = 0.0
        self.pause: float | None = None
        self.paused_for: VaultError | None = None
        self.error: VaultError | None = None
        self.blocked_until = 0.0
        self.leaving: list[tuple[Grant, float]] = []
        self._refusal_pause: float | None = None
        self._refusable_at = 0.0
        self._lock = threading.RLock()
        self._owner: int | None = None

    @contextlib.contextmanager
    def alone(self, deadline: Deadline) -> Iterator[None]:
        """Let one thread at a time ask Vault for a credential of this path.

        Raise `VaultTimeout` at the deadline, or if a callback or signal handler asks in the middle
        of this thread's own request.
        """
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise VaultTimeout("another thread's lease was not there in time", sent=False)
        try:
            if self._owner is not None:
                raise VaultTimeout(
                    "a callback or a signal's handler asks for the lease that is asked for",
                    sent=False,
                )
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None
        finally:
            self._lock.release()

    @property
    def busy(self) -> bool:
        return self._owner is not None

    def check(self) -> None:
        left = self.blocked_until - clock()
        if self.error is None or left <= 0:
            return
        known = self.error.again()
        known.retry_in, known.echo = left, True
        raise known

    def may_refuse(self, backoff: Backoff) -> bool:
        """Return whether a refused database login may discard the credential.

        Otherwise a database that refuses one new user after the other would fill with them.
        """
        now = clock()
        if now < self._refusable_at:
            return False
        if now - self._refusable_at > backoff.cap:
            self._refusal_pause = None  # the last credential worked for a while
        self._refusal_pause = backoff.next(self._refusal_pause)
        self._refusable_at = now + self._refusal_pause
        return True


_log = logging.getLogger("resilient_vault_client")

Listener = Callable[[Credential], None]

Listeners = Mapping[str, Sequence[Listener]]

# Seconds between two tries, however soon a lease ends.
_SHORTEST = 0.1

# Seconds that a replaced credential stays alive, so that a pool can switch.
_MOVE_ON = 2.0

# Vault's words, with a 400, for a lease that is gone, and for one that cannot be renewed. Others
# mean that the engine behind it failed.
_GONE = ("not found", "invalid lease", "expired")
_NOT_RENEWABLE = "not renewable"


class WithToken(Protocol):
    """Run an operation with the current token, and again if that was dead."""

    def __call__(
        self,
        operation: Callable[[Token], Grant],
        *,
        scope: str,
        deadline: Deadline,
        repeat: Callable[[VaultUnavailable], bool],
    ) -> Grant:
        """Return the operation's result."""


class Leases(Background):
    """A process's leases, and the thread that keeps them."""

    def __init__(
        self,
        with_token: WithToken,
        authenticator: Authenticator,
        tools: Tools,
        listeners: Listeners,
    ) -> None:
        super().__init__("vault-leases", "keep the leases")
        self._with_token = with_token
        self._authenticator = authenticator
        self._api, self._retrier = tools.api, tools.retrier
        self._backoff, self._notifier = tools.backoff, tools.notifier
        self._listeners = listeners
        self._timeout, self._threaded = tools.timeout, tools.threaded
        self._by_path: dict[str, Held] = {}

    def current(self, path: str, deadline: Deadline) -> Credential:
        if self._stopped:
            raise ClientClosed("the client is closed")
        held = self._by_path.setdefault(path, Held(path))
        if self._threaded:
            self.ensure_running()
        elif held.grant is not None and clock() >= held.due and not held.busy:
            # In this call; other threads get the current credential meanwhile.
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
                grant = self._replace(held, deadline, _why(old))
        self._tell(old, grant)
        self.wake()
        return grant.credential

    def failed(self, path: str, username: str) -> None:
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
        """Why a wanted credential neither works nor is replaced, or None."""
        for held in list(self._by_path.values()):
            grant = held.grant
            if held.error is not None and grant is not None and not grant.usable:
                return f"the lease of {held.path} has ended and is not replaced: {held.error}"
        return None

    def give_back(self, tokens: list[Token], timeout: float) -> None:
        """Revoke the leases that do not end with one of these tokens."""
        deadline = Deadline(timeout)
        for held in list(self._by_path.values()):  # a late call may add another one
            for grant in [*([held.grant] if held.grant else []), *(one for one, _ in held.leaving)]:
                if grant.usable and grant.token not in tokens:
                    with contextlib.suppress(VaultError):
                        self._api.revoke_lease(grant.token.text, grant.id, deadline)

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
        now = clock()
        for grant, until in list(held.leaving):
            if until <= now:
                self._let_go(held, grant, until, deadline)
        waits = [until - now for _, until in held.leaving]
        if held.grant is not None:
            waits.append(self._keep(held, deadline))
        return min((wait for wait in waits if wait != float("inf")), default=None)

    def _keep(self, held: Held, deadline: Deadline | None = None) -> float:
        """Renew or replace the lease if due; return the seconds until it is."""
        deadline = (deadline or Deadline(self._timeout)).without_patience()
        old: Grant | None = None
        try:
            with self._notifier.later(), held.alone(deadline):
                old = grant = held.grant
                assert grant is not None  # once there is a lease, there always is one
                reason = self._reason(grant)
                if reason is None and clock() >= held.due:
                    reason = self._renew(held, grant, deadline)
                if reason is not None and clock() >= held.blocked_until:
                    grant = self._replace(held, deadline, reason)
            self._tell(old, grant)
        except ClientClosed:
            return float("inf")
        except VaultError as error:
            return self._failed(held, error)
        waits_for = held.blocked_until if reason is not None and grant is old else held.due
        return waits_for - clock()

    def _reason(self, grant: Grant) -> str | None:
        """Return why to replace a lease now, or None."""
        replaced = not self._on_current_token(grant)
        if not grant.usable:
            return _why(grant)
        return "token" if replaced else None

    def _on_current_token(self, grant: Grant) -> bool:
        """Return whether a lease's token is current, maybe read again from its file."""
        current = self._authenticator.current
        return current is None or not current.usable or grant.moves_to(current)

    def _renew(self, held: Held, grant: Grant, deadline: Deadline) -> str | None:
        """Renew a lease; return why to replace it instead, or None."""
        if grant.capped or not grant.renewable:
            return "max_ttl" if grant.capped else "not_renewable"
        try:
            started, answer = self._retrier.run(
                lambda: (clock(), self._ask_for_more(grant, deadline)),
                scope=f"renew {held.path}",
                deadline=deadline,
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
        """Handle a 403: the token is dead, or may not renew leases."""
        new = self._authenticator.after_denial(grant.token, denial, deadline, policy_login=False)
        if new is not None:
            return None if grant.moves_to(new) else "token"
        self._live_out(held, grant, denial)
        return None

    def _live_out(self, held: Held, grant: Grant, error: VaultError) -> None:
        """Stop renewing a lease that Vault will not renew, and use the rest of its life."""
        grant.renewable = False
        held.due = grant.granted_at + grant.life * (1.0 - LAST_RESORT)
        wait = max(0.0, held.due - clock())
        self._notifier.notify(
            LeaseRenewalFailed(
                path=held.path, error=error, remaining=grant.remaining, retry_in=wait
            )
        )

    def _replace(self, held: Held, deadline: Deadline, reason: str) -> Grant:
        """Get a new credential; the old one lives on for a moment."""
        held.check()
        old = held.grant

        def ask(token: Token) -> Grant:
            # The file was read again and holds the same token, renewed by its owner.
            if old is not None and old.outlives_token and old.moves_to(token) and old.usable:
                return old
            return self._ask(held.path, token, deadline)

        try:
            grant = self._with_token(
                ask,
                scope=f"lease {held.path}",
                deadline=deadline,
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
        """Choose when to try again: with growing pauses, until the lease ends."""
        grant = held.grant
        assert grant is not None  # there was a lease to keep
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
        last_resort, renewing = grant.increment * LAST_RESORT, grant.renewable
        refused = isinstance(error, ServerFailed | RequestRefused)
        if refused and grant.remaining <= last_resort:
            # Vault answers and does not renew; a new credential may work.
            grant.renewable = False
        if grant.usable:
            wait = min(wait, max(grant.remaining - last_resort, wait / 4))
            if renewing:  # retry before the lease ends, since its credential is in use
                wait = min(wait, max(grant.remaining / 2, _SHORTEST))
        held.due = clock() + wait
        if not grant.usable:
            held.blocked_until = max(held.blocked_until, held.due)
        return wait

    def _plan(self, held: Held, grant: Grant) -> None:
        held.pause = held.paused_for = None
        if grant.capped and grant.life < TOO_SHORT:
            held.due = clock()
        else:
            held.due = grant.granted_at + grant.life * self._backoff.between(EARLIEST, LATEST)

    def _let_go(
        self, held: Held, grant: Grant, until: float, deadline: Deadline | None = None
    ) -> None:
        try:
            held.leaving.remove((grant, until))
        except ValueError:
            return  # without a thread two calls may get here at once
        current = self._authenticator.current
        if grant.lost == "refused" and current is not None and grant.moves_to(current):
            # It would live on beside its successor. The policy may forbid the revocation.
            with contextlib.suppress(VaultError):
                self._api.revoke_lease(
                    grant.token.text, grant.id, deadline or Deadline(self._timeout)
                )
        grant.let_go()

    def _tell(self, old: Grant | None, new: Grant) -> None:
        if old is None or old is new:
            return
        for listener in self._listeners.get(new.credential.path, ()):
            try:
                listener(new.credential.copy())
            except Exception as error:  # noqa: BLE001 - the application may raise anything
                _log.warning("vault: a callback of a lease raised %s", type(error).__name__)


def _why(grant: Grant | None) -> str:
    if grant is None:
        return "start"
    return grant.lost or ("token" if grant.token.lost is not None else "expired")


class Lease:
    """A dynamic credential, kept alive and replaced before it ends.

    `VaultClient.lease` makes it; leases of one path share one credential. ::

        lease = vault.lease("database/creds/app", on_change=pool.reconnect)
        credential = lease.current()
        try:
            connection = connect(user=credential.username, password=credential.password)
        except AuthenticationRefused:
            lease.failed(credential.username)
    """

    def __init__(self, path: str, leases: Callable[[], Leases], timeout: float) -> None:
        self._path = path
        self._leases = leases
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"<Lease of {self._path}>"

    @property
    def path(self) -> str:
        return self._path

    @boundary
    def current(self, *, timeout: float | None = None) -> Credential:
        """Return the credential that works now; Vault makes one if there is none.

        Raises:
            VaultUnavailable: If `sent` is true, Vault may have made one, which ends with the token.
            PermissionDenied: The policy says no.
            SecretNotFound: The role does not exist.
            RequestRefused: Vault does not accept the request.
            ConfigurationError: The path gives no lease, or nothing is mounted there.
            AuthenticationFailed: Vault refuses the login.
        """
        seconds = seconds_of_a_call(timeout, self._timeout)
        return self._leases().current(self._path, Deadline(seconds)).copy()

    @boundary
    def failed(self, username: str) -> None:
        """Report that the database refused a login with this name, to get a new credential.

        Only for a refused password, not for an unreachable database. A name other than the current
        one changes nothing. After several refusals, new ones come with growing pauses.
        """
        self._leases().failed(self._path, username)
