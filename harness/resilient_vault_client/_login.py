"""Logging in: one at a time over all threads, and never more often than does good."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from resilient_vault_client._api import Api
from resilient_vault_client._backoff import Backoff
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import (
    AuthenticationFailed,
    ClientClosed,
    ConfigurationError,
    PermissionDenied,
    VaultError,
    VaultTimeout,
    VaultUnavailable,
)
from resilient_vault_client._login_backoff import LoginBackoff
from resilient_vault_client._notifier import Notifier
from resilient_vault_client._retrier import Retrier, always
from resilient_vault_client._token import Token
from resilient_vault_client.events import Authenticated, Event, LoginFailed, TokenLost

# A denial may mean that the role has got a policy since the login. Finding out costs a login, so it
# is done this often at most, whatever is denied; and not for a token that is as young as this.
_POLICY_LOGIN_EVERY = 30.0
_YOUNG = 1.0

# How long giving back a token may take that arrives after the client was closed.
_TOO_LATE_SECONDS = 1.0

# How often a thread that waits for another one's login looks whether that makes sense.
_LOOK_UP_EVERY = 0.05


class LoginMethod(Protocol):
    """A way to get a token."""

    def log_in(self, deadline: Deadline, patience: float) -> Token:
        """A new token; one thread at a time asks for it.

        Raises:
            AuthenticationFailed: Vault does not let the client in.
            VaultUnavailable: Vault cannot be asked.
        """


class Authenticator:
    """Holds the current token, and gets a new one where that helps.

    Args:
        method: How to log in.
        api: Vault's API.
        retrier: Makes requests under the circuit.
        backoff: How long to pause after a failed login.
        notifier: Who hears of it.

    Attributes:
        on_change: Called when a token came or was lost, for what hangs on it. It must be quick.
    """

    def __init__(
        self,
        method: LoginMethod,
        *,
        api: Api,
        retrier: Retrier,
        backoff: Backoff,
        notifier: Notifier,
    ) -> None:
        self._method = method
        self._api = api
        self._retrier = retrier
        self._backoff = backoff
        self._notifier = notifier
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._events: list[Event] = []
        self._current: Token | None = None
        self._retired: list[Token] = []
        self._login_backoff = LoginBackoff(backoff)
        self._policy_login_due = 0.0
        self._closed = False
        self.on_change: Callable[[], None] = _nothing

    @property
    def current(self) -> Token | None:
        """The token of the last login, alive or not."""
        return self._current

    @property
    def failure(self) -> VaultError | None:
        """Why the last login failed, if it did."""
        return self._login_backoff.failure

    def token(self, deadline: Deadline, patience: float) -> Token:
        """A token that is good as far as is known, after a login if need be.

        Raises:
            AuthenticationFailed: Vault does not let the client in.
            VaultUnavailable: Vault cannot be asked.
        """
        token = self._current
        if token is not None and token.usable:
            return token
        with self._alone(deadline, patience):
            token = self._current
            if token is not None and token.usable:
                return token
            return self._log_in(deadline, patience, reason=self._ended(token))

    def replace(self, token: Token, deadline: Deadline, *, reason: str) -> Token:
        """A new token in the place of ``token``, which is given back while it still lives.

        Raises:
            AuthenticationFailed: Vault does not let the client in. The old token stays.
            VaultUnavailable: Vault cannot be asked. The old token stays.
        """
        with self._alone(deadline, 0.0):
            current = self._current
            if current is not None and current is not token and current.usable:
                return current
            return self._log_in(deadline, 0.0, reason=reason)

    def after_denial(
        self,
        token: Token,
        denial: PermissionDenied,
        deadline: Deadline,
        patience: float,
        *,
        policy_login: bool,
        looked_up: bool = False,
    ) -> Token | None:
        """What to try again with after a 403: another token, or None if the answer stands.

        Vault says the same to a dead token and to a policy that forbids. So the token is asked
        about itself; only a dead one leads to a login, and that once for all threads that were
        refused.

        Args:
            token: The token that was refused.
            denial: How.
            deadline: When this must be over.
            patience: As for `Retrier.run`.
            policy_login: Whether a living token is replaced too if none was for a while: what a
                role may is fixed at login, and may have grown since.
            looked_up: Whether that was the token's question about itself: the answer is known.
        """
        with self._alone(deadline, patience):
            current = self._current
            if current is not None and current is not token and current.usable:
                return current
            if token.lost is None:
                dead = looked_up and denial.doubtful
                if dead or (not looked_up and self._is_dead(token, denial, deadline, patience)):
                    self._lose(token, "used_up" if token.uses_left == 0 else "rejected")
            if token.lost is not None:
                return self._log_in(deadline, patience, reason=token.lost)
            if not policy_login or not self._may_log_in_for_policy(token):
                return None
            with contextlib.suppress(AuthenticationFailed, PermissionDenied, VaultUnavailable):
                return self._log_in(deadline, patience, reason="policy")
            return None

    def take_retired(self) -> list[Token]:
        """The tokens that were replaced while they lived and that nobody uses any more."""
        with self._lock:
            idle: list[Token] = []
            busy: list[Token] = []
            for token in self._retired:  # looked at once: its last request may end meanwhile
                (idle if token.idle else busy).append(token)
            self._retired = [token for token in busy if token.usable]
        return [token for token in idle if token.usable and token.revocable]

    @property
    def has_retired(self) -> bool:
        """Whether such tokens wait to be given back."""
        return bool(self._retired)

    def surrender(self, timeout: float) -> list[Token]:
        """All tokens that live, which are not used any more; no login after this.

        Args:
            timeout: How long to wait for a login that is under way, so that its token is not
                forgotten.
        """
        locked = self._lock.acquire(timeout=timeout)
        try:
            self._closed = True
            tokens = [*self._retired, *([self._current] if self._current is not None else [])]
            self._retired, self._current = [], None
        finally:
            if locked:
                self._lock.release()
        return [token for token in tokens if token.usable and token.revocable]

    @contextlib.contextmanager
    def _alone(self, deadline: Deadline, patience: float) -> Iterator[None]:
        """One thread at a time; what happened is told after the lock is free again.

        Who waits looks up now and then whether waiting has become hopeless, as it is for a callback
        in the middle of this thread's own login.
        """
        if self._owner == threading.get_ident():
            raise self._retrier.known_failure(0.0) or VaultTimeout(
                "a callback asks in the middle of a login", sent=False
            )
        with self._notifier.later():
            while not self._lock.acquire(timeout=min(_LOOK_UP_EVERY, deadline.remaining())):
                known = self._retrier.known_failure(patience)
                if known is not None:
                    raise known
                if deadline.passed:
                    raise VaultTimeout("another thread's login was not over in time", sent=False)
            try:
                self._owner = threading.get_ident()
                yield
            finally:
                events, self._events = self._events, []
                self._owner = None
                self._lock.release()
                for event in events:
                    self._notifier.notify(event)
                if events:
                    self.on_change()

    def _ended(self, token: Token | None) -> str:
        if token is None:
            return "start"
        reason = token.lost or ("used_up" if token.uses_left == 0 else "expired")
        self._lose(token, reason)
        return reason

    def _lose(self, token: Token, reason: str) -> None:
        if token.lose(reason):
            self._events.append(TokenLost(reason=reason))

    def _is_dead(
        self, token: Token, denial: PermissionDenied, deadline: Deadline, patience: float
    ) -> bool:
        if token.uses_left is not None:
            # Asking would cost a use; a login costs less than a wrong answer.
            return token.uses_left == 0 or denial.doubtful
        if not denial.doubtful:
            return False
        if token.remaining == 0:
            return True
        try:
            self._retrier.run(
                lambda: self._api.look_up(token.text, deadline),
                scope="lookup-self",
                deadline=deadline,
                patience=patience,
                repeat=always,
            )
        except PermissionDenied as error:
            # In so many words, it lives and has no right to ask about itself.
            return error.doubtful
        return False

    def _may_log_in_for_policy(self, token: Token) -> bool:
        now = time.monotonic()
        if now - token.issued_at < _YOUNG or now < self._policy_login_due:
            return False
        self._policy_login_due = now + max(self._backoff.cap, _POLICY_LOGIN_EVERY)
        return True

    def _log_in(self, deadline: Deadline, patience: float, *, reason: str) -> Token:
        """Log in, or tell why not; the caller holds the lock."""
        if self._closed:
            raise ClientClosed("the client is closed")
        self._login_backoff.check()
        try:
            token = self._method.log_in(deadline, patience)
        except VaultError as failure:
            self._note(failure)
            raise
        self._refuse_if_closed(token)
        self._take(token, reason)
        return token

    def _refuse_if_closed(self, token: Token) -> None:
        """Give a token back that came too late for anybody."""
        if self._closed:
            with contextlib.suppress(VaultError):
                self._api.revoke(token.text, Deadline(_TOO_LATE_SECONDS))
            raise ClientClosed("the client was closed meanwhile")

    def _take(self, token: Token, reason: str) -> None:
        old = self._current
        if old is not None and old.usable and old.revocable:
            self._retired.append(old)
        stillborn = old is not None and old.lost == "rejected" and not old.proven
        if old is None or old.text != token.text or _life(token) > _life(old):
            # One that was read again from its file has the rest of a life, which sets no pace: in
            # its last second there would be no pauses.
            self._backoff.learn(token.ttl)
        self._login_backoff.succeeded(stillborn=stillborn)
        self._current = token
        self._events.append(Authenticated(reason=reason, ttl=token.ttl, renewable=token.renewable))

    def _note(self, failure: VaultError) -> None:
        if failure.echo or isinstance(failure, ClientClosed):
            return
        if isinstance(failure, AuthenticationFailed | ConfigurationError):
            failure.retry_in = self._login_backoff.failed(failure)
        self._events.append(LoginFailed(error=failure.again(), retry_in=failure.retry_in or 0.0))


def _life(token: Token) -> float:
    return math.inf if token.ttl is None else token.ttl


def _nothing() -> None:
    """Nobody wants to know."""
