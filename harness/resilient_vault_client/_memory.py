"""Remember last good values, for the cache and for outages."""

from __future__ import annotations

import contextlib
import copy
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from resilient_vault_client._deadline import Deadline, clock
from resilient_vault_client._errors import (
    ConfigurationError,
    InvalidPath,
    KeyNotFound,
    UnexpectedAnswer,
    VaultTimeout,
)
from resilient_vault_client._grant import Credential, number

_SEGMENT = re.compile(r"[^/\x00-\x1f\x7f?#%\\]+")

Source = Literal["vault", "cache", "stale", "environment"]


def clean_path(path: str) -> str:
    """Return the path without outer slashes; raise `InvalidPath` if it is invalid."""
    given: object = path
    if not isinstance(given, str):
        raise InvalidPath(f"a path is of type {type(given).__name__}: it must be a string")
    cleaned = path.strip("/")
    for segment in cleaned.split("/"):
        if segment in ("", ".", "..") or not _SEGMENT.fullmatch(segment):
            raise InvalidPath(f"{path!r} is not a valid path of a secret", path=path)
    return cleaned


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    """A secret, and how far it can be trusted to be the latest.

    Attributes:
        key: None for all keys.
        value: The key's value, or a dictionary of all.
        version: None if it does not come from Vault.
        source: ``vault``; ``cache``; ``stale`` for a last good value during an outage;
            ``environment`` for a variable.
        age: Seconds since Vault's answer; 0 if it does not come from Vault.
    """

    path: str
    key: str | None
    value: Any = field(repr=False)
    version: int | None
    source: Source
    age: float

    @property
    def stale(self) -> bool:
        return self.source == "stale"


# Paths; those read longest ago are dropped first.
_MOST_ENTRIES = 4096


@dataclass(frozen=True, slots=True)
class Remembered:
    """A value from Vault and its time.

    `asked_at` is when the request was sent, by `clock`; the cache may answer until `fresh_until`.
    """

    path: str
    data: Mapping[str, Any] = field(repr=False)
    version: int | None
    asked_at: float
    fresh_until: float

    @property
    def age(self) -> float:
        return clock() - self.asked_at

    def pick(self, key: str | None) -> Any:
        """Return a copy of one value or all; raise `KeyNotFound` if there is no such key."""
        if key is None:
            return copy.deepcopy(dict(self.data))
        if key in self.data:
            return own(self.data[key])
        raise KeyNotFound(f"the secret at {self.path} has no key {key!r}", path=self.path)

    def secret(self, key: str | None, source: Source) -> Secret:
        return Secret(
            path=self.path,
            key=key,
            value=self.pick(key),
            version=self.version,
            source=source,
            age=self.age,
        )


def own(value: Any) -> Any:
    """Return a copy that the caller may change."""
    return value if isinstance(value, str) else copy.deepcopy(value)


@dataclass(slots=True)
class _Refresh:
    """The lock of one path, and how many threads hold it or wait.

    Reentrant, because a callback may read in the middle of a read.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    users: int = 0


class Memory:
    """The last good value of each path.

    A signal handler may read in the middle of a read, so the locks are reentrant, and each step
    leaves the memory usable.

    ``max_stale`` is in seconds, ``most`` in paths.
    """

    def __init__(self, max_stale: float, *, most: int = _MOST_ENTRIES) -> None:
        self._max_stale = max_stale
        self._most = most
        self._lock = threading.RLock()
        self._refreshes: dict[str, _Refresh] = {}
        self._written: dict[str, float] = {}
        # Read without a lock: an entry stays until a newer one replaces it.
        self.entries: OrderedDict[str, Remembered] = OrderedDict()

    def keep(self, entry: Remembered) -> None:
        with self._lock:
            known = self.entries.get(entry.path)
            if known is not None and known.asked_at > entry.asked_at:
                return
            if entry.asked_at <= self._written.get(entry.path, -math.inf):
                # Requested before a write and answered after it: maybe the old value.
                entry = replace(entry, fresh_until=0.0)
            self.entries[entry.path] = entry
            # To the end; the first entries are dropped first.
            with contextlib.suppress(KeyError):  # a signal handler may have removed it
                self.entries.move_to_end(entry.path)
            if len(self.entries) > self._most:
                self._make_room()

    def forget(self, path: str) -> None:
        with self._lock:
            self.entries.pop(path, None)

    def expire(self, path: str) -> None:
        """Note a write: the old value may stand in during an outage only."""
        with self._lock:
            self._written.pop(path, None)
            self._written[path] = clock()
            if len(self._written) > self._most:
                self._written.pop(next(iter(list(self._written))), None)
            entry = self.entries.get(path)
            if entry is not None:
                self.entries[path] = replace(entry, fresh_until=0.0)

    def fresh(self, path: str) -> Remembered | None:
        """Return the entry for the cache, or None."""
        entry = self.entries.get(path)
        return entry if entry is not None and clock() < entry.fresh_until else None

    def stand_in(self, path: str) -> Remembered | None:
        """Return the entry for an outage, or None."""
        entry = self.entries.get(path)
        return entry if entry is not None and entry.age <= self._max_stale else None

    @contextlib.contextmanager
    def refreshing(self, path: str, deadline: Deadline) -> Iterator[None]:
        """Let one thread refresh a path; raise `VaultTimeout` if another is too slow."""
        with self._lock:
            refresh = self._refreshes.setdefault(path, _Refresh())
            refresh.users += 1
        try:
            if not refresh.lock.acquire(timeout=deadline.remaining()):
                raise VaultTimeout(
                    "another thread's read was not over in time", path=path, sent=False
                )
            try:
                yield
            finally:
                refresh.lock.release()
        finally:
            with self._lock:
                refresh.users -= 1
                if refresh.users == 0:
                    self._refreshes.pop(path, None)

    @property
    def latest_path(self) -> str | None:
        """Return the path read last, to check whether Vault still serves it."""
        with self._lock:
            return next(reversed(self.entries), None)

    def copy(self) -> Memory:
        """Copy the memory for a forked child, where the parent's other threads do not run."""
        other = Memory(self._max_stale, most=self._most)
        other.entries = self.entries.copy()
        return other

    def _make_room(self) -> None:
        now = clock()
        for path, entry in list(self.entries.items()):
            if entry.age > self._max_stale and entry.fresh_until < now:
                self.entries.pop(path, None)
        for path in list(self.entries)[: max(0, len(self.entries) - self._most)]:
            self.entries.pop(path, None)


# Seconds between two reads while a rotation is due. Vault reports a `ttl` of 0 until it is done,
# for up to 5 s by its queue, and longer if the database fails.
_DUE = 1.0


@dataclass(frozen=True, kw_only=True)
class StaticCredential(Credential):
    """The user of a static role, with the last password from Vault.

    Attributes:
        data: Vault's answer: ``ttl``, ``last_vault_rotation``, ...
        source: ``vault``, ``cache`` or ``stale``.
        age: Seconds since Vault's answer.
    """

    source: Source
    age: float

    @property
    def stale(self) -> bool:
        return self.source == "stale"


def remembered(
    path: str, answer: Mapping[str, Any], started: float, cache_ttl: float
) -> Remembered:
    """Make an entry, fresh until the next rotation or ``cache_ttl``.

    Raise `ConfigurationError` if the path is no static role's.
    """
    data = answer.get("data")
    if not isinstance(data, dict):
        raise UnexpectedAnswer(f"{path} has no data: is the answer Vault's?", path=path)
    if answer.get("lease_id") or "password" not in data:
        raise ConfigurationError(
            f"{path} is not a static role: use lease() for what is leased, and get_secret() for "
            "a secret",
            path=path,
        )
    if not isinstance(data["password"], str) or not isinstance(data.get("username"), str):
        raise UnexpectedAnswer(f"{path} has no username and password", path=path)
    left = number(data.get("ttl", cache_ttl), "the time to the next rotation")
    return Remembered(path, data, None, started, started + min(max(left, _DUE), cache_ttl))


def credential(entry: Remembered, source: Source) -> StaticCredential:
    return StaticCredential(path=entry.path, data=entry.pick(None), source=source, age=entry.age)
