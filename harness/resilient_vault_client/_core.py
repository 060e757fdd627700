"""One process's part of a client: its connections, its token, its thread.

After a fork the child makes another one for itself; nothing of this is shared but what was last
read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hvac.api.system_backend.wrapping import Wrapping

from resilient_vault_client._backoff import Backoff
from resilient_vault_client._circuit import Caller, Circuit
from resilient_vault_client._config import Config
from resilient_vault_client._credentials import CredentialSource
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import (
    ClientClosed,
    PermissionDenied,
    SecretDeleted,
    SecretDestroyed,
    SecretNotFound,
    UnexpectedAnswer,
    VaultError,
    VaultUnavailable,
)
from resilient_vault_client._login import Authenticator
from resilient_vault_client._renewer import Renewer
from resilient_vault_client._secret import Entry, Memory
from resilient_vault_client._token import Token
from resilient_vault_client._wire import Answer, Wire
from resilient_vault_client.events import Denied, Teller

T = TypeVar("T")

_log = logging.getLogger("resilient_vault_client")


class Core:
    """What a client does in one process.

    Args:
        config: The settings.
        environ: Where ids are read at each login.
        teller: Who hears of events.
        memory: What was read before, by the parent process.
        renew: Whether a thread keeps the token alive.
        testing: One attempt a call, no pauses.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        *,
        teller: Teller,
        memory: Memory | None = None,
        renew: bool = True,
        testing: bool = False,
    ) -> None:
        self.config = config
        self.memory = memory if memory is not None else Memory(config.max_stale)
        self.backoff = Backoff(config.backoff_cap, active=not testing)
        self.circuit = Circuit(self.backoff, teller)
        self.last_success: float | None = None
        self._teller = teller
        self._testing = testing
        self._renew = renew
        self._wire = Wire(config)
        self._caller = Caller(self.circuit, self.backoff, timeout=config.timeout)
        self._denied_until: dict[str, float] = {}
        self._closing = threading.Event()
        self.authenticator = Authenticator(
            config,
            source=CredentialSource(config, environ),
            wire=self._wire,
            caller=self._caller,
            backoff=self.backoff,
            teller=teller,
        )
        self.renewer = Renewer(
            self.authenticator,
            caller=self._caller,
            circuit=self.circuit,
            backoff=self.backoff,
            teller=teller,
            timeout=config.timeout,
        )

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closing.is_set()

    def log_in(self, deadline: Deadline) -> None:
        """See to it that there is a token.

        Raises:
            VaultError: There is none to be had.
        """
        self._token(deadline, self.config.timeout)

    def fetch(
        self, path: str, deadline: Deadline, *, patience: float, version: int | None
    ) -> Entry:
        """Read a secret from Vault.

        Raises:
            VaultError: Vault did not give it.
        """
        self._check_denied(path)
        started = time.monotonic()
        try:
            answer = self._read(path, deadline, patience, version)
        except PermissionDenied as error:
            failure: VaultError = self._deny(path, error)
        except SecretNotFound as error:
            error.path = path
            failure = error
        except VaultError as error:
            error.path = path
            raise
        else:
            gone = _gone(answer, path)
            if gone is None:
                return self._keep(path, answer, started, version)
            failure = gone
        if version is None:
            self.memory.forget(path)
        raise failure

    def _read(self, path: str, deadline: Deadline, patience: float, version: int | None) -> Answer:
        def operation(token: Token) -> Answer:
            return _answer(
                token.kv.read_secret_version(
                    path=path,
                    version=version,
                    mount_point=self.config.mount_point,
                    raise_on_deleted_version=True,
                )
            )

        def run() -> Answer:
            return self._with_token(
                operation, scope=f"read {path}", deadline=deadline, patience=patience, repeat=True
            )

        known = self.memory.stand_in(path) is not None
        try:
            return run()
        except SecretNotFound:
            # A node that lags behind does not know yet what another one gave a moment ago.
            if not known or version is not None or self._testing:
                raise
        self._closing.wait(min(self.backoff.next(None), deadline.remaining()))
        return run()

    def _keep(self, path: str, answer: Answer, started: float, version: int | None) -> Entry:
        data = answer.get("data")
        values = data.get("data") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(values, dict):
            raise UnexpectedAnswer(
                f"what is mounted at {self.config.mount_point} is not a KV version 2 engine",
                path=path,
            )
        found = (data.get("metadata") or {}).get("version")
        entry = Entry(path, values, found, started, time.monotonic() + self.config.cache_ttl)
        if version is None:
            self.memory.keep(entry)
        return entry

    def write(self, path: str, data: Mapping[str, Any], deadline: Deadline, cas: int | None) -> int:
        """Write a secret once; the number of the new version.

        Raises:
            VaultError: It was not written, or nobody knows: then `sent` is true.
        """
        self._check_denied(path)

        def operation(token: Token) -> Answer:
            return _answer(
                token.kv.create_or_update_secret(
                    path=path, secret=dict(data), cas=cas, mount_point=self.config.mount_point
                )
            )

        try:
            answer = self._with_token(
                operation,
                scope=f"write {path}",
                deadline=deadline,
                patience=self.config.timeout,
                repeat=False,
            )
        except VaultError as error:
            error.path = path
            raise
        finally:
            self._expire(path)
        return int(answer["data"]["version"])

    def unwrap(self, wrapping_token: str, deadline: Deadline) -> Answer:
        """What a wrapping token holds. It is used up by that, whether or not the answer arrives.

        Raises:
            VaultError: It did not come; nothing tries again.
        """
        api = Wrapping(self._wire.adapter(wrapping_token))
        return self._caller.run(
            lambda: _answer(api.unwrap()),
            scope="unwrap",
            deadline=deadline,
            patience=self.config.timeout,
            repeat=_never,
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
        repeat: bool,
    ) -> T:
        """Do something with the current token, and once more with another if it was dead."""

        def attempt() -> tuple[T | None, PermissionDenied | None, Token]:
            token = self._hold(deadline, patience)
            try:
                result = self._caller.run(
                    lambda: _spend(token, operation),
                    scope=scope,
                    deadline=deadline,
                    patience=patience,
                    repeat=_always if repeat else _never,
                )
            except PermissionDenied as error:
                return None, error, token
            finally:
                token.end()
            token.proven = True
            self.last_success = time.monotonic()
            return result, None, token

        result, denial, token = attempt()
        if denial is not None:
            other = self.authenticator.after_denial(
                token, denial, deadline, patience, policy_login=True
            )
            if other is not None:
                self.renewer.wake()
                result, denial, _ = attempt()
        if denial is not None:
            raise denial
        return result  # type: ignore[return-value]  # without a denial there is a result

    def _hold(self, deadline: Deadline, patience: float) -> Token:
        """The current token, marked as in use, so that nobody gives it back meanwhile."""
        while True:
            token = self._token(deadline, patience)
            token.begin()
            # Replaced in this very moment, it may already be on its way back.
            if token is self.authenticator.current:
                return token
            token.end()

    def _check_denied(self, path: str) -> None:
        until = self._denied_until.get(path)
        if until is None:
            return
        left = until - time.monotonic()
        if left <= 0:
            self._denied_until.pop(path, None)
            return
        raise PermissionDenied(
            f"the policy denies {path} (found out a moment ago)",
            path=path,
            retry_in=left,
            status=403,
        )

    def _deny(self, path: str, error: PermissionDenied) -> PermissionDenied:
        """The denial as the caller hears it; the path is left alone for a while."""
        cool_down = self.backoff.cap if self.backoff.active else 0.0
        if cool_down:
            self._denied_until[path] = time.monotonic() + cool_down
        self._teller.tell(Denied(path=path, cool_down=cool_down))
        return PermissionDenied(
            f"Vault denies {self.config.mount_point}/{path}: the role's policy does not allow it, "
            f"or nothing is mounted at {self.config.mount_point}/ ({error})",
            path=path,
            retry_in=cool_down or None,
            status=error.status,
        )

    def _expire(self, path: str) -> None:
        """What is remembered of it stands in during an outage, and no longer for an answer."""
        entry = self.memory.entries.get(path)
        if entry is not None:
            self.memory.entries[path] = Entry(
                entry.path, entry.data, entry.version, entry.asked_at, fresh_until=0.0
            )

    @property
    def renews(self) -> bool:
        """Whether a thread keeps, or should keep, the token alive."""
        return self._renew

    def abandon(self) -> None:
        """Nobody holds the client any more: the thread gives the token back and ends."""
        self._closing.set()
        self.circuit.close()
        self.renewer.stop(give_back=True)

    def leave_to_parent(self) -> None:
        """In a child process: let go of the connections, which are the parent's."""
        self._wire.forget()

    def close(self, timeout: float) -> None:
        """Give the token back and end the thread, in ``timeout`` seconds even if Vault hangs."""
        if self.closed:
            return
        deadline = Deadline(timeout)
        self._closing.set()
        self.circuit.close()
        self.renewer.stop()
        tokens = self.authenticator.surrender(min(1.0, timeout / 4))
        self.renewer.give_back(tokens, deadline.remaining() / 2)
        self._wire.abort()
        self._wire.close()
        self.renewer.join(deadline.remaining())


def _answer(answer: Any) -> Answer:
    assert isinstance(answer, dict)
    return answer


def _gone(answer: Answer, path: str) -> VaultError | None:
    """How a version is gone that Vault has only metadata of."""
    data = answer.get("data")
    if not isinstance(data, dict) or data.get("data") is not None or "metadata" not in data:
        return None
    metadata = data["metadata"] or {}
    number = metadata.get("version")
    if metadata.get("destroyed"):
        return SecretDestroyed(
            f"version {number} of {path} was destroyed: write it anew", path=path, status=404
        )
    return SecretDeleted(
        f"version {number} of {path} was deleted: undelete it, or write it anew",
        path=path,
        status=404,
    )


def _spend(token: Token, operation: Callable[[Token], T]) -> T:
    if token.spend():
        return operation(token)
    denial = PermissionDenied("the token's uses are used up")
    denial.doubtful = True
    raise denial


def _always(error: VaultUnavailable) -> bool:
    del error
    return True


def _never(error: VaultUnavailable) -> bool:
    del error
    return False
