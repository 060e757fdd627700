"""The memory of the last good values: the cache, and what stands in during an outage."""

from __future__ import annotations

import contextlib
import copy
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from resilient_vault_client._clock import clock
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import KeyNotFound, VaultTimeout
from resilient_vault_client._secret import Secret, Source

# Paths that are remembered; the ones asked for longest ago make way.
_MOST_ENTRIES = 4096


@dataclass(frozen=True, slots=True)
class Remembered:
    """What Vault said, and when.

    Attributes:
        path: Where the secret is in the engine.
        data: Its keys and values.
        version: Its version.
        asked_at: When the request was sent, by `clock`.
        fresh_until: Until when the cache may answer with it.
    """

    path: str
    data: Mapping[str, Any] = field(repr=False)
    version: int | None
    asked_at: float
    fresh_until: float

    @property
    def age(self) -> float:
        """Seconds since Vault was asked."""
        return clock() - self.asked_at

    def pick(self, key: str | None) -> Any:
        """The value of ``key``, or everything; the caller's own, whatever it does with it.

        Raises:
            KeyNotFound: It has no such key.
        """
        if key is None:
            return copy.deepcopy(dict(self.data))
        if key in self.data:
            return own(self.data[key])
        raise KeyNotFound(f"the secret at {self.path} has no key {key!r}", path=self.path)

    def secret(self, key: str | None, source: Source) -> Secret:
        """It as a caller gets it."""
        return Secret(
            path=self.path,
            key=key,
            value=self.pick(key),
            version=self.version,
            source=source,
            age=self.age,
        )


def own(value: Any) -> Any:
    """A value for a caller to keep, who may change it."""
    return value if isinstance(value, str) else copy.deepcopy(value)


@dataclass(slots=True)
class _Refresh:
    """The lock of one path, and how many threads hold it or wait for it.

    It lets its own thread in again: a callback may read in the middle of a read.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    users: int = 0


class Memory:
    """The last good value of the paths that were read.

    Its locks let their own thread in again: a signal's handler may read in the midst of a read, and
    finds nothing half done that it could not go on from.

    Args:
        max_stale: How old a value may be that stands in during an outage, in seconds.
        most: How many paths are remembered.
    """

    def __init__(self, max_stale: float, *, most: int = _MOST_ENTRIES) -> None:
        self._max_stale = max_stale
        self._most = most
        self._lock = threading.RLock()
        self._refreshes: dict[str, _Refresh] = {}
        self._written: dict[str, float] = {}
        #: Looked into without a lock: what is known of a path is there until more is.
        self.entries: OrderedDict[str, Remembered] = OrderedDict()

    def keep(self, entry: Remembered) -> None:
        """Remember what Vault said, unless something younger is remembered."""
        with self._lock:
            known = self.entries.get(entry.path)
            if known is not None and known.asked_at > entry.asked_at:
                return
            if entry.asked_at <= self._written.get(entry.path, -math.inf):
                # Asked for before it was written, and answered afterwards: it may be the old one.
                entry = replace(entry, fresh_until=0.0)
            self.entries[entry.path] = entry
            # At the end of the dictionary, whose beginning makes way when there is no more room.
            with contextlib.suppress(KeyError):  # a signal's handler may have found it gone
                self.entries.move_to_end(entry.path)
            if len(self.entries) > self._most:
                self._make_room()

    def forget(self, path: str) -> None:
        """Vault said that it is no more, or not for us."""
        with self._lock:
            self.entries.pop(path, None)

    def expire(self, path: str) -> None:
        """It was written: what is remembered stands in during an outage, and for nothing else."""
        with self._lock:
            self._written.pop(path, None)
            self._written[path] = clock()
            if len(self._written) > self._most:
                self._written.pop(next(iter(list(self._written))), None)
            entry = self.entries.get(path)
            if entry is not None:
                self.entries[path] = replace(entry, fresh_until=0.0)

    def fresh(self, path: str) -> Remembered | None:
        """What the cache may answer with."""
        entry = self.entries.get(path)
        return entry if entry is not None and clock() < entry.fresh_until else None

    def stand_in(self, path: str) -> Remembered | None:
        """What may stand in during an outage."""
        entry = self.entries.get(path)
        return entry if entry is not None and entry.age <= self._max_stale else None

    @contextlib.contextmanager
    def refreshing(self, path: str, deadline: Deadline) -> Iterator[None]:
        """For the one thread that asks for it anew.

        Raises:
            VaultTimeout: Another one has been at it until the deadline.
        """
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
        """What was read last, to find out whether Vault still gives it."""
        with self._lock:
            return next(reversed(self.entries), None)

    def copy(self) -> Memory:
        """The same memory for a child process, where no other thread of the parent runs."""
        other = Memory(self._max_stale, most=self._most)
        other.entries = self.entries.copy()
        return other

    def _make_room(self) -> None:
        """Forget what is of no use any more; if there is nothing of that kind, the oldest."""
        now = clock()
        for path, entry in list(self.entries.items()):
            if entry.age > self._max_stale and entry.fresh_until < now:
                self.entries.pop(path, None)
        for path in list(self.entries)[: max(0, len(self.entries) - self._most)]:
            self.entries.pop(path, None)
