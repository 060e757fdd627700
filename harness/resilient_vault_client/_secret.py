"""A secret as a caller gets it, and the memory of the last good ones."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from resilient_vault_client._errors import InvalidPath, KeyNotFound

_SEGMENT = re.compile(r"[^/\x00-\x1f\x7f?#%\\]+")

Source = Literal["vault", "cache", "stale", "environment"]


def clean_path(path: str) -> str:
    """The path without slashes at its ends.

    Raises:
        InvalidPath: It is empty, or would lead elsewhere.
    """
    cleaned = path.strip("/")
    for segment in cleaned.split("/"):
        if segment in ("", ".", "..") or not _SEGMENT.fullmatch(segment):
            raise InvalidPath(f"{path!r} is no path of a secret", path=path)
    return cleaned


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    """A secret, and how far it can be trusted to be the latest.

    Attributes:
        path: Where it is in the engine.
        key: The key that was asked for, or None for all of it.
        value: The value of that key, or a dictionary of all.
        version: Its version in Vault; None if it does not come from there.
        source: ``vault``; ``cache`` within the cache's time; ``stale`` is a last good value that
            stands in during an outage; ``environment`` is a variable, as fallback or with
            ``USE_VAULT=false``.
        age: Seconds since Vault said so; 0 if it does not come from there.
    """

    path: str
    key: str | None
    value: Any = field(repr=False)
    version: int | None
    source: Source
    age: float

    @property
    def stale(self) -> bool:
        """Whether it stands in for an answer that Vault did not give."""
        return self.source == "stale"


@dataclass(frozen=True, slots=True)
class Entry:
    """What Vault said, and when.

    Attributes:
        path: Where the secret is in the engine.
        data: Its keys and values.
        version: Its version.
        asked_at: When the request was sent, on the monotonic clock.
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
        return time.monotonic() - self.asked_at

    def pick(self, key: str | None) -> Any:
        """The value of ``key``, or a copy of everything.

        Raises:
            KeyNotFound: It has no such key.
        """
        if key is None:
            return dict(self.data)
        if key in self.data:
            return self.data[key]
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


class Memory:
    """The last good value of every path that was read.

    Args:
        max_stale: How old a value may be that stands in during an outage, in seconds.
    """

    def __init__(self, max_stale: float) -> None:
        self._max_stale = max_stale
        self._locks: dict[str, threading.Lock] = {}
        #: Looked into without a lock by the quick way of `get_secret_cached`.
        self.entries: dict[str, Entry] = {}

    def keep(self, entry: Entry) -> None:
        """Remember what Vault said, unless something younger is remembered."""
        known = self.entries.get(entry.path)
        if known is None or known.asked_at <= entry.asked_at:
            self.entries[entry.path] = entry

    def forget(self, path: str) -> None:
        """Vault said that it is no more, or not for us."""
        self.entries.pop(path, None)

    def fresh(self, path: str) -> Entry | None:
        """What the cache may answer with."""
        entry = self.entries.get(path)
        return entry if entry is not None and time.monotonic() < entry.fresh_until else None

    def stand_in(self, path: str) -> Entry | None:
        """What may stand in during an outage."""
        entry = self.entries.get(path)
        return entry if entry is not None and entry.age <= self._max_stale else None

    def refreshing(self, path: str) -> threading.Lock:
        """Held by the one thread that asks for it anew."""
        return self._locks.setdefault(path, threading.Lock())

    @property
    def latest_path(self) -> str | None:
        """What was read last, to find out whether Vault still gives it."""
        entries = list(self.entries.values())
        return max(entries, key=lambda entry: entry.asked_at).path if entries else None

    def copy(self) -> Memory:
        """The same memory for a child process."""
        other = Memory(self._max_stale)
        other.entries = dict(self.entries)
        return other
