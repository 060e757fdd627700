"""Logging in: one at a time over all threads, and never more often than does good."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from hvac.api.auth_methods.approle import AppRole

from resilient_vault_client._backoff import Backoff
from resilient_vault_client._circuit import Caller
from resilient_vault_client._config import Config
from resilient_vault_client._credentials import Credentials, CredentialSource
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import (
    AuthenticationFailed,
    AuthMountMissing,
    ClientClosed,
    ConfigurationError,
    CredentialsRejected,
    PermissionDenied,
    RequestRefused,
    RoleLocked,
    SecretNotFound,
    UnexpectedAnswer,
    VaultError,
    VaultTimeout,
    VaultUnavailable,
)
from resilient_vault_client._ledger import Ledger
from resilient_vault_client._token import Token
from resilient_vault_client._wire import Answer, Wire
from resilient_vault_client.events import (
    Authenticated,
    Event,
    LoginFailed,
    Teller,
    TokenLost,
)
from resilient_vault_client.events import (
    RoleLocked as RoleLockedEvent,
)

# A denial may mean that the role has got a policy since the login. Finding out costs a login, so it
# is done this often at most, whatever is denied; and not for a token that is as young as this.
_POLICY_LOGIN_EVERY = 30.0
_YOUNG = 1.0

# What a rejected role-id or secret-id is answered with.
_BAD_REQUEST = 400

# How long giving back a token may take that arrives after the client was closed.
_TOO_LATE_SECONDS = 1.0

# How often a thread that waits for another one's login looks whether that makes sense.
_LOOK_UP_EVERY = 0.05


class Authenticator:
    """Holds the current token, and gets a new one where that helps.

    Args:
        config: The mount of the AppRole method.
        source: The ids.
        wire: The way to Vault.
        caller: Makes requests under the circuit.
        backoff: How long to pause after a failed login.
        teller: Who hears of it.
    """

    def __init__(
        self,
        config: Config,
        *,
        source: CredentialSource,
        wire: Wire,
        caller: Caller,
        backoff: Backoff,
        teller: Teller,
    ) -> None:
        self._mount = config.auth_mount
        self._source = source
        self._wire = wire
        self._caller = caller
        self._backoff = backoff
        self._teller = teller
        self._ledger = Ledger(config.state_dir, server=config.address)
        self._api = AppRole(wire.adapter())
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._current: Token | None = None
        self._retired: list[Token] = []
        self._gate = _Gate(backoff)
        self._policy_login_due = 0.0
        self._closed = False

    @property
    def current(self) -> Token | None:
        """The token of the last login, alive or not."""
        return self._current

    @property
    def failure(self) -> VaultError | None:
        """Why the last login failed, if it did."""
        return self._gate.failure

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
    ) -> Token | None:
        """What to try again with after a 403: another token, or None if the answer stands.

        Vault says the same to a dead token and to a policy that forbids. So the token is asked
        about itself; only a dead one leads to a login, and that once for all threads that were
        refused.

        Args:
            token: The token that was refused.
            denial: How.
            deadline: When this must be over.
            patience: As for `Caller.run`.
            policy_login: Whether a living token is replaced too if none was for a while: what a
                role may is fixed at login, and may have grown since.
        """
        with self._alone(deadline, patience):
            current = self._current
            if current is not None and current is not token and current.usable:
                return current
            if token.lost is None and self._is_dead(token, denial, deadline, patience):
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
            idle = [token for token in self._retired if token.idle]
            self._retired = [t for t in self._retired if not t.idle and t.usable]
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

        Who waits looks up now and then whether waiting has become hopeless.
        """
        while not self._lock.acquire(timeout=min(_LOOK_UP_EVERY, deadline.remaining())):
            known = self._caller.known_failure(patience)
            if known is not None:
                raise known
            if deadline.passed:
                raise VaultTimeout("another thread's login was not over in time", sent=False)
        try:
            yield
        finally:
            events, self._events = self._events, []
            self._lock.release()
            for event in events:
                self._teller.tell(event)

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
            self._caller.run(
                token.api.lookup_self,
                scope="lookup-self",
                deadline=deadline,
                patience=patience,
                repeat=_always,
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
        failure = self._gate.shut()
        if failure is None:
            outcome = self._try(deadline, patience)
            if isinstance(outcome, Token):
                self._refuse_if_closed(outcome)
                self._take(outcome, reason)
                return outcome
            failure = outcome
            self._note(failure)
        raise failure

    def _refuse_if_closed(self, token: Token) -> None:
        """Give a token back that came too late for anybody."""
        if self._closed:
            with contextlib.suppress(VaultError), Deadline(_TOO_LATE_SECONDS).bound():
                token.api.revoke_self()
            raise ClientClosed("the client was closed meanwhile")

    def _try(self, deadline: Deadline, patience: float) -> Token | VaultError:
        """One login; errors are returned, so that they are raised outside of any handler."""
        try:
            credentials = self._source.load()
            wait = self._ledger.wait(credentials)
            if wait > 0:
                return _withheld(wait)
            started, answer = self._caller.run(
                lambda: (time.monotonic(), self._request(credentials)),
                scope="login",
                deadline=deadline,
                patience=patience,
                # A login whose answer was lost has used up the secret-id all the same.
                repeat=_unless_sent,
            )
            return self._token(answer, started, credentials)
        except RequestRefused as error:
            if error.status != _BAD_REQUEST:
                return AuthenticationFailed(f"Vault does not take the login: {error}")
            self._ledger.rejected(credentials)
            return CredentialsRejected(
                f"Vault rejects the login ({error}): the secret-id may have expired, been used up "
                "or destroyed, or the role deleted; deliver a new secret-id",
                retry_in=self._ledger.wait(credentials),
                status=error.status,
            )
        except SecretNotFound:
            return AuthMountMissing(f"there is nothing at auth/{self._mount}/login")
        except PermissionDenied:
            pass  # what it means takes another question, which is asked outside of the handler
        except VaultError as error:
            return error
        return self._why_denied(deadline)

    def _request(self, credentials: Credentials) -> Answer:
        answer: Answer = self._api.login(
            role_id=credentials.role_id,
            secret_id=credentials.secret_id,
            use_token=False,
            mount_point=self._mount,
        )
        return answer

    def _token(
        self, answer: Answer, started: float, credentials: Credentials
    ) -> Token | VaultError:
        auth = answer.get("auth")
        if not isinstance(auth, dict) or not auth.get("client_token"):
            return UnexpectedAnswer("the answer to the login holds no token")
        self._ledger.accepted(credentials)
        return Token(auth, started=started, wire=self._wire)

    def _why_denied(self, deadline: Deadline) -> VaultError:
        """Tell a locked role from a mount that is not there: Vault says 403 to both.

        A login without ids counts for nobody, and only an AppRole mount complains about what is
        missing.
        """
        known = self._gate.known()
        if known is not None:
            return known
        try:
            with deadline.bound():
                self._wire.adapter().login(f"/v1/auth/{self._mount}/login", json={})
        except PermissionDenied:
            return AuthMountMissing(
                f"there is no AppRole login at auth/{self._mount}: enable it, or set "
                "VAULT_AUTH_MOUNT"
            )
        except VaultError as error:
            if error.echo or error.status not in (400, 500):
                return AuthenticationFailed("Vault denies the login, and does not say why")
        return RoleLocked(
            "Vault denies the login: the role is probably locked after too many failed logins, by "
            "this client or another; it unlocks after 15 minutes by default, or through "
            "sys/locked-users"
        )

    def _take(self, token: Token, reason: str) -> None:
        old = self._current
        if old is not None and old.usable and old.revocable:
            self._retired.append(old)
        stillborn = old is not None and old.lost == "rejected" and not old.proven
        self._backoff.learn(token.ttl)
        self._gate.opened(stillborn=stillborn)
        self._current = token
        self._events.append(Authenticated(reason=reason, ttl=token.ttl, renewable=token.renewable))

    def _note(self, failure: VaultError) -> None:
        if failure.echo or isinstance(failure, ClientClosed):
            return
        if isinstance(failure, AuthenticationFailed | ConfigurationError):
            failure.retry_in = self._gate.fail(failure)
        retry_in = failure.retry_in or 0.0
        if isinstance(failure, RoleLocked):
            self._events.append(RoleLockedEvent(retry_in=retry_in))
        self._events.append(LoginFailed(error=failure, retry_in=retry_in))


class _Gate:
    """Keeps the next login back after one that did no good."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._pause: float | None = None
        self._until = 0.0
        self.failure: VaultError | None = None

    def shut(self) -> VaultError | None:
        """Why a login makes no sense yet, or None."""
        left = self._until - time.monotonic()
        if left <= 0 or self.failure is None:
            return None
        failure = self.failure.again()
        failure.echo = True
        failure.retry_in = left
        return failure

    def known(self) -> VaultError | None:
        """The reason for a 403 that was found last time, which is not asked for each time."""
        if isinstance(self.failure, RoleLocked | AuthMountMissing):
            return self.failure.again()
        return None

    def fail(self, failure: VaultError) -> float:
        """Shut it; the seconds until it opens."""
        self._pause = self._backoff.next(self._pause)
        # A rejected secret-id has times of its own, and a new one must be seen soon.
        missing = isinstance(failure, CredentialsRejected)
        pause = min(self._pause, 1.0) if missing else self._pause
        self._until = time.monotonic() + pause
        self.failure = failure
        return max(pause, failure.retry_in or 0.0)

    def opened(self, *, stillborn: bool) -> None:
        """A login worked; if the token before was refused from the start, this one may be too."""
        if not stillborn:
            self._pause, self._until, self.failure = None, 0.0, None
            return
        self._pause = self._backoff.next(self._pause)
        self._until = time.monotonic() + self._pause
        self.failure = PermissionDenied(
            "Vault refuses tokens that it has just issued: does the role bind them to other "
            "addresses (token_bound_cidrs)?"
        )


def _withheld(wait: float) -> CredentialsRejected:
    error = CredentialsRejected(
        "Vault rejected this secret-id before, and trying it again could lock the role for "
        "everybody: waiting for a new secret-id",
        retry_in=wait,
    )
    error.echo = True
    return error


def _always(error: VaultUnavailable) -> bool:
    del error
    return True


def _unless_sent(error: VaultUnavailable) -> bool:
    return not error.sent
