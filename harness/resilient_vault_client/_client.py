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

from resilient_vault_client._config import Config, Settings, seconds_of_a_call
from resilient_vault_client._deadline import Deadline, clock
from resilient_vault_client._errors import (
    ClientClosed,
    ConfigurationError,
    SecretNotFound,
    VaultError,
    VaultTimeout,
    VaultUnavailable,
    boundary,
)
from resilient_vault_client._health import Health, examine
from resilient_vault_client._leases import Lease, Listener
from resilient_vault_client._memory import (
    Remembered,
    Secret,
    StaticCredential,
    clean_path,
    credential,
    own,
)
from resilient_vault_client._methods import Opened
from resilient_vault_client._session import Session
from resilient_vault_client.events import EventHandler, FellBack, Notifier, ServedStale

# Seconds. At interpreter exit nobody waits for an answer.
_EXIT_TIMEOUT = 2.0

_NO_VAULT = "USE_VAULT is false: there is no Vault to ask"


class VaultClient:
    """Read secrets from Vault, and keep working while Vault has problems.

    It logs in at the first call (AppRole, a JWT, or an agent's token), renews its token in the
    background, and answers from memory for a while when Vault is away. Any number of threads can
    use one client. A forked child uses the same object, with its own connections and token.

    Settings come from the environment (see `Config`) and from arguments, which take precedence.

    Args:
        environ: Replaces the process's environment.
        on_event: Called with each `Event`, in the thread that caused it or in the call that waits
            for it. Its exceptions are logged and ignored.
        renew: False starts no thread except to look up a host name. A login within a call replaces
            an expired token, and only `close` revokes the token.
        settings: Any attribute of `Config`, e.g. ``mount_point="kv"``, ``timeout=2.0``.

    Raises:
        ConfigurationError: A setting is missing, unknown, or invalid.
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
        return self._config

    @property
    @boundary
    def backoff_cap(self) -> float:
        """Return the present longest pause between two attempts, in seconds."""
        return self._session().backoff.cap

    @boundary
    def authenticate(self) -> bool:
        """Log in if there is no token yet; return whether there is one.

        Return True with ``USE_VAULT=false``.
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
        """Return the value of one key, or the whole secret as a dictionary.

        Use `read` to see how fresh the value is.
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
        """Return a secret like `get_secret`, from memory for up to ``cache_ttl`` seconds."""
        # The fast path takes no lock and makes no object.
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
        """Return a secret from Vault, or a stand-in while Vault is away.

        Args:
            path: The path in the engine, e.g. ``backend/django``.
            key: One key, or None for all keys.
            version: An older version, for which there is no stand-in.
            env_var_name: The variable that stands in for a last good value; by default the key.

        Raises:
            VaultUnavailable: Vault gave no answer, and there is no stand-in.
            AuthenticationFailed: Vault refuses the login, and there is no last good value.
            PermissionDenied: The policy says no.
            SecretNotFound: The secret or the key does not exist.
            SecretDeleted, SecretDestroyed: This happened to the latest version.
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
        """Return a secret like `read`, from memory for up to ``cache_ttl`` seconds."""
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
        """Write a secret, once, and return its new version.

        With ``cas`` the write succeeds only over that version (0: only if the secret does not
        exist).

        Raises:
            WriteConflict: Another client wrote first.
            VaultUnavailable: If `sent` is true, the secret may have been written: read before you
                write again, or write with ``cas``.
            PermissionDenied: The policy says no.
        """
        path = self._path_in_vault(path)
        _check_json(data, path)
        return self._session().write(path, data, self._deadline(timeout), cas)

    @boundary
    def lease(self, path: str, *, on_change: Listener | None = None) -> Lease:
        """Return a lease on a dynamic credential, which the client renews and replaces in time.

        Nothing is sent yet. ``path`` includes the mount: ``database/creds/app``.

        ``on_change`` gets each further `Credential`, in the thread that got it, so that a pool can
        switch. The previous credential works for two more seconds, unless it has ended. Exceptions
        of ``on_change`` are logged and ignored. Each call adds its ``on_change``: call once.

        Raises:
            InvalidPath: The path cannot exist.
            ConfigurationError: ``USE_VAULT`` is false, and a lease has no stand-in.
        """
        path = self._path_in_vault(path)
        if on_change is not None:
            self._listeners.setdefault(path, []).append(on_change)
        return Lease(path, lambda: self._session().leases, self._config.timeout)

    @boundary
    def static_credential(
        self, path: str, *, failed: str | None = None, timeout: float | None = None
    ) -> StaticCredential:
        """Return username and password of a static role, whose password Vault rotates.

        The client asks again after the `ttl` that Vault reported, or earlier after ``cache_ttl``.
        In an outage it returns the last password for ``max_stale`` seconds.

        Args:
            path: The path with the mount: ``database/static-creds/app``.
            failed: A password that the database has just refused. If it is the current one, the
                client asks at once and accepts no stand-in.

        Raises:
            VaultUnavailable, AuthenticationFailed: There is no stand-in.
            PermissionDenied: The policy says no.
            RequestRefused: The role does not exist.
            SecretNotFound: Nothing is mounted at that path.
            ConfigurationError: The path is not a static role's, or ``USE_VAULT`` is false.
        """
        path = self._path_in_vault(path)
        deadline = self._deadline(timeout)
        session = self._session()
        known = session.static.entries.get(path)
        if known is not None and known.data["password"] == failed:
            session.static.forget(path)
        fresh = session.static.fresh(path)
        if fresh is not None:
            return credential(fresh, "cache")
        with self._notifier.later():
            try:
                return self._static(session, path, failed, deadline)
            except VaultError as failure:
                last = session.static.stand_in(path)
                if not failure.stale_may_serve or last is None or last.data["password"] == failed:
                    raise
                if self._closed:
                    raise ClientClosed("the client was closed meanwhile", path=path) from failure
                self._notifier.notify(ServedStale(path=path, age=last.age, error=failure))
                return credential(last, "stale")

    def _static(
        self, session: Session, path: str, failed: str | None, deadline: Deadline
    ) -> StaticCredential:
        with session.static.refreshing(path, deadline):
            fresh = session.static.fresh(path)
            if fresh is not None and fresh.data["password"] != failed:
                return credential(fresh, "cache")
            # A stand-in exists, so half of the time is enough to wait for Vault.
            if session.static.stand_in(path) is not None:
                deadline.patience = deadline.remaining() / 2
            return credential(session.fetch_static(path, deadline), "vault")

    @boundary
    def unwrap(self, wrapping_token: str, *, timeout: float | None = None) -> dict[str, Any]:
        """Return ``data`` or ``auth`` of a wrapped answer; never retry.

        Raises:
            WrappingTokenSpent: The token was used, has expired, or is no wrapping token.
            VaultUnavailable: If `sent` is true, the wrapped content is lost.
        """
        if not self._config.enabled:
            raise ConfigurationError(_NO_VAULT)
        answer = self._session().unwrap(wrapping_token, self._deadline(timeout))
        return dict(answer.get("data") or answer.get("auth") or {})

    @boundary
    def health(self, *, timeout: float | None = None) -> Health:
        """Report whether secrets can be read; ask Vault if the evidence is old."""
        if not self._config.enabled:
            return Health(ok=True, enabled=False)
        if self._closed:
            return Health(ok=False, reasons=("the client is closed",))
        return examine(self._session(), self._deadline(timeout))

    @boundary
    def close(self, timeout: float = 5.0) -> None:
        """Revoke the token and stop the thread within ``timeout`` seconds, even if Vault hangs."""
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

    def _path_in_vault(self, path: str) -> str:
        path = clean_path(path)
        if not self._config.enabled:
            raise ConfigurationError(_NO_VAULT, path=path)
        return path

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(seconds_of_a_call(timeout, self._config.timeout))

    def _session(self) -> Session:
        pid = getpid()
        session = self._sessions.get(pid)
        if session is not None:
            return session
        if self._closed:
            raise ClientClosed("the client is closed")
        return self._new_session(pid)

    def _new_session(self, pid: int) -> Session:
        """Make the session of this process.

        There is no lock, which a fork could leave locked in the child for ever. Of several threads
        one wins; a thread that arrives with `close` notices that afterwards.
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
        # A stand-in exists, so half of the time is enough to wait for Vault.
        rich = stand_in is not None or (version is None and self._has(variable))
        try:
            deadline = Deadline(seconds, patience=seconds / 2 if rich else seconds)
            entry = session.fetch(path, deadline, version=version)
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
        deadline = self._deadline(timeout)
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
    """Return a secret, or the variable if Vault is off or cannot be reached.

    Without a ``client`` each call logs in, reads, and revokes the token; pass one for more than a
    few secrets. ``environ`` counts only without a ``client``. Raises the errors of
    `VaultClient.read`.
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
            f"the data for {path} is not JSON: only strings, numbers, lists and dictionaries "
            "can be written",
            path=path,
        ) from None


def _end(client: weakref.ref[VaultClient], sessions: dict[int, Session]) -> None:
    session = sessions.pop(getpid(), None)
    if session is None:
        return
    if client() is None:
        session.abandon()
    else:
        session.close(_EXIT_TIMEOUT)
