"""One process's part of a client: its connections, its token, its thread.

After a fork the child makes another one for itself; nothing of this is shared but what was last
read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from resilient_vault_client._api import Api
from resilient_vault_client._backoff import Backoff
from resilient_vault_client._circuit import Circuit
from resilient_vault_client._clock import clock
from resilient_vault_client._config import Config
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._denials import Denials
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
from resilient_vault_client._leases import Leases, Listeners
from resilient_vault_client._login import Authenticator
from resilient_vault_client._memory import Memory, Remembered
from resilient_vault_client._methods import login_method
from resilient_vault_client._notifier import Notifier
from resilient_vault_client._renewer import Renewer
from resilient_vault_client._retrier import Retrier, always, never
from resilient_vault_client._token import Token
from resilient_vault_client._transport import Answer, Transport
from resilient_vault_client._wrapped import Opened
from resilient_vault_client.events import Denied

T = TypeVar("T")

# Tokens that a call takes after its first one was refused: the second may have been revoked, too.
_OTHER_TOKENS = 2


class Session:
    """What a client does in one process.

    Args:
        config: The settings.
        environ: Where ids are read at each login.
        notifier: Who hears of events.
        opened: What a wrapping token gave before, to this process or its parent.
        listeners: Who wants to know when a credential is replaced, by its path.
        memory: What was read before, by the parent process.
        renew: Whether a thread keeps the token alive, and another one gets it.
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
        self.authenticator = Authenticator(
            login_method(
                config,
                environ,
                opened,
                backoff=self.backoff,
                api=self._api,
                retrier=self._retrier,
            ),
            api=self._api,
            retrier=self._retrier,
            backoff=self.backoff,
            notifier=notifier,
            timeout=config.timeout,
            threaded=renew,
        )
        self.renewer = Renewer(
            self.authenticator,
            api=self._api,
            retrier=self._retrier,
            circuit=self.circuit,
            backoff=self.backoff,
            notifier=notifier,
            timeout=config.timeout,
        )
        self.leases = Leases(
            self._with_token,
            self.authenticator,
            api=self._api,
            retrier=self._retrier,
            backoff=self.backoff,
            notifier=notifier,
            listeners=listeners,
            timeout=config.timeout,
            threaded=renew,
        )
        self.authenticator.on_change = self.leases.wake
        self.authenticator.on_login = self.renewer.wake  # nobody may wait for that token any more

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def log_in(self, deadline: Deadline) -> None:
        """See to it that there is a token.

        Raises:
            VaultError: There is none to be had.
        """
        self._token(deadline, self.config.timeout)

    def prove(self, deadline: Deadline) -> None:
        """Have Vault say that the token lives, or get one.

        Raises:
            VaultError: There is none to be had, or Vault does not say.
        """
        before = self.authenticator.current
        token = self._hold(deadline, self.config.timeout)
        if token is not before or token.uses_left is not None:
            # A login is proof enough, and asking would cost one of few uses.
            token.end()
            if token is not before:
                self.last_success = clock()
            return
        try:
            self._use(
                token,
                lambda one: self._api.look_up(one.text, deadline),
                scope="lookup-self",
                deadline=deadline,
                patience=0.0,
                repeat=always,
            )
        except PermissionDenied as denial:
            self.authenticator.after_denial(
                token, denial, deadline, 0.0, policy_login=False, looked_up=True
            )
            self.last_success = clock()  # Vault knows the token, or gave another one
            self.renewer.wake()

    def fetch(
        self, path: str, deadline: Deadline, *, patience: float, version: int | None
    ) -> Remembered:
        """Read a secret from Vault.

        Raises:
            VaultError: Vault did not give it.
        """
        self._denials.check(path)
        started = clock()
        try:
            answer = self._read(path, deadline, patience, version)
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

    def _read(self, path: str, deadline: Deadline, patience: float, version: int | None) -> Answer:
        def run() -> Answer:
            return self._with_token(
                lambda token: self._api.read_secret(token.text, path, deadline, version=version),
                scope=f"read {path}",
                deadline=deadline,
                patience=patience,
                repeat=always,
            )

        known = self.memory.stand_in(path) is not None
        try:
            return run()
        except SecretNotFound:
            # A node that lags behind does not know yet what another one gave a moment ago.
            if not known or version is not None or self.config.testing:
                raise
        self.circuit.rest(min(self.backoff.next(None), deadline.remaining()))
        return run()

    def _keep(self, path: str, answer: Answer, started: float, version: int | None) -> Remembered:
        data = answer.get("data")
        values = data.get("data") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(values, dict):
            raise UnexpectedAnswer(
                f"what is mounted at {self.config.mount_point} is not a KV version 2 engine",
                path=path,
            )
        metadata = data.get("metadata")
        found = metadata.get("version") if isinstance(metadata, dict) else None
        entry = Remembered(path, values, found, started, clock() + self.config.cache_ttl)
        if version is None:
            self.memory.keep(entry)
        return entry

    def write(self, path: str, data: Mapping[str, Any], deadline: Deadline, cas: int | None) -> int:
        """Write a secret once; the number of the new version.

        Raises:
            VaultError: It was not written, or nobody knows: then `sent` is true.
        """
        try:
            answer = self._with_token(
                lambda token: self._api.write_secret(token.text, path, data, deadline, cas=cas),
                scope=f"write {path}",
                deadline=deadline,
                patience=self.config.timeout,
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
        """What a wrapping token holds. It is used up by that, whether or not the answer arrives.

        Raises:
            VaultError: It did not come; nothing tries again.
        """
        if self.closed:
            raise ClientClosed("the client is closed")
        return self._retrier.run(
            lambda: self._api.unwrap(wrapping_token, deadline),
            scope="unwrap",
            deadline=deadline,
            patience=self.config.timeout,
            repeat=never,
        )

    def _token(self, deadline: Deadline, patience: float) -> Token:
        if self.closed:
            raise ClientClosed("the client is closed")
        if self._renew:
            self.renewer.ensure_running()
        before = self.authenticator.current
        token = self.authenticator.token(deadline, patience)
        if token is not before:
            self.renewer.wake()
        return token

    def _with_token(
        self,
        operation: Callable[[Token], T],
        *,
        scope: str,
        deadline: Deadline,
        patience: float,
        repeat: Callable[[VaultUnavailable], bool],
    ) -> T:
        """Do something with the current token, and again with another if it was dead.

        That one may be dead by then, too: somebody may revoke what a role holds twice.

        Raises:
            PermissionDenied: The policy forbids it. A token that lived when it was refused is
                replaced now and then, since a role may have got more; if nothing is heard of that
                second try, the answer to the first stands: no outage excuses it.
            VaultUnavailable: Of a later try that may have changed something, too.
        """
        refused: PermissionDenied | None = None
        by_policy = False
        others = _OTHER_TOKENS
        while True:
            try:
                token = self._hold(deadline, patience)
                try:
                    return self._use(token, operation, scope, deadline, patience, repeat)
                except PermissionDenied as denial:
                    # Where other threads were quicker with its last uses, Vault refused nothing.
                    asked = denial.status is not None
                    if asked and (by_policy or others == 0):
                        raise
                    with _not_sent():
                        other = self.authenticator.after_denial(
                            token, denial, deadline, patience, policy_login=refused is None
                        )
                    if other is None:
                        raise
                    if asked:
                        refused, by_policy, others = denial, token.usable, others - 1
            except VaultUnavailable as silence:
                # What a later try may have done was not refused: then nobody knows.
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
        patience: float,
        repeat: Callable[[VaultUnavailable], bool],
    ) -> T:
        """Do something with a token that is held for it, and let go of the token."""
        try:
            result = self._retrier.run(
                lambda: _spend(token, operation),
                scope=scope,
                deadline=deadline,
                patience=patience,
                repeat=repeat,
            )
        finally:
            token.end()
        token.proven = True
        self.last_success = clock()
        return result

    def _hold(self, deadline: Deadline, patience: float) -> Token:
        """The current token, marked as in use, so that nobody gives it back meanwhile."""
        while True:
            with _not_sent():
                token = self._token(deadline, patience)
            token.begin()
            # Replaced in this very moment, it may already be on its way back.
            if token is self.authenticator.current:
                return token
            token.end()

    def _deny(self, path: str, error: VaultError) -> PermissionDenied:
        """The denial as the caller hears it; the path is left alone for a while."""
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
        """The same as the caller hears it, with what was looked at."""
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
        """Whether a thread keeps, or should keep, the token alive."""
        return self._renew

    def abandon(self) -> None:
        """Nobody holds the client any more, says a finalizer: so no lock is taken here.

        The thread gives the token back and ends; where there is none the token expires by itself.
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
        """In a child process: let go of the connections, which are the parent's."""
        self._transport.forget()

    def close(self, timeout: float) -> None:
        """Give the token back and end the thread, in ``timeout`` seconds even if Vault hangs."""
        if self._closed:
            return
        deadline = Deadline(timeout)
        self._closed = True
        self.circuit.close()
        self.renewer.stop()
        self.leases.stop()
        tokens = self.authenticator.surrender(min(1.0, timeout / 4))
        # A lease ends with its token; those of a token that is not ours to revoke, by themselves.
        self.leases.give_back(tokens, deadline.remaining() / 4)
        self.renewer.give_back(tokens, deadline.remaining() / 2)
        # Vault may be about to grant what was asked for: then that is given back as well.
        self.authenticator.finish(max(0.0, deadline.remaining() - timeout / 4))
        self._transport.abort()
        self._transport.close()
        self.authenticator.finish(deadline.remaining())
        self.renewer.join(deadline.remaining())
        self.leases.join(deadline.remaining())


def _check_there(answer: Answer, path: str) -> None:
    """Raise how a version is gone that Vault has only metadata of.

    Raises:
        SecretDestroyed: For good.
        SecretDeleted: Until somebody undeletes it.
    """
    data = answer.get("data")
    if not isinstance(data, dict) or data.get("data") is not None or "metadata" not in data:
        return
    metadata = data["metadata"] if isinstance(data["metadata"], dict) else {}
    number = metadata.get("version")
    if metadata.get("destroyed"):
        raise SecretDestroyed(
            f"version {number} of {path} was destroyed: write it anew", path=path, status=404
        )
    raise SecretDeleted(
        f"version {number} of {path} was deleted: undelete it, or write it anew",
        path=path,
        status=404,
    )


@contextlib.contextmanager
def _not_sent() -> Iterator[None]:
    """What a login raises is not about the request that it is for, which was not sent, or refused.

    Whoever wrote something need not look whether it is there.
    """
    try:
        yield
    except VaultError as error:
        error.sent = False
        raise


def _spend(token: Token, operation: Callable[[Token], T]) -> T:
    """Make a request with one of the token's uses, which is not gone if Vault did not get it.

    Raises:
        PermissionDenied: There is no use left; nobody was asked.
    """
    if not token.spend():
        denial = PermissionDenied("the token's uses are used up", sent=False)
        denial.doubtful = True
        raise denial
    try:
        return operation(token)
    except VaultError as error:
        if _never_arrived(error):
            token.take_back()
        raise


def _never_arrived(error: VaultError) -> bool:
    """Whether Vault has not looked at the token: it was not reached, or is closed."""
    if error.status is None:
        return not error.sent
    return isinstance(error, VaultSealed | NotInitialised)
