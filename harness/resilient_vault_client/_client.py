"""The client as an application sees it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import weakref
from collections.abc import Mapping
from os import getpid
from time import monotonic
from types import TracebackType
from typing import Any, Self

from resilient_vault_client._config import Config
from resilient_vault_client._core import Core
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
from resilient_vault_client._secret import Entry, Secret, clean_path
from resilient_vault_client.events import EventHandler, FellBack, ServedStale, Teller

# At interpreter exit nobody is there to wait any longer.
_EXIT_TIMEOUT = 2.0


class VaultClient:
    """Reads secrets from Vault, and goes on doing so when things go wrong.

    It logs in with AppRole when it is first asked, renews its token in the background, logs in anew
    when that is needed and only then, and answers from memory for a while when Vault is away. One
    client serves any number of threads. After a fork, the child uses the same object and gets
    connections and a token of its own.

    Everything comes from the environment (see the attributes of `Config` for the names); what is
    given here wins. Times are in seconds.

    Args:
        environ: The environment to read instead of the process's own.
        on_event: Called with an `Event` whenever something happens. It runs in the thread in which
            that happened; what it raises is logged and forgotten.
        timeout: How long one call may take in total, retries and logins included.
        cache_ttl: How long `get_secret_cached` answers without asking.
        max_stale: How old a last good value may be that stands in during an outage.
        backoff_cap: The longest pause between two attempts during an outage.
        renew: False starts no thread; the token is replaced by a login when it has expired.
        testing: For an application's own tests: one attempt a call, no pauses, no thread.
        settings: Any other attribute of `Config`, e.g. ``mount_point="kv"``.

    Raises:
        ConfigurationError: A setting is missing or makes no sense. Nothing is sent yet.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        on_event: EventHandler | None = None,
        timeout: float | None = None,
        cache_ttl: float | None = None,
        max_stale: float | None = None,
        backoff_cap: float | None = None,
        renew: bool = True,
        testing: bool = False,
        **settings: Any,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._config = Config.from_environ(
            self._environ,
            timeout=timeout,
            cache_ttl=cache_ttl,
            max_stale=max_stale,
            backoff_cap=backoff_cap,
            **settings,
        )
        self._teller = Teller(on_event)
        self._renew = renew and not testing
        self._testing = testing
        self._closed = False
        self._cores: dict[int, Core] = {}
        self._finalizers: dict[int, weakref.finalize[..., VaultClient]] = {}
        self._exit_hook = functools.partial(_close_at_exit, weakref.ref(self))
        atexit.register(self._exit_hook)

    def __repr__(self) -> str:
        return f"VaultClient({self._config.address!r}, mount_point={self._config.mount_point!r})"

    @property
    def config(self) -> Config:
        """The settings in force."""
        return self._config

    @property
    def backoff_cap(self) -> float:
        """The longest pause between two attempts as things are now, in seconds."""
        return self._core().backoff.cap

    def authenticate(self) -> bool:
        """Log in, unless there is a token already; whether that worked.

        With ``USE_VAULT=false`` there is nothing to log in to, and nothing in the way of reading.
        """
        if not self._config.enabled:
            return True
        try:
            self._core().log_in(Deadline(self._config.timeout))
        except ClientClosed:
            raise
        except VaultError:
            return False
        return True

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
        return self.read(path, key, env_var_name=env_var_name, timeout=timeout).value

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
        core = self._cores.get(getpid())
        if core is not None and key is not None:
            entry = core.memory.entries.get(path)
            if entry is not None and monotonic() < entry.fresh_until and key in entry.data:
                return entry.data[key]
        return self.read_cached(path, key, env_var_name=env_var_name, timeout=timeout).value

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
        path = clean_path(path)
        variable = env_var_name or key
        if not self._config.enabled:
            return self._from_environ(path, key, variable)
        core = self._core()
        seconds = self._config.timeout if timeout is None else timeout
        stand_in = core.memory.stand_in(path) if version is None else None
        # With something else to say, half of the time is enough to wait for something better.
        rich = stand_in is not None or (version is None and self._has(variable))
        failure: VaultError
        try:
            entry = core.fetch(
                path,
                Deadline(seconds),
                patience=seconds / 2 if rich else seconds,
                version=version,
            )
        except VaultError as error:
            if not error.stale_may_serve or version is not None:
                raise
            failure = error
        else:
            return entry.secret(key, "vault")
        return self._instead(core, path, key, variable, failure)

    def read_cached(
        self,
        path: str,
        key: str | None = None,
        *,
        env_var_name: str | None = None,
        timeout: float | None = None,
    ) -> Secret:
        """As `read`, from memory for up to ``cache_ttl`` seconds; one thread asks for all."""
        path = clean_path(path)
        if not self._config.enabled:
            return self._from_environ(path, key, env_var_name or key)
        core = self._core()
        entry = core.memory.fresh(path)
        if entry is not None:
            return entry.secret(key, "cache")
        deadline = Deadline(self._config.timeout if timeout is None else timeout)
        lock = core.memory.refreshing(path)
        if not lock.acquire(timeout=deadline.remaining()):
            late = VaultTimeout("another thread's read was not over in time", path=path, sent=False)
            return self._instead(core, path, key, env_var_name or key, late)
        try:
            entry = core.memory.fresh(path)
            if entry is not None:
                return entry.secret(key, "cache")
            return self.read(path, key, env_var_name=env_var_name, timeout=deadline.remaining())
        finally:
            lock.release()

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
        seconds = self._config.timeout if timeout is None else timeout
        return self._core().write(path, data, Deadline(seconds), cas)

    def unwrap(self, wrapping_token: str, *, timeout: float | None = None) -> dict[str, Any]:
        """What a wrapping token holds: ``data`` or ``auth`` of the answer. Never tried twice.

        Raises:
            WrappingTokenSpent: It was used, has expired, or never was one.
            VaultUnavailable: If its `sent` is true what it held is lost.
        """
        if not self._config.enabled:
            raise ConfigurationError("USE_VAULT is false: there is no Vault to ask")
        seconds = self._config.timeout if timeout is None else timeout
        answer = self._core().unwrap(wrapping_token, Deadline(seconds))
        return dict(answer.get("data") or answer.get("auth") or {})

    def health(self, *, timeout: float | None = None) -> Health:
        """Whether secrets can be read; Vault is asked if the last evidence is old."""
        if not self._config.enabled:
            return Health(ok=True, enabled=False)
        if self._closed:
            return Health(ok=False, reasons=("the client is closed",))
        return examine(self._core(), Deadline(self._config.timeout if timeout is None else timeout))

    def close(self, timeout: float = 5.0) -> None:
        """Revoke the token and end the thread, within ``timeout`` seconds even if Vault hangs."""
        self._closed = True
        atexit.unregister(self._exit_hook)
        core = self._cores.pop(getpid(), None)
        finalizer = self._finalizers.pop(getpid(), None)
        if finalizer is not None:
            finalizer.detach()
        if core is not None:
            core.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _core(self) -> Core:
        """This process's part; made at the first call in it."""
        pid = getpid()
        core = self._cores.get(pid)
        if core is not None:
            return core
        if self._closed:
            raise ClientClosed("the client is closed")
        parents = {other: core for other, core in self._cores.items() if other != pid}
        memory = next((core.memory.copy() for core in parents.values()), None)
        # Of threads that come here together one wins, and the others use its.
        new = self._cores.setdefault(
            pid,
            Core(
                self._config,
                self._environ,
                teller=self._teller,
                memory=memory,
                renew=self._renew,
                testing=self._testing,
            ),
        )
        finalizer = weakref.finalize(self, _abandon, new, pid)
        finalizer.atexit = False
        self._finalizers.setdefault(pid, finalizer)
        for other, inherited in parents.items():
            self._cores.pop(other, None)
            of_parent = self._finalizers.pop(other, None)
            if of_parent is not None:
                of_parent.detach()
                inherited.leave_to_parent()
        return new

    def _has(self, variable: str | None) -> bool:
        return variable is not None and bool(self._environ.get(variable))

    def _instead(
        self, core: Core, path: str, key: str | None, variable: str | None, failure: VaultError
    ) -> Secret:
        """A last good value, or the variable if Vault cannot be reached, or the error."""
        if self._closed:
            raise ClientClosed("the client was closed meanwhile", path=path)
        entry: Entry | None = core.memory.stand_in(path)
        if entry is not None:
            self._teller.tell(ServedStale(path=path, age=entry.age, error=failure))
            return entry.secret(key, "stale")
        if variable is not None and self._has(variable) and isinstance(failure, VaultUnavailable):
            self._teller.tell(FellBack(path=path, variable=variable, error=failure))
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


def _abandon(core: Core, pid: int) -> None:
    if getpid() == pid:
        core.abandon()


def _close_at_exit(reference: weakref.ref[VaultClient]) -> None:
    client = reference()
    if client is not None:
        client.close(timeout=_EXIT_TIMEOUT)
