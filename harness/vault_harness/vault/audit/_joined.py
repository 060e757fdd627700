"""The audit logs of a cluster's nodes as one: by time, each call once, with its node.

What OpenBao 2.7.2 writes where, measured on three nodes with every kind of request at each:

- Whoever serves a request writes both its halves, request and response. A standby serves reads,
  listings and look-ups, and what it refuses by itself: a wrong secret-id, a check-and-set that does
  not fit, a time that is none.
- What a standby may not do it hands on to the leader, which writes both halves as of any other
  request: with the caller's own address and port, and under an id of its own. By then the standby
  has written that it failed: ``cannot write to readonly storage``, ``please forward to the active
  node`` (this one without a request's half), or ``invalid request`` for a login and a new token.
- The last is also what a standby says of what it refuses by itself. So the text does not tell
  whether a call was handed on, and what follows it does: the same caller's address and port, path
  and data, on another node, within some seconds. Hashes are the same on all nodes, so data can be
  compared. The standby's failure is then left out.
- What could not be handed on, since nobody led, is in the standby's log alone, and stays.

Entries of one node stay in their order. The nodes share a machine's clock. Nothing is read as a
whole: what is held is what was written within those seconds, and only while it has a failure that
may still prove to have been handed on.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vault_harness.vault.audit._entry import (
    AuditEntry,
    Filter,
    entry_of,
    moment_of,
    parse_record,
)
from vault_harness.vault.audit._log import Tail, backwards, end_of_lines, read_lines, unreadable

HANDED_ON = timedelta(seconds=2)
"""Between a standby's failure and the leader's first half; 2 ms where nothing is in the way."""

_SETTLE = timedelta(seconds=0.2)
"""From the time that a line says until it is in its file: younger ones wait for the others'."""

_HELD_SECONDS = 1.0
"""After which a line is no longer held back, whatever time it says."""


@dataclass(slots=True, eq=False)
class _Half:
    """A line: of a request, or with an entry of a response.

    Attributes:
        at: Its time, or that of its neighbour in the log if the two are in the other order.
        call: What is the same in the logs of a standby and the leader that it hands on to.
    """

    at: datetime
    node: str
    call: int
    request_id: str
    entry: AuditEntry | None
    handed_on: bool = False

    @property
    def may_be_handed_on(self) -> bool:
        return self.entry is not None and self.entry.status == "failed"


def joined_entries(
    logs: Mapping[str, Path],
    wanted: Filter | None = None,
    *,
    roles: Mapping[str, str] | None = None,
) -> Iterator[AuditEntry]:
    """All entries that pass the filter, oldest first.

    Args:
        logs: By node. Those that are not there are passed over, unless none is.
        wanted: Which entries.
        roles: As for `parse_line`.

    Raises:
        HarnessError: A log cannot be read here, or there is none.
    """
    merged = heapq.merge(
        *(_halves(name, read_lines(path), roles) for name, path in _present(logs).items()),
        key=_time,
    )
    once = _Once()
    for half in merged:
        yield from _passing(once.feed(half), wanted)
    yield from _passing(once.rest(), wanted)


def last_joined(
    logs: Mapping[str, Path],
    count: int,
    wanted: Filter | None = None,
    *,
    roles: Mapping[str, str] | None = None,
) -> list[AuditEntry]:
    """The last ``count`` entries that pass the filter, oldest first.

    Each log is read from its end, as far as it takes.

    Raises:
        HarnessError: A log cannot be read here, or there is none.
    """
    ends = {name: (path, _end(path)) for name, path in _present(logs).items()}
    return _last_before(ends, count, wanted, roles)


def follow_joined(
    logs: Callable[[], Mapping[str, Path]],
    wanted: Filter | None = None,
    *,
    last: int = 0,
    roles: Mapping[str, str] | None = None,
    stop: Callable[[], bool] = lambda: False,
    interval: float = 0.2,
) -> Iterator[AuditEntry]:
    """The last entries that pass the filter, then those that are written, for ever.

    Survives rotations, and nodes that come and go. A failure that may yet prove to have been handed
    on comes after the seconds in which it could.

    Args:
        logs: By node; asked at each look.
        wanted: Which entries.
        last: How many of those that are already there come first.
        roles: As for `parse_line`.
        stop: Asked whenever nothing new is there; True ends it.
        interval: Seconds between two looks.

    Raises:
        HarnessError: A log cannot be read here.
    """
    tails: dict[str, _NodeTail] = {}
    try:
        ends = {}
        for name, path in logs().items():
            tails[name] = _NodeTail(name, Tail(path))  # it may come
            ends[name] = path, tails[name].tail.skip()
        yield from _last_before(ends, last, wanted, roles)
        yield from _follow(tails, logs, wanted, roles, stop, interval)
    finally:
        for tail in tails.values():
            tail.tail.close()


def _follow(
    tails: dict[str, _NodeTail],
    logs: Callable[[], Mapping[str, Path]],
    wanted: Filter | None,
    roles: Mapping[str, str] | None,
    stop: Callable[[], bool],
    interval: float,
) -> Iterator[AuditEntry]:
    """What is written from where the tails are; ``tails`` has all that are open."""
    once, waiting = _Once(), _Waiting()
    while True:
        horizon = datetime.now(UTC) - _SETTLE
        present = logs()
        for name, path in present.items():
            if name not in tails:
                tails[name] = _NodeTail(name, Tail(path))  # it came: all of it is new
        busy = False
        for tail in tails.values():
            waiting.add(tail.halves(roles))
            busy = busy or tail.more
            if tail.more and tail.at is not None:
                horizon = min(horizon, tail.at)  # the rest of it is not known yet
        for half in waiting.until(horizon):
            yield from _passing(once.feed(half), wanted)
        yield from _passing(once.until(horizon), wanted)
        for name in tails.keys() - present.keys():
            tails.pop(name).tail.close()  # it was looked at once more since it went
        if busy:
            continue
        if stop():
            for half in waiting.rest():
                yield from _passing(once.feed(half), wanted)
            yield from _passing(once.rest(), wanted)
            return
        time.sleep(interval)


class _Once:
    """Passes each call on once, in the order of time, without what was handed on."""

    def __init__(self) -> None:
        self._held: deque[_Half] = deque()
        self._failed: dict[int, list[_Half]] = {}
        self._taken: deque[str] = deque(maxlen=1000)

    def feed(self, half: _Half) -> Iterator[AuditEntry]:
        """The next line; what is settled by it."""
        if (failed := self._failed.get(half.call)) and half.request_id not in self._taken:
            # Of several equal calls of one connection the last one was handed on: it has waited
            # for the answer.
            for other in reversed(failed):
                if other.node != half.node and half.at - other.at <= HANDED_ON:
                    other.handed_on = True
                    self._no_longer(other)
                    self._taken.append(half.request_id)
                    break
        if half.entry is not None:
            self._held.append(half)
            if half.may_be_handed_on:
                self._failed.setdefault(half.call, []).append(half)
        yield from self.until(half.at)

    def until(self, moment: datetime) -> Iterator[AuditEntry]:
        """What is settled once this much time has passed."""
        while self._held:
            first = self._held[0]
            if first.may_be_handed_on and not first.handed_on:
                if moment - first.at <= HANDED_ON:
                    return
                self._no_longer(first)
            self._held.popleft()
            if first.entry is not None and not first.handed_on:
                yield first.entry

    def rest(self) -> Iterator[AuditEntry]:
        """What is still held: nothing more comes."""
        yield from (
            half.entry for half in self._held if half.entry is not None and not half.handed_on
        )
        self._held.clear()

    def _no_longer(self, half: _Half) -> None:
        failed = self._failed[half.call]
        failed.remove(half)
        if not failed:
            del self._failed[half.call]


class _Waiting:
    """Lines of all nodes that were read, until those of the same time of others must be there."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, float, _Half]] = []
        self._count = itertools.count()

    def add(self, halves: Iterable[_Half]) -> None:
        read = time.monotonic()
        for half in halves:
            heapq.heappush(self._heap, (half.at, next(self._count), read, half))

    def until(self, horizon: datetime) -> Iterator[_Half]:
        now = time.monotonic()
        while self._heap and (
            self._heap[0][0] <= horizon or now - self._heap[0][2] > _HELD_SECONDS
        ):
            yield heapq.heappop(self._heap)[-1]

    def rest(self) -> Iterator[_Half]:
        while self._heap:
            yield heapq.heappop(self._heap)[-1]


@dataclass
class _NodeTail:
    """What is new in one node's log.

    Attributes:
        at: The time of the last line.
    """

    name: str
    tail: Tail
    at: datetime | None = field(default=None)

    @property
    def more(self) -> bool:
        return self.tail.more

    def halves(self, roles: Mapping[str, str] | None) -> Iterator[_Half]:
        for half in _halves(self.name, self.tail.lines(), roles, since=self.at):
            self.at = half.at
            yield half


def _halves(
    node: str,
    lines: Iterable[str],
    roles: Mapping[str, str] | None,
    *,
    since: datetime | None = None,
    back: bool = False,
) -> Iterator[_Half]:
    """Lines of one log, in its order, with times that are in the same order."""
    at = since
    for line in lines:
        half = _half(node, line, roles)
        if half is None:
            continue
        if at is not None:
            half.at = min(half.at, at) if back else max(half.at, at)
        at = half.at
        yield half


def _half(node: str, line: str, roles: Mapping[str, str] | None) -> _Half | None:
    record = parse_record(line)
    if record is None:
        return None
    try:
        request = record["request"]
        call = (
            request.get("remote_address"),
            request.get("remote_port"),
            request["path"],
            json.dumps(request.get("data"), sort_keys=True),
        )
        entry = entry_of(record, roles=roles, node=node)
        request_id = str(request.get("id", ""))
        return _Half(moment_of(record), node, hash(call), request_id, entry)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _last_before(
    ends: Mapping[str, tuple[Path, int]],
    count: int,
    wanted: Filter | None,
    roles: Mapping[str, str] | None,
) -> list[AuditEntry]:
    """The last entries before a position in each log."""
    if count <= 0:
        return []
    with contextlib.ExitStack() as files:
        logs = []
        for name, (path, end) in ends.items():
            with contextlib.suppress(FileNotFoundError):  # its node has just gone
                lines = backwards(files.enter_context(path.open("rb")), end)
                logs.append(_halves(name, lines, roles, back=True))
        merged = heapq.merge(*logs, key=_time, reverse=True)
        found = list(itertools.islice(_passing(_once_backwards(merged), wanted), count))
    return found[::-1]


def _once_backwards(halves: Iterable[_Half]) -> Iterator[AuditEntry]:
    """As `_Once`, the youngest first: what was handed on comes after what it was handed on as."""
    younger: deque[_Half] = deque()
    taken: deque[str] = deque(maxlen=1000)
    for half in halves:
        while younger and younger[0].at - half.at > HANDED_ON:
            younger.popleft()
        if half.may_be_handed_on:
            ids = (
                other.request_id
                for other in reversed(younger)
                if other.call == half.call and other.node != half.node
            )
            again = next((found for found in ids if found not in taken), None)
            if again is not None:
                taken.append(again)
                continue
        younger.append(half)
        if half.entry is not None:
            yield half.entry


def _end(path: Path) -> int:
    """Where the last whole line of a log ends.

    Raises:
        FileNotFoundError: It is not there.
        HarnessError: It cannot be read here.
    """
    try:
        with path.open("rb") as file:
            return end_of_lines(file)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error


def _present(logs: Mapping[str, Path]) -> dict[str, Path]:
    """Those that are there.

    Raises:
        HarnessError: None is.
    """
    present = {name: path for name, path in logs.items() if path.exists()}
    if logs and not present:
        path = next(iter(logs.values()))
        raise unreadable(path, FileNotFoundError(2, "No such file or directory"))
    return present


def _passing(found: Iterable[AuditEntry], wanted: Filter | None) -> Iterator[AuditEntry]:
    return (entry for entry in found if wanted is None or wanted.wants(entry))


def _time(half: _Half) -> datetime:
    return half.at
