"""One process's part of a client: connections, token, threads.

A forked child inherits only the last values read.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from resilient_vault_client._config import Config
from resilient_vault_client._deadline import Backoff, Deadline, clock
from resilient_vault_client._errors import (
    ClientClosed,
    NotInitialised,
    PermissionDenied,
    SecretDeleted,
    SecretDestroyed,
    SecretNotFound,
    UnexpectedAnswer,
    VaultError,
    VaultSealed,
    VaultUnavailable,
)
from resilient_vault_client._grant import Token
from resilient_vault_client._leases import Leases, Listeners
from resilient_vault_client._login import Authenticator
from resilient_vault_client._memory import Memory, Remembered, remembered
from resilient_vault_client._methods import Opened, login_method
from resilient_vault_client._renewer import Renewer
from resilient_vault_client._retrier import Circuit, Retrier, Tools, always, never
from resilient_vault_client._transport import Answer, Api, Transport
from resilient_vault_client.events import Denied, Notifier

# Paths; those denied longest ago are dropped first.
_MOST = 1024


class Denials:
    """Remember denied paths for a while."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def check(self, path: str) -> None:
        until = self._until.get(path)
        if until is None:
            return
        left = until - time.monotonic()
        if left <= 0:
            self._until.pop(path, None)
            return
        raise PermissionDenied(
            f"the policy denies {path} (found out a moment ago)",
            path=path,
            retry_in=left,
            status=403,
        )

    def note(self, path: str, seconds: float) -> None:
        if len(self._until) >= _MOST:
            now = time.monotonic()
            known = sorted(((until, path) for path, until in list(self._until.items())))
            ended = [path for until, path in known if until <= now]
            for old in ended or [path for _, path in known[: _MOST // 4]]:
                self._until.pop(old, None)
        self._until[path] = time.monotonic() + seconds


T = TypeVar("T")

# In one call; the second token may have been revoked, too.
_OTHER_TOKENS = 2


class Session:
    """The state of a client in one process.

    Args:
        environ: Where ids are read at each login.
        opened, memory: From this process or its parent.
        listeners: By path.
        renew: Whether threads log in and keep the token alive.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        *,
        notifier: Notifier,
        opened: Opened,
        listeners: Listeners,
        memory: Memory | None = None,
        renew: bool = True,
    ) -> None:
        self.config = config
        self.memory = memory if memory is not None else Memory(config.max_stale)
        self.static = Memory(config.max_stale)
        self.backoff = Backoff(config.backoff_cap, active=not config.testing)
        self.circuit = Circuit(self.backoff, notifier)
        self.last_success: float | None = None
        self._notifier = notifier
        self._renew = renew
        self._transport = Transport(config)
        self._api = Api(self._transport, config.mount_point.strip("/"))
        self._retrier = Retrier(
            self.circuit,
            self.backoff,
            timeout=config.timeout,
            address=self._transport.address,
        )
        self._denials = Denials()
        self._closed = False
        tools = Tools(
            api=self._api,
            retrier=self._retrier,
            circuit=self.circuit,
            backoff=self.backoff,
            notifier=notifier,
            timeout=config.timeout,
            threaded=renew,
        )
        method = login_method(config, environ, opened, tools)
        self.authenticator = Authenticator(method, tools)
        self.renewer = Renewer(self.authenticator, tools)
        self.leases = Leases(self._with_token, self.authenticator, tools, listeners)
        self.authenticator.on_change = self.leases.wake
        self.authenticator.on_login = self.renewer.wake  # this wakes it even if no call waits

    @property
    def closed(self) -> bool:
        return self._closed

    def log_in(self, deadline: Deadline) -> None:
        self._token(deadline)

    def prove(self, deadline: Deadline) -> None:
        """Check that the token lives, or get one."""
        before = self.authenticator.current
        token = self._hold(deadline)
        if token is not before or token.uses_left is not None:
            # A login is proof, and asking would cost one of few uses.
            token.end()
            if token is not before:
                self.last_success = clock()
            return
        deadline = deadline.without_patience()
        try:
            self._use(
                token,
                lambda one: self._api.look_up(one.text, deadline),
                scope="lookup-self",
                deadline=deadline,
                repeat=always,
            )
        except PermissionDenied as denial:
            self.authenticator.after_denial(
                token, denial, deadline, policy_login=False, looked_up=True
            )
            self.last_success = clock()  # Vault knows the token, or gave another one
            self.renewer.wake()

    def fetch(self, path: str, deadline: Deadline, *, version: int | None) -> Remembered:
        self._denials.check(path)
        started = clock()
        try:
            answer = self._read(path, deadline, version)
            _check_there(answer, path)
            return self._keep(path, answer, started, version)
        except VaultError as error:
            error.path = path
            gone = isinstance(error, SecretNotFound | SecretDeleted | SecretDestroyed)
            denied = isinstance(error, PermissionDenied)
            if version is None and (gone or denied):
                self.memory.forget(path)
            if denied:
                raise self._deny(path, error) from error
            if type(error) is SecretNotFound:
                raise self._missing(path, error, version) from error
            raise

    def _read(self, path: str, deadline: Deadline, version: int | None) -> Answer:
        def run() -> Answer:
            return self._with_token(
                lambda token: self._api.read_secret(token.text, path, deadline, version=version),
                scope=f"read {path}",
                deadline=deadline,
                repeat=always,
            )

        known = self.memory.stand_in(path) is not None
        try:
            return run()
        except SecretNotFound:
            # A node that lags behind may not know what another node returned a moment ago.
            if not known or version is not None or self.config.testing:
                raise
        self.circuit.rest(min(self.backoff.next(None), deadline.remaining()))
        return run()

    def _keep(self, path: str, answer: Answer, started: float, version: int | None) -> Remembered:
        data = answer.get("data")
        values = data.get("data") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(values, dict):
            raise UnexpectedAnswer(
                f"the engine at {self.config.mount_point} is not a KV version 2 engine",
                path=path,
            )
        metadata = data.get("metadata")
        found = metadata.get("version") if isinstance(metadata, dict) else None
        entry = Remembered(path, values, found, started, clock() + self.config.cache_ttl)
        if version is None:
            self.memory.keep(entry)
        return entry

    def fetch_static(self, path: str, deadline: Deadline) -> Remembered:
        self._denials.check(path)
        started = clock()
        try:
            answer = self._with_token(
                lambda token: self._api.lease(token.text, path, deadline),
                scope=f"read {path}",
                deadline=deadline,
                repeat=always,
            )
            entry = remembered(path, answer, started, self.config.cache_ttl)
        except VaultError as error:
            error.path = path
            if not error.stale_may_serve:
                self.static.forget(path)
            if isinstance(error, PermissionDenied) and self.backoff.active:
                self._denials.note(path, self.backoff.cap)
                self._notifier.notify(Denied(path=path, cool_down=self.backoff.cap))
            raise
        self.static.keep(entry)
        return entry

    def write(self, path: str, data: Mapping[str, Any], deadline: Deadline, cas: int | None) -> int:
        """Write a secret once; the error's `sent` tells whether it may have been written."""
        try:
            answer = self._with_token(
                lambda token: self._api.write_secret(token.text, path, data, deadline, cas=cas),
                scope=f"write {path}",
                deadline=deadline,
                repeat=never,
            )
        except VaultError as error:
            error.path = path
            raise
        finally:
            self.memory.expire(path)
        try:
            return int(answer["data"]["version"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UnexpectedAnswer("the answer to the write has no version", path=path) from error

    def unwrap(self, wrapping_token: str, deadline: Deadline) -> Answer:
        """Unwrap a token, once; that uses it up even if the answer is lost."""
        if self.closed:
            raise ClientClosed("the client is closed")
        return self._retrier.run(
            lambda: self._api.unwrap(wrapping_token, deadline),
            scope="unwrap",
            deadline=deadline,
            repeat=never,
        )

    def _token(self, deadline: Deadline) -> Token:
        if self.closed:
            raise ClientClosed("the client is closed")
        if self._renew:
            self.renewer.ensure_running()
        before = self.authenticator.current
        token = self.authenticator.token(deadline)
        if token is not before:
            self.renewer.wake()
        return token

    def _with_token(
        self,
        operation: Callable[[Token], T],
        *,
        scope: str,
        deadline: Deadline,
        repeat: Callable[[VaultUnavailable], bool],
    ) -> T:
        """Run an operation with the current token, and with another if that was dead.

        Raises:
            PermissionDenied: The policy forbids it. Now and then the client replaces a living token
                after a refusal, since the role may have got more rights. Without an answer to that
                try, the first answer stands, and no stand-in may replace it.
            VaultUnavailable: Also for a later try that may have changed something.
        """
        refused: PermissionDenied | None = None
        by_policy = False
        others = _OTHER_TOKENS
        while True:
            try:
                token = self._hold(deadline)
                try:
                    return self._use(token, operation, scope, deadline, repeat)
                except PermissionDenied as denial:
                    # Other threads may have used the token up; then Vault refused nothing.
                    asked = denial.status is not None
                    if asked and (by_policy or others == 0):
                        raise
                    with _not_sent():
                        other = self.authenticator.after_denial(
                            token, denial, deadline, policy_login=refused is None
                        )
                    if other is None:
                        raise
                    if asked:
                        refused, by_policy, others = denial, token.usable, others - 1
            except VaultUnavailable as silence:
                # A later try that may have changed something was not refused: the result is
                # unknown.
                if refused is not None and by_policy and (not silence.sent or repeat(silence)):
                    raise refused from None
                raise
            self.renewer.wake()

    def _use(
        self,
        token: Token,
        operation: Callable[[Token], T],
        scope: str,
        deadline: Deadline,
        repeat: Callable[[VaultUnavailable], bool],
    ) -> T:
        try:
            result = self._retrier.run(
                lambda: _spend(token, operation),
                scope=scope,
                deadline=deadline,
                repeat=repeat,
            )
        finally:
            token.end()
        token.proven = True
        self.last_success = clock()
        return result

    def _hold(self, deadline: Deadline) -> Token:
        """Return the current token, marked as in use so that no thread revokes it."""
        while True:
            with _not_sent():
                token = self._token(deadline)
            token.begin()
            # It may have been replaced just now, and soon be revoked.
            if token is self.authenticator.current:
                return token
            token.end()

    def _deny(self, path: str, error: VaultError) -> PermissionDenied:
        """Return the caller's error, and remember the denial."""
        cool_down = self.backoff.cap if self.backoff.active else 0.0
        if cool_down:
            self._denials.note(path, cool_down)
        self._notifier.notify(Denied(path=path, cool_down=cool_down))
        return PermissionDenied(
            f"Vault denies {self.config.mount_point}/{path}: the role's policy does not allow it, "
            f"or VAULT_MOUNT_POINT is wrong: nothing is mounted there ({error})",
            path=path,
            retry_in=cool_down or None,
            status=error.status,
        )

    def _missing(self, path: str, error: SecretNotFound, version: int | None) -> SecretNotFound:
        """Return the caller's error, with the settings to check."""
        which = "" if version is None else f"version {version} of "
        return SecretNotFound(
            f"there is no {which}{self.config.mount_point}/{path}: is the path right, and is a KV "
            "version 2 engine mounted at VAULT_MOUNT_POINT?",
            path=path,
            sent=error.sent,
            status=error.status,
        )

    @property
    def renews(self) -> bool:
        """Return whether threads should keep the token alive."""
        return self._renew

    def abandon(self) -> None:
        """End a session without any lock, for a finalizer.

        The thread revokes the token; without a thread it expires.
        """
        self._closed = True
        self.leases.stop()
        if self.renewer.running:
            self.renewer.abandon(self._farewell)
        else:
            self.authenticator.abandon()
            self._transport.close()

    def _farewell(self) -> None:
        self.circuit.close()
        self.renewer.give_back(self.authenticator.surrender(self.config.timeout))
        self._transport.close()

    def leave_to_parent(self) -> None:
        """Release the parent's connections, in a child."""
        self._transport.forget()

    def close(self, timeout: float) -> None:
        """Revoke the token and end the threads in time, even if Vault hangs."""
        if self._closed:
            return
        deadline = Deadline(timeout)
        self._closed = True
        self.circuit.close()
        self.renewer.stop()
        self.leases.stop()
        tokens = self.authenticator.surrender(min(1.0, timeout / 4))
        # A lease ends with its token, unless the client may not revoke that.
        self.leases.give_back(tokens, deadline.remaining() / 4)
        self.renewer.give_back(tokens, deadline.remaining() / 2)
        # A login under way may still give a token, to revoke as well.
        self.authenticator.finish(max(0.0, deadline.remaining() - timeout / 4))
        self._transport.abort()
        self._transport.close()
        self.authenticator.finish(deadline.remaining())
        self.renewer.join(deadline.remaining())
        self.leases.join(deadline.remaining())


def _check_there(answer: Answer, path: str) -> None:
    """Raise for a version of which only metadata is left."""
    data = answer.get("data")
    if not isinstance(data, dict) or data.get("data") is not None or "metadata" not in data:
        return
    metadata = data["metadata"] if isinstance(data["metadata"], dict) else {}
    number = metadata.get("version")
    if metadata.get("destroyed"):
        raise SecretDestroyed(
            f"version {number} of {path} was destroyed: write it again", path=path, status=404
        )
    raise SecretDeleted(
        f"version {number} of {path} was deleted: undelete it, or write it again",
        path=path,
        status=404,
    )


@contextlib.contextmanager
def _not_sent() -> Iterator[None]:
    """Mark a login's error as not sent: the request itself was not sent, or was refused.

    An application that wrote need not check whether it worked.
    """
    try:
        yield
    except VaultError as error:
        error.sent = False
        raise


def _spend(token: Token, operation: Callable[[Token], T]) -> T:
    """Spend one use of the token; return it if Vault did not get it.

    Raise `PermissionDenied`, without a request, if the token is dead or no use is left.
    """
    if not token.spend():
        denial = PermissionDenied("the token is dead, or its uses are used up", sent=False)
        denial.doubtful = True
        raise denial
    try:
        return operation(token)
    except VaultError as error:
        if _never_arrived(error):
            token.take_back()
        raise


def _never_arrived(error: VaultError) -> bool:
    """Return whether Vault was not reached or is sealed, and so has not checked the token."""
    if error.status is None:
        return not error.sent
    return isinstance(error, VaultSealed | NotInitialised)
