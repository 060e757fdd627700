"""Logging in: one at a time over all threads, and never more often than does good."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from resilient_vault_client._api import Api
from resilient_vault_client._backoff import Backoff
from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errands import Errand, Errands
from resilient_vault_client._errors import (
    AuthenticationFailed,
    ClientClosed,
    ConfigurationError,
    PermissionDenied,
    VaultError,
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


class LoginMethod(Protocol):
    """A way to get a token."""

    def log_in(self, deadline: Deadline, patience: float) -> Token:
        """A new token; one thread at a time asks for it.

        Raises:
            AuthenticationFailed: Vault does not let the client in.
            VaultUnavailable: Vault cannot be asked.
        """


@dataclass
class _Refused:
    """A request that was answered 403.

    Attributes:
        token: Its token.
        denial: The answer.
        patience: As for `Retrier.run`.
        policy_login: Whether a living token may be replaced.
        looked_up: Whether it was the token's question about itself.
        stands: Whether the answer is known to be the policy's, whatever comes of another token.
    """

    token: Token
    denial: PermissionDenied
    patience: float
    policy_login: bool
    looked_up: bool
    stands: bool = False


class Authenticator:
    """Holds the current token, and gets a new one where that helps.

    Args:
        method: How to log in.
        api: Vault's API.
        retrier: Makes requests under the circuit.
        backoff: How long to pause after a failed login.
        notifier: Who hears of it.
        timeout: What a call may take; a login that was sent may take longer.
        threaded: Whether it has a thread of its own, so that it is not over with its call.

    Attributes:
        on_change: Called when a token came or was lost, for what hangs on it. It must be quick.
        on_login: Called when there is another token, for who keeps it alive. It must be quick.
    """

    def __init__(
        self,
        method: LoginMethod,
        *,
        api: Api,
        retrier: Retrier,
        backoff: Backoff,
        notifier: Notifier,
        timeout: float,
        threaded: bool,
    ) -> None:
        self._method = method
        self._api = api
        self._retrier = retrier
        self._backoff = backoff
        self._notifier = notifier
        self._errands = Errands(
            notifier, retrier.known_failure, self._tell, timeout=timeout, threaded=threaded
        )
        self._lock = threading.RLock()
        self._current: Token | None = None
        self._retired: list[Token] = []
        self._login_backoff = LoginBackoff(backoff)
        self._policy_login_due = 0.0
        self._closed = False
        self.on_change: Callable[[], None] = _nothing
        self.on_login: Callable[[], None] = _nothing

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

        def begin() -> Token | Errand[Token]:
            token = self._current
            if token is not None and token.usable:
                return token
            return self._to_log_in(patience, self._ended(token))

        return self._errands.run(begin, deadline, patience)

    def replace(self, token: Token, deadline: Deadline, *, reason: str) -> Token:
        """A new token in the place of ``token``, which is given back while it still lives.

        Raises:
            AuthenticationFailed: Vault does not let the client in. The old token stays.
            VaultUnavailable: Vault cannot be asked. The old token stays.
        """

        def begin() -> Token | Errand[Token]:
            return self._other_than(token) or self._to_log_in(0.0, reason)

        return self._errands.run(begin, deadline, 0.0)

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
        refused = _Refused(token, denial, patience, policy_login, looked_up)
        try:
            return self._errands.run(lambda: self._after(refused), deadline, patience)
        except VaultUnavailable:
            if refused.stands:
                return None
            raise

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

        A login that is under way all the same gives its token back by itself.

        Args:
            timeout: How long to wait for such a login before.
        """
        self._errands.finish(timeout)
        with self._lock:
            self._closed = True
            tokens = [*self._retired, *([self._current] if self._current is not None else [])]
            self._retired, self._current = [], None
        self._errands.close()
        return [token for token in tokens if token.usable and token.revocable]

    def finish(self, timeout: float) -> None:
        """After `surrender`: wait for the end of a login that is under way."""
        self._errands.finish(timeout)

    def abandon(self) -> None:
        """No login after this; says a finalizer, so no lock is taken, and nothing given back."""
        self._closed = True

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            self._notifier.notify(event)
        self.on_change()
        if any(isinstance(event, Authenticated) for event in events):
            self.on_login()

    def _other_than(self, token: Token) -> Token | None:
        """The current token, if that is another one that is good as far as is known."""
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
        """What to try again with, or how to find out."""
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
        """Ask Vault whether the token lives, and do what follows from that."""
        token = refused.token
        try:
            self._retrier.run(
                lambda: self._api.look_up(token.text, deadline),
                scope="lookup-self",
                deadline=deadline,
                patience=refused.patience,
                repeat=always,
            )
        except PermissionDenied as error:
            # In so many words, it lives and has no right to ask about itself.
            if error.doubtful:
                self._lose(token, "rejected")
        step = self._after_look_up(refused)
        return step.do(deadline) if isinstance(step, Errand) else step

    def _after_look_up(self, refused: _Refused) -> Errand[Token | None] | None:
        """A login, where the token is dead or another one may do more."""
        if refused.token.lost is not None:
            return self._to_log_in(refused.patience, refused.token.lost)
        if not refused.policy_login or not self._may_log_in_for_policy(refused.token):
            return None
        return Errand(lambda deadline: self._log_in_for_policy(refused, deadline))

    def _log_in_for_policy(self, refused: _Refused, deadline: Deadline) -> Token | None:
        refused.stands = True
        with contextlib.suppress(AuthenticationFailed, PermissionDenied, VaultUnavailable):
            return self._log_in(deadline, refused.patience, reason="policy")
        return None

    def _may_log_in_for_policy(self, token: Token) -> bool:
        now = clock()
        if now - token.issued_at < _YOUNG or now < self._policy_login_due:
            return False
        self._policy_login_due = now + max(self._backoff.cap, _POLICY_LOGIN_EVERY)
        return True

    def _to_log_in(self, patience: float, reason: str) -> Errand[Token]:
        """A login, unless it is known to make no sense yet."""
        self._check()
        return Errand(lambda deadline: self._log_in(deadline, patience, reason=reason))

    def _check(self) -> None:
        """Raise why no login is tried now."""
        if self._closed:
            raise ClientClosed("the client is closed")
        self._login_backoff.check()

    def _log_in(self, deadline: Deadline, patience: float, *, reason: str) -> Token:
        """Log in, or tell why not; it is this thread's errand."""
        self._check()
        try:
            token = self._method.log_in(deadline, patience)
        except VaultError as failure:
            self._note(failure)
            raise
        with self._lock:
            if not self._closed:
                self._take(token, reason)
            # Looked at afterwards: a signal's handler may have closed the client meanwhile.
            closed = self._closed
            if closed and self._current is token:
                self._current = None
        if closed:
            self._give_back(token)
            raise ClientClosed("the client was closed meanwhile")
        return token

    def _give_back(self, token: Token) -> None:
        """It came too late for anybody."""
        if token.revocable:
            with contextlib.suppress(VaultError):
                self._api.revoke(token.text, Deadline(_TOO_LATE_SECONDS))

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
        self._errands.note(Authenticated(reason=reason, ttl=token.ttl, renewable=token.renewable))

    def _note(self, failure: VaultError) -> None:
        if failure.echo or isinstance(failure, ClientClosed):
            return
        if isinstance(failure, AuthenticationFailed | ConfigurationError):
            failure.retry_in = self._login_backoff.failed(failure)
        self._errands.note(LoginFailed(error=failure.again(), retry_in=failure.retry_in or 0.0))


def _is_dead(refused: _Refused) -> bool | None:
    """Whether a 403 was the token's fault; None if only Vault can tell."""
    token, denial = refused.token, refused.denial
    if refused.looked_up:
        return denial.doubtful
    if token.uses_left is not None:
        # Asking would cost a use; a login costs less than a wrong answer.
        return token.uses_left == 0 or denial.doubtful
    if not denial.doubtful:
        return False
    return True if token.remaining == 0 else None


def _life(token: Token) -> float:
    return math.inf if token.ttl is None else token.ttl


def _nothing() -> None:
    """Nobody wants to know."""
