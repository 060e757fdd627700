"""Log in, one thread at a time, and only as often as it helps."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from resilient_vault_client._deadline import Backoff, Deadline, clock
from resilient_vault_client._errands import Errand, Errands
from resilient_vault_client._errors import (
    AuthenticationFailed,
    ClientClosed,
    ConfigurationError,
    CredentialsRejected,
    PermissionDenied,
    VaultError,
    VaultUnavailable,
)
from resilient_vault_client._grant import Token
from resilient_vault_client._retrier import Tools, always
from resilient_vault_client.events import Authenticated, Event, LoginFailed, TokenLost


class LoginBackoff:
    """Delay the next login for a while.

    `failure` is the last login's, or None.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._pause: float | None = None
        self._until = 0.0
        self.failure: VaultError | None = None

    def check(self) -> None:
        left = self._until - time.monotonic()
        if left <= 0 or self.failure is None:
            return
        failure = self.failure.again()
        failure.echo = True
        failure.retry_in = left
        raise failure

    def failed(self, failure: VaultError) -> float:
        """Note a failed login; return the seconds until the next makes sense."""
        self._pause = self._backoff.next(self._pause)
        # A rejected secret-id has its own pauses, and a new one must be seen soon.
        missing = isinstance(failure, CredentialsRejected)
        pause = min(self._pause, 1.0) if missing else self._pause
        self._until = time.monotonic() + pause
        self.failure = failure.again()
        return max(pause, failure.retry_in or 0.0)

    def succeeded(self, *, stillborn: bool) -> None:
        """Note a login; if Vault refused the last token from the start, this one may fail too."""
        if not stillborn:
            self._pause, self._until, self.failure = None, 0.0, None
            return
        self._pause = self._backoff.next(self._pause)
        self._until = time.monotonic() + self._pause
        self.failure = PermissionDenied(
            "Vault refuses tokens that it has just issued: does the role bind them to other "
            "addresses (token_bound_cidrs)?"
        )


# Seconds. A denial may mean that the role got a new policy since the login; only another login can
# tell. So the client logs in at most this often, and not for a younger token.
_POLICY_LOGIN_EVERY = 30.0
_YOUNG = 1.0

# Seconds to revoke a token that arrives after the client was closed.
_TOO_LATE_SECONDS = 1.0


class LoginMethod(Protocol):
    """A way to get a token."""

    def log_in(self, deadline: Deadline) -> Token:
        """Return a new token; only one thread at a time calls this.

        Raise `AuthenticationFailed` if Vault refuses, `VaultUnavailable` if it cannot be asked.
        """


@dataclass
class _Refused:
    """A request that was answered 403.

    `policy_login` allows a login for a living token. `looked_up`: it was the token's `lookup-self`.
    `stands`: the policy denies, whatever a login brings.
    """

    token: Token
    denial: PermissionDenied
    policy_login: bool
    looked_up: bool
    stands: bool = False


class Authenticator:
    """Hold the current token, and get a new one when that helps.

    `on_change` follows a token's gain or loss, `on_login` a new token; both must be quick.
    """

    def __init__(
        self,
        method: LoginMethod,
        tools: Tools,
    ) -> None:
        self._method = method
        self._api, self._retrier = tools.api, tools.retrier
        self._backoff, self._notifier = tools.backoff, tools.notifier
        self._errands = Errands(
            tools.notifier,
            tools.retrier.known_failure,
            self._tell,
            timeout=tools.timeout,
            # A login in its own thread outlives the call that began it.
            threaded=tools.threaded,
        )
        self._lock = threading.RLock()
        self._current: Token | None = None
        self._retired: list[Token] = []
        self._login_backoff = LoginBackoff(tools.backoff)
        self._policy_login_due = 0.0
        self._closed = False
        self.on_change: Callable[[], None] = _nothing
        self.on_login: Callable[[], None] = _nothing

    @property
    def current(self) -> Token | None:
        """Return the last login's token, alive or not."""
        return self._current

    @property
    def failure(self) -> VaultError | None:
        return self._login_backoff.failure

    def token(self, deadline: Deadline) -> Token:
        """Return a token valid as far as the client knows; log in if necessary.

        Raise `AuthenticationFailed` if Vault refuses, `VaultUnavailable` if it cannot be asked.
        """
        token = self._current
        if token is not None and token.usable:
            return token

        def begin() -> Token | Errand[Token]:
            token = self._current
            if token is not None and token.usable:
                return token
            return self._to_log_in(self._ended(token))

        return self._errands.run(begin, deadline)

    def replace(self, token: Token, deadline: Deadline, *, reason: str) -> Token:
        """Log in, and revoke ``token`` if it still lives; it stays if the login fails."""

        def begin() -> Token | Errand[Token]:
            return self._other_than(token) or self._to_log_in(reason)

        return self._errands.run(begin, deadline)

    def after_denial(
        self,
        token: Token,
        denial: PermissionDenied,
        deadline: Deadline,
        *,
        policy_login: bool,
        looked_up: bool = False,
    ) -> Token | None:
        """Return another token to retry with after a 403, or None if the answer stands.

        Vault answers a dead token as it answers a policy's denial, so the client asks about the
        token. Only a dead token leads to a login, one for all refused threads.

        Args:
            policy_login: Whether to replace a living token too, if that was not done for a while: a
                role's policies are fixed at login, and may have grown.
            looked_up: Whether the refused request was the token's `lookup-self`.
        """
        refused = _Refused(token, denial, policy_login, looked_up)
        try:
            return self._errands.run(lambda: self._after(refused), deadline)
        except VaultUnavailable:
            if refused.stands:
                return None
            raise

    def take_retired(self) -> list[Token]:
        with self._lock:
            idle: list[Token] = []
            busy: list[Token] = []
            for token in self._retired:  # read once, since the last request may end meanwhile
                (idle if token.idle else busy).append(token)
            self._retired = [token for token in busy if token.usable]
        return [token for token in idle if token.usable and token.revocable]

    @property
    def has_retired(self) -> bool:
        return bool(self._retired)

    def surrender(self, timeout: float) -> list[Token]:
        """Return all living tokens for revocation, and allow no further login.

        ``timeout`` is for a login under way; one that takes longer revokes its own token.
        """
        self._errands.finish(timeout)
        with self._lock:
            self._closed = True
            tokens = [*self._retired, *([self._current] if self._current is not None else [])]
            self._retired, self._current = [], None
        self._errands.close()
        return [token for token in tokens if token.usable and token.revocable]

    def finish(self, timeout: float) -> None:
        self._errands.finish(timeout)

    def abandon(self) -> None:
        """Allow no further login; for a finalizer, so without a lock or a revocation."""
        self._closed = True

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            self._notifier.notify(event)
        self.on_change()
        if any(isinstance(event, Authenticated) for event in events):
            self.on_login()

    def _other_than(self, token: Token) -> Token | None:
        current = self._current
        if current is None or current is token or not current.usable:
            return None
        return current

    def _ended(self, token: Token | None) -> str:
        if token is None:
            return "start"
        reason = token.lost or ("used_up" if token.uses_left == 0 else "expired")
        self._lose(token, reason)
        return reason

    def _lose(self, token: Token, reason: str) -> None:
        if token.lose(reason):
            self._errands.note(TokenLost(reason=reason))

    def _after(self, refused: _Refused) -> Token | Errand[Token | None] | None:
        """Return another token, the errand that finds out, or None."""
        token = refused.token
        other = self._other_than(token)
        if other is not None:
            return other
        if token.lost is None:
            dead = _is_dead(refused)
            if dead is None:
                return Errand(lambda deadline: self._look_up(refused, deadline))
            if dead:
                self._lose(token, "used_up" if token.uses_left == 0 else "rejected")
        return self._after_look_up(refused)

    def _look_up(self, refused: _Refused, deadline: Deadline) -> Token | None:
        token = refused.token
        try:
            self._retrier.run(
                lambda: self._api.look_up(token.text, deadline),
                scope="lookup-self",
                deadline=deadline,
                repeat=always,
            )
        except PermissionDenied as error:
            # An explicit denial means that the token lives, and may not ask about itself.
            if error.doubtful:
                self._lose(token, "rejected")
        step = self._after_look_up(refused)
        return step.do(deadline) if isinstance(step, Errand) else step

    def _after_look_up(self, refused: _Refused) -> Errand[Token | None] | None:
        if refused.token.lost is not None:
            return self._to_log_in(refused.token.lost)
        if not refused.policy_login or not self._may_log_in_for_policy(refused.token):
            return None
        return Errand(lambda deadline: self._log_in_for_policy(refused, deadline))

    def _log_in_for_policy(self, refused: _Refused, deadline: Deadline) -> Token | None:
        refused.stands = True
        with contextlib.suppress(AuthenticationFailed, PermissionDenied, VaultUnavailable):
            return self._log_in(deadline, reason="policy")
        return None

    def _may_log_in_for_policy(self, token: Token) -> bool:
        now = clock()
        if now - token.issued_at < _YOUNG or now < self._policy_login_due:
            return False
        self._policy_login_due = now + max(self._backoff.cap, _POLICY_LOGIN_EVERY)
        return True

    def _to_log_in(self, reason: str) -> Errand[Token]:
        """Return the errand for a login, or raise if it is too early."""
        self._check()
        return Errand(lambda deadline: self._log_in(deadline, reason=reason))

    def _check(self) -> None:
        if self._closed:
            raise ClientClosed("the client is closed")
        self._login_backoff.check()

    def _log_in(self, deadline: Deadline, *, reason: str) -> Token:
        self._check()
        try:
            token = self._method.log_in(deadline)
        except VaultError as failure:
            self._note(failure)
            raise
        with self._lock:
            if not self._closed:
                self._take(token, reason)
            # Under the lock, since a signal handler may have closed the client.
            closed = self._closed
            if closed and self._current is token:
                self._current = None
        if closed:
            self._give_back(token)
            raise ClientClosed("the client was closed meanwhile")
        return token

    def _give_back(self, token: Token) -> None:
        """Revoke a token that came too late for any call."""
        if token.revocable:
            with contextlib.suppress(VaultError):
                self._api.revoke(token.text, Deadline(_TOO_LATE_SECONDS))

    def _take(self, token: Token, reason: str) -> None:
        old = self._current
        if old is not None and old.usable and old.revocable:
            self._retired.append(old)
        stillborn = old is not None and old.lost == "rejected" and not old.proven
        if old is None or old.text != token.text or _life(token) > _life(old):
            # A token read again from its file has only the rest of its life, and would shrink the
            # pauses to nothing in its last second.
            self._backoff.learn(token.ttl)
        self._login_backoff.succeeded(stillborn=stillborn)
        self._current = token
        self._errands.note(Authenticated(reason=reason, ttl=token.ttl, renewable=token.renewable))

    def _note(self, failure: VaultError) -> None:
        if failure.echo or isinstance(failure, ClientClosed):
            return
        if isinstance(failure, AuthenticationFailed | ConfigurationError):
            failure.retry_in = self._login_backoff.failed(failure)
        self._errands.note(LoginFailed(error=failure.again(), retry_in=failure.retry_in or 0.0))


def _is_dead(refused: _Refused) -> bool | None:
    """Return whether the token caused a 403, or None if only Vault can tell."""
    token, denial = refused.token, refused.denial
    if refused.looked_up:
        return denial.doubtful
    if token.uses_left is not None:
        # A lookup would cost a use, and a login costs less than a wrong answer.
        return token.uses_left == 0 or denial.doubtful
    if not denial.doubtful:
        return False
    return True if token.remaining == 0 else None


def _life(token: Token) -> float:
    return math.inf if token.ttl is None else token.ttl


def _nothing() -> None:
    """Do nothing."""
