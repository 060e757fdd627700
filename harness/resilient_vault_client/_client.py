"""The client as an application sees it."""

from __future__ import annotations

import contextlib
import json
import os
import weakref
from collections.abc import Mapping
from os import getpid
from types import TracebackType
from typing import Any, Self, Unpack

from resilient_vault_client._boundary import boundary
from resilient_vault_client._clock import clock
from resilient_vault_client._config import Config, Settings, seconds_of_a_call
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import (
    ClientClosed,
    ConfigurationError,
    SecretNotFound,
    VaultError,
    VaultTimeout,
    VaultUnavailable,
)
from resilient_vault_client._health import Health, examine
from resilient_vault_client._lease import Lease
from resilient_vault_client._leases import Listener
from resilient_vault_client._memory import Remembered, own
from resilient_vault_client._notifier import Notifier
from resilient_vault_client._secret import Secret, clean_path
from resilient_vault_client._session import Session
from resilient_vault_client._wrapped import Opened
from resilient_vault_client.events import EventHandler, FellBack, ServedStale

# At interpreter exit nobody is there to wait any longer.
_EXIT_TIMEOUT = 2.0


class VaultClient:
    """Reads secrets from Vault, and goes on doing so when things go wrong.

    It logs in (with AppRole, a JWT, or the token of an agent) when it is first asked, renews its
    token in the background, logs in anew when that is needed and only then, and answers from memory
    for a while when Vault is away. One client serves any number of threads. After a fork, the child
    uses the same object and gets connections and a token of its own.

    Everything comes from the environment (see the attributes of `Config` for the names); what is
    given here wins. Times are in seconds.

    Args:
        environ: The environment to read instead of the process's own.
        on_event: Called with an `Event` whenever something happens. It runs in the thread in which
            that happened, or of the call that waits for it; what it raises is logged and forgotten.
        renew: False starts no thread but to look a name up; the token is replaced by a login when
            it has expired, which ends with the call that needs it, and given back by `close`
            alone.
        settings: Any attribute of `Config`, e.g. ``mount_point="kv"``, ``timeout=2.0``.

    Raises:
        ConfigurationError: A setting is missing, is not known, or makes no sense. Nothing is sent
            yet.
    """

    @boundary
    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        on_event: EventHandler | None = None,
        renew: bool = True,
        **settings: Unpack[Settings],
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._config = Config.from_environ(self._environ, **settings)
        self._notifier = Notifier(on_event)
        self._renew = renew and not self._config.testing
        self._opened = Opened()
        self._listeners: dict[str, list[Listener]] = {}
        self._closed = False
        self._sessions: dict[int, Session] = {}
        self._finalizer = weakref.finalize(self, _end, weakref.ref(self), self._sessions)

    def __repr__(self) -> str:
        return f"VaultClient({self._config.address!r}, mount_point={self._config.mount_point!r})"

    @property
    def config(self) -> Config:
        """The settings in force."""
        return self._config

    @property
    @boundary
    def backoff_cap(self) -> float:
        """The longest pause between two attempts as things are now, in seconds."""
        return self._session().backoff.cap

    @boundary
    def authenticate(self) -> bool:
        """Log in, unless there is a token already; whether that worked.

        With ``USE_VAULT=false`` there is nothing to log in to, and nothing in the way of reading.
        """
        if not self._config.enabled:
            return True
        try:
            self._session().log_in(Deadline(self._config.timeout))
        except ClientClosed:
            raise
        except VaultError:
            return False
        return True

    @boundary
    def get_secret(
        self,
        path: str,
        key: str | None = None,
        *,
        env_var_name: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """The value of a secret's key, or a dictionary of the whole secret.

        As `read`, for those who need not know how fresh it is; `on_event` tells when it was not.
        """
        return self._read(path, key, None, env_var_name, timeout).value

    @boundary
    def get_secret_cached(
        self,
        path: str,
        key: str | None = None,
        *,
        env_var_name: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """As `get_secret`, from memory for up to ``cache_ttl`` seconds."""
        # The quick way: no lock and no object is made.
        session = self._sessions.get(getpid())
        if session is not None and key is not None:
            entry = session.memory.entries.get(path)
            if entry is not None and clock() < entry.fresh_until and key in entry.data:
                return own(entry.data[key])
        return self._read_cached(path, key, env_var_name, timeout).value

    @boundary
    def read(
        self,
        path: str,
        key: str | None = None,
        *,
        version: int | None = None,
        env_var_name: str | None = None,
        timeout: float | None = None,
    ) -> Secret:
        """A secret from Vault, or what stands in for it while Vault is away.

        Args:
            path: Where it is in the engine, e.g. ``backend/django``.
            key: One of its keys, or None for all.
            version: An older version; nothing stands in for that.
            env_var_name: The variable that stands in if Vault cannot be reached and there is no
                last good value; by default the one of the key's name.
            timeout: Seconds for this call.

        Raises:
            VaultUnavailable: No answer, and nothing to stand in for it.
            AuthenticationFailed: Vault does not let the client in, and there is no last good value.
            PermissionDenied: The policy says no.
            SecretNotFound: There is no such secret, or no such key.
            SecretDeleted: Its latest version was deleted.
            SecretDestroyed: Its latest version was destroyed.
        """
        return self._read(path, key, version, env_var_name, timeout)

    @boundary
    def read_cached(
        self,
        path: str,
        key: str | None = None,
        *,
        env_var_name: str | None = None,
        timeout: float | None = None,
    ) -> Secret:
        """As `read`, from memory for up to ``cache_ttl`` seconds; one thread asks for all."""
        return self._read_cached(path, key, env_var_name, timeout)

    @boundary
    def put_secret(
        self,
        path: str,
        data: Mapping[str, Any],
        cas: int | None = None,
        *,
        timeout: float | None = None,
    ) -> int:
        """Write a secret, once; the number of its new version.

        Args:
            path: Where, e.g. ``backend/django``.
            data: All keys and values.
            cas: Write only over this version (0: only if there is none), so that nobody's newer
                value is lost.
            timeout: Seconds for this call.

        Raises:
            WriteConflict: Somebody else wrote first.
            VaultUnavailable: If its `sent` is true the secret may be written all the same: read
                before writing again, or write with ``cas``.
            PermissionDenied: The policy says no.
        """
        path = clean_path(path)
        if not self._config.enabled:
            raise ConfigurationError("USE_VAULT is false: there is no Vault to write to", path=path)
        _check_json(data, path)
        seconds = seconds_of_a_call(timeout, self._config.timeout)
        return self._session().write(path, data, Deadline(seconds), cas)

    @boundary
    def lease(self, path: str, *, on_change: Listener | None = None) -> Lease:
        """What a dynamic secrets engine makes for this client, kept alive and replaced in time.

        Nothing is sent yet: `Lease.current` asks Vault for the first credential.

        Args:
            path: Where, with the mount: ``database/creds/app``.
            on_change: Called with each further `Credential`, for a pool to move on to it: the one
                before works for two seconds more where it has not ended. It runs in the thread in
                which that happened; what it raises is logged and forgotten. Given again it is
                called once more: ask for the lease once, and keep it.

        Raises:
            InvalidPath: Nothing can have that path.
            ConfigurationError: ``USE_VAULT`` is false, and nothing stands in for a lease.
        """
        path = clean_path(path)
        if not self._config.enabled:
            raise ConfigurationError("USE_VAULT is false: there is no Vault to ask", path=path)
        if on_change is not None:
            self._listeners.setdefault(path, []).append(on_change)
        return Lease(path, lambda: self._session().leases, self._config.timeout)

    @boundary
    def unwrap(self, wrapping_token: str, *, timeout: float | None = None) -> dict[str, Any]:
        """What a wrapping token holds: ``data`` or ``auth`` of the answer. Never tried twice.

        Raises:
            WrappingTokenSpent: It was used, has expired, or never was one.
            VaultUnavailable: If its `sent` is true what it held is lost.
        """
        if not self._config.enabled:
            raise ConfigurationError("USE_VAULT is false: there is no Vault to ask")
        seconds = seconds_of_a_call(timeout, self._config.timeout)
        answer = self._session().unwrap(wrapping_token, Deadline(seconds))
        return dict(answer.get("data") or answer.get("auth") or {})

    @boundary
    def health(self, *, timeout: float | None = None) -> Health:
        """Whether secrets can be read; Vault is asked if the last evidence is old."""
        if not self._config.enabled:
            return Health(ok=True, enabled=False)
        if self._closed:
            return Health(ok=False, reasons=("the client is closed",))
        seconds = seconds_of_a_call(timeout, self._config.timeout)
        return examine(self._session(), Deadline(seconds))

    @boundary
    def close(self, timeout: float = 5.0) -> None:
        """Revoke the token and end the thread, within ``timeout`` seconds even if Vault hangs."""
        timeout = seconds_of_a_call(timeout, timeout)
        self._closed = True
        self._finalizer.detach()
        session = self._sessions.pop(getpid(), None)
        if session is not None:
            session.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _session(self) -> Session:
        """This process's part; made at the first call in it."""
        pid = getpid()
        session = self._sessions.get(pid)
        if session is not None:
            return session
        if self._closed:
            raise ClientClosed("the client is closed")
        return self._new_session(pid)

    def _new_session(self, pid: int) -> Session:
        """The same, made now.

        Without a lock, which a fork could leave held for ever in the child: of threads that come
        here together one wins, and one that comes together with `close` finds out afterwards.
        """
        parents = {other: one for other, one in self._sessions.copy().items() if other != pid}
        memory = next((one.memory.copy() for one in parents.values()), None)
        session = self._sessions.setdefault(
            pid,
            Session(
                self._config,
                self._environ,
                notifier=self._notifier,
                opened=self._opened,
                listeners=self._listeners,
                memory=memory,
                renew=self._renew,
            ),
        )
        for other in parents:
            inherited = self._sessions.pop(other, None)
            if inherited is not None:
                inherited.leave_to_parent()
        if self._closed:
            self._sessions.pop(pid, None)
            session.close(_EXIT_TIMEOUT)
            raise ClientClosed("the client was closed meanwhile")
        return session

    def _read(
        self,
        path: str,
        key: str | None,
        version: int | None,
        env_var_name: str | None,
        timeout: float | None,
    ) -> Secret:
        path = clean_path(path)
        variable = env_var_name or key
        if not self._config.enabled:
            return self._from_environ(path, key, variable)
        session = self._session()
        seconds = seconds_of_a_call(timeout, self._config.timeout)
        stand_in = session.memory.stand_in(path) if version is None else None
        # With something else to say, half of the time is enough to wait for something better.
        rich = stand_in is not None or (version is None and self._has(variable))
        try:
            entry = session.fetch(
                path,
                Deadline(seconds),
                patience=seconds / 2 if rich else seconds,
                version=version,
            )
        except VaultError as failure:
            if not failure.stale_may_serve or version is not None:
                raise
            return self._instead(session, path, key, variable, failure)
        return entry.secret(key, "vault")

    def _read_cached(
        self, path: str, key: str | None, env_var_name: str | None, timeout: float | None
    ) -> Secret:
        path = clean_path(path)
        if not self._config.enabled:
            return self._from_environ(path, key, env_var_name or key)
        session = self._session()
        entry = session.memory.fresh(path)
        if entry is not None:
            return entry.secret(key, "cache")
        deadline = Deadline(seconds_of_a_call(timeout, self._config.timeout))
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._notifier.later())
            try:
                stack.enter_context(session.memory.refreshing(path, deadline))
            except VaultTimeout as late:
                return self._instead(session, path, key, env_var_name or key, late)
            entry = session.memory.fresh(path)
            if entry is not None:
                return entry.secret(key, "cache")
            return self._read(path, key, None, env_var_name, deadline.remaining())

    def _has(self, variable: str | None) -> bool:
        return variable is not None and bool(self._environ.get(variable))

    def _instead(
        self,
        session: Session,
        path: str,
        key: str | None,
        variable: str | None,
        failure: VaultError,
    ) -> Secret:
        """A last good value, or the variable if Vault cannot be reached, or the error."""
        if self._closed:
            raise ClientClosed("the client was closed meanwhile", path=path)
        entry: Remembered | None = session.memory.stand_in(path)
        if entry is not None:
            self._notifier.notify(ServedStale(path=path, age=entry.age, error=failure))
            return entry.secret(key, "stale")
        if variable is not None and self._has(variable) and isinstance(failure, VaultUnavailable):
            self._notifier.notify(FellBack(path=path, variable=variable, error=failure))
            return self._from_environ(path, key, variable)
        raise failure

    def _from_environ(self, path: str, key: str | None, variable: str | None) -> Secret:
        if variable is None:
            raise ConfigurationError(
                f"USE_VAULT is false, and no variable stands for all of {path}: ask for a key",
                path=path,
            )
        value = self._environ.get(variable)
        if value is None:
            raise SecretNotFound(f"USE_VAULT is false, and {variable} is not set", path=path)
        return Secret(path=path, key=key, value=value, version=None, source="environment", age=0.0)


@boundary
def get_vault_secret(
    env_var_name: str,
    vault_path: str,
    vault_key: str,
    *,
    client: VaultClient | None = None,
    environ: Mapping[str, str] | None = None,
) -> Any:
    """One secret from Vault; the environment variable if Vault is off or cannot be reached.

    Without a ``client`` it logs in, reads, and gives the token back, each time: for more than a few
    secrets make one client and pass it.

    Args:
        env_var_name: The variable, e.g. ``SECRET_KEY``.
        vault_path: The secret's path, e.g. ``backend/django``.
        vault_key: The key in it.
        client: Whom to ask.
        environ: The environment to read instead of the process's own, without a ``client``.

    Raises:
        VaultError: As `VaultClient.read`.
    """
    with contextlib.ExitStack() as stack:
        if client is None:
            client = stack.enter_context(VaultClient(environ=environ, renew=False))
        return client.get_secret(vault_path, vault_key, env_var_name=env_var_name)


def _check_json(data: Mapping[str, Any], path: str) -> None:
    try:
        json.dumps(dict(data))
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"what is to be written to {path} is not JSON: texts, numbers, lists and dictionaries "
            "can be written",
            path=path,
        ) from None


def _end(client: weakref.ref[VaultClient], sessions: dict[int, Session]) -> None:
    """The end of a client that nobody closed: of the client itself, or of the interpreter."""
    session = sessions.pop(getpid(), None)
    if session is None:
        return
    if client() is None:
        session.abandon()
    else:
        session.close(_EXIT_TIMEOUT)
