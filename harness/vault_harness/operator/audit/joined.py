"""Join the audit logs of a cluster's nodes by time, with each call once.

Measured with OpenBao 2.7.2 on three nodes, with every kind of request at each node:

- The node that serves a request writes both its request and its response. A standby serves reads,
  lists and look-ups, and refuses some requests itself: a wrong secret-id, a check-and-set that does
  not fit, an invalid time.
- A standby forwards other requests to the leader, which writes both lines, with the caller's
  address and port and a new id. Before that, the standby writes a failure: ``cannot write to
  readonly storage``, ``please forward to the active node`` (without a request line), or ``invalid
  request`` for a login and a new token.
- A standby also writes ``invalid request`` when it refuses a request itself. So a call counts as
  forwarded if another node has a request with the same caller's address and port, path and data
  within seconds. All nodes use the same hashes. The standby's failure is then left out.
- A request that could not be forwarded, because no node led, is only in the standby's log, and
  stays.

Entries of one node keep their order. The nodes share one clock. Only the lines of a few seconds are
held, while one of them is a failure that may prove to be forwarded.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vault_harness.operator.audit.log import (
    AuditEntry,
    Filter,
    Tail,
    backwards,
    end_of_lines,
    entry_of,
    read_lines,
    unreadable,
    wait_a_moment,
)

HANDED_ON = timedelta(seconds=2)
"""From a standby's failure to the leader's request line. Usually 2 ms."""

_SETTLE = timedelta(seconds=0.2)
"""Until a line is in its file. Younger lines wait for those of other nodes."""

_BEGUN = 1000
"""Requests of one node that may wait for their answers."""

_HELD_SECONDS = 1.0
"""A line is held no longer than this, whatever time it has."""


@dataclass(slots=True, eq=False)
class _Half:
    """One line: a request, or a response with its entry.

    Attributes:
        at: Its time, or its neighbour's if the two are out of order.
        call: Equal in the logs of a standby and of the leader.
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
    """Yield all entries that pass the filter, oldest first.

    Missing files are skipped, unless all are missing.
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
    ends = {name: (path, _end(path)) for name, path in _present(logs).items()}
    return _last_before(ends, count, wanted, roles)


def follow_joined(
    logs: Callable[[], Mapping[str, Path]],
    wanted: Filter | None = None,
    *,
    last: int = 0,
    roles: Mapping[str, str] | None = None,
    pause: Callable[[], bool] = wait_a_moment,
) -> Iterator[AuditEntry]:
    """Yield the last entries that pass the filter, then new ones, forever.

    A failure that may prove to be forwarded comes some seconds late.

    Args:
        logs: Called at each look.
        pause: Waits a moment if there is nothing new. False ends the following.
    """
    tails: dict[str, _NodeTail] = {}
    try:
        ends = {}
        for name, path in logs().items():
            tails[name] = _NodeTail(name, Tail(path))  # the file may not exist yet
            ends[name] = path, tails[name].tail.skip()
        yield from _last_before(ends, last, wanted, roles)
        yield from _follow(tails, logs, wanted, roles, pause)
    finally:
        for tail in tails.values():
            tail.tail.close()


def _follow(
    tails: dict[str, _NodeTail],
    logs: Callable[[], Mapping[str, Path]],
    wanted: Filter | None,
    roles: Mapping[str, str] | None,
    pause: Callable[[], bool],
) -> Iterator[AuditEntry]:
    once, waiting = _Once(), _Waiting()
    while True:
        horizon = datetime.now(UTC) - _SETTLE
        present = logs()
        for name, path in present.items():
            if name not in tails:
                tails[name] = _NodeTail(name, Tail(path))  # a new log: read all of it
        busy = False
        for tail in tails.values():
            waiting.add(tail.halves(roles))
            busy = busy or tail.tail.more
            if tail.tail.more and tail.at is not None:
                horizon = min(horizon, tail.at)  # the rest is not read yet
        for half in waiting.until(horizon):
            yield from _passing(once.feed(half), wanted)
        yield from _passing(once.until(horizon), wanted)
        for name in tails.keys() - present.keys():
            tails.pop(name).tail.close()  # read once more after its node left
        if busy:
            continue
        if not pause():
            for half in waiting.rest():
                yield from _passing(once.feed(half), wanted)
            yield from _passing(once.rest(), wanted)
            return


class _Once:
    """Yields each call once, in the order of time, without forwarded failures."""

    def __init__(self) -> None:
        self._held: deque[_Half] = deque()
        self._failed: dict[int, list[_Half]] = {}
        self._taken: deque[str] = deque(maxlen=1000)

    def feed(self, half: _Half) -> Iterator[AuditEntry]:
        if (failed := self._failed.get(half.call)) and half.request_id not in self._taken:
            # Of several equal calls of one connection, the last was forwarded: its caller still
            # waits.
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
    """Holds lines until other nodes must have written theirs of the same time."""

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
    name: str
    tail: Tail
    at: datetime | None = None
    begun: dict[str, datetime] = field(default_factory=dict)

    def halves(self, roles: Mapping[str, str] | None) -> Iterator[_Half]:
        for half in _halves(self.name, self.tail.lines(), roles, since=self.at):
            self.at = half.at
            if half.entry is None:
                self.begun[half.request_id] = half.at
                if len(self.begun) > _BEGUN:  # an answer that could not be audited never comes
                    self.begun.pop(next(iter(self.begun)))
            elif (begun := self.begun.pop(half.request_id, None)) is not None:
                half.entry = replace(half.entry, took=(half.at - begun).total_seconds())
            yield half


def _halves(
    node: str,
    lines: Iterable[str],
    roles: Mapping[str, str] | None,
    *,
    since: datetime | None = None,
    back: bool = False,
) -> Iterator[_Half]:
    """Yield the lines of one log, with times made to increase."""
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
    """Parse a line; None for a cut line or another text."""
    try:
        record = json.loads(line)
        request = record["request"]
        at = datetime.fromisoformat(record["time"])
        call = (
            request.get("remote_address"),
            request.get("remote_port"),
            request["path"],
            json.dumps(request.get("data"), sort_keys=True),
        )
        entry = entry_of(record, at, roles=roles, node=node)
        return _Half(at, node, hash(call), str(request.get("id", "")), entry)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _last_before(
    ends: Mapping[str, tuple[Path, int]],
    count: int,
    wanted: Filter | None,
    roles: Mapping[str, str] | None,
) -> list[AuditEntry]:
    if count <= 0:
        return []
    with contextlib.ExitStack() as files:
        logs = []
        for name, (path, end) in ends.items():
            with contextlib.suppress(FileNotFoundError):  # its node has just left
                lines = backwards(files.enter_context(path.open("rb")), end)
                logs.append(_halves(name, lines, roles, back=True))
        merged = heapq.merge(*logs, key=_time, reverse=True)
        found = list(itertools.islice(_passing(_once_backwards(merged), wanted), count))
    return found[::-1]


def _once_backwards(halves: Iterable[_Half]) -> Iterator[AuditEntry]:
    """Do the same as `_Once`, youngest first."""
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
    """Return where the last whole line of a log ends."""
    try:
        with path.open("rb") as file:
            return end_of_lines(file)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error


def _present(logs: Mapping[str, Path]) -> dict[str, Path]:
    present = {name: path for name, path in logs.items() if path.exists()}
    if logs and not present:
        path = next(iter(logs.values()))
        raise unreadable(path, FileNotFoundError(2, "No such file or directory"))
    return present


def _passing(found: Iterable[AuditEntry], wanted: Filter | None) -> Iterator[AuditEntry]:
    return (entry for entry in found if wanted is None or wanted.wants(entry))


def _time(half: _Half) -> datetime:
    return half.at
