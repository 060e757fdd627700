"""What writers and readers of a cluster did, what it has at the end, and what must hold of both.

Every value is written by one call only, with check-and-set, so that each version has an author and
each call has at most one version. The oracles are functions of a `Ledger` and give findings, one
line each; none means that it holds.

What a cluster promises, and they check:

- A write that was confirmed is there at the end, in the version that was told.
- A write is applied at most once, and not at all if it was refused or never sent. One that nobody
  answered may have been applied or not.
- Versions count from 1 without a gap, and each was made of the one before it.
- A read gives a version that is there at the end too, with that value.
- A read is never older than what anybody was told before it began: clients reach whoever leads, and
  no standby. There is one exception, the `Lapse`.
- A node that is cut off from the others confirms no write, though a client reaches it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["confirmed", "refused", "unsent", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Write:
    """A call that wrote a value over a version.

    Attributes:
        over: The version that had to be the latest one.
        outcome: ``refused`` by check-and-set, ``unsent`` for one that never left, ``unknown`` for
            one that had no usable answer.
        version: What was told, of a confirmed one.
        began: Seconds on the test's clock.
        ended: Likewise.
        asked: The node, of a call that went to one itself, whoever led.
    """

    path: str
    value: str
    over: int
    outcome: Outcome
    began: float
    ended: float
    version: int | None = None
    asked: str | None = None


@dataclass(frozen=True, kw_only=True)
class Read:
    """A call that gave a value."""

    path: str
    value: str
    version: int
    began: float
    ended: float


@dataclass(frozen=True)
class Lapse:
    """When a node that leads no more may not know it yet, and answers with what it had before.

    That is from when it was stopped or cut off, or told to give its lead away, until the balancer
    has ended the connections to it. Its answers are as of the beginning, at the oldest: it led
    until then.
    """

    began: float
    ended: float


@dataclass(frozen=True)
class Cut:
    """When a node was cut off from the others: it was when this began, and still when it ended."""

    node: str
    began: float
    ended: float


@dataclass
class Ledger:
    """All calls, in the order in which they ended. Safe to write from several threads."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    lapses: list[Lapse] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    contents: dict[str, dict[int, str]] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def note(self, call: Write | Read) -> None:
        """Add a call that ended."""
        with self._changed:
            if isinstance(call, Write):
                self.writes.append(call)
            else:
                self.reads.append(call)
            self._changed.notify_all()

    def confirmed(self) -> list[Write]:
        """Writes that were."""
        return [write for write in list(self.writes) if write.outcome == "confirmed"]

    def await_confirmed_since(self, moment: float, count: int, timeout: float) -> bool:
        """Wait until so many writes that began later were confirmed; whether they were."""
        with self._changed:
            return self._changed.wait_for(
                lambda: sum(write.began >= moment for write in self.confirmed()) >= count, timeout
            )


def nothing_confirmed_is_lost(ledger: Ledger) -> list[str]:
    """What was confirmed is there, in the version that was told."""
    return [
        f"{write.path}: version {write.version} was confirmed as {write.value} at "
        f"+{write.ended:.2f}, and has {_at(ledger, write.path, write.version)}"
        for write in ledger.confirmed()
        if _at(ledger, write.path, write.version) != write.value
    ]


def each_write_counts_once(ledger: Ledger) -> list[str]:
    """No value is there twice, or though it was refused; and none that nobody wrote."""
    found = []
    outcomes = {(write.path, write.value): write for write in ledger.writes}
    for path, versions in ledger.contents.items():
        for value, count in Counter(versions.values()).items():
            write = outcomes.get((path, value))
            where = sorted(version for version, there in versions.items() if there == value)
            if count > 1:
                found.append(f"{path}: {value} is there {count} times, in versions {where}")
            if write is None:
                found.append(f"{path}: nobody wrote {value}, which is in version {where[0]}")
            elif write.outcome in {"refused", "unsent"}:
                found.append(f"{path}: {value} was {write.outcome}, and is in version {where[0]}")
    return found


def versions_have_no_gap(ledger: Ledger) -> list[str]:
    """Each version is there, and was written over the one before it."""
    found = []
    over = {(write.path, write.value): write.over for write in ledger.writes}
    for path, versions in ledger.contents.items():
        missing = sorted(set(range(1, max(versions, default=0) + 1)) - versions.keys())
        if missing:
            found.append(f"{path}: no version {missing}")
        for version, value in versions.items():
            before = over.get((path, value))
            if before is not None and before != version - 1:
                found.append(f"{path}: version {version}, {value}, was to be over {before}")
    return found


def reads_give_what_is_kept(ledger: Ledger) -> list[str]:
    """No read gave what was not written, or what was lost since."""
    return [
        f"{read.path}: version {read.version} was read as {read.value} at +{read.began:.2f}, and "
        f"has {_at(ledger, read.path, read.version)}"
        for read in ledger.reads
        if _at(ledger, read.path, read.version) != read.value
    ]


def no_read_is_older_than_what_was_known(
    ledger: Ledger, *, lapses: Sequence[Lapse] | None = None
) -> list[str]:
    """A read gives at least what anybody, reader or writer, was told before it began.

    One that touches a lapse: what was told before the lapse began.

    Args:
        ledger: All calls, and what is there.
        lapses: Instead of those of the ledger.
    """
    lapses = ledger.lapses if lapses is None else lapses
    told = _told(ledger)
    found = []
    for read in ledger.reads:
        since = min(
            [
                read.began,
                *(lapse.began for lapse in lapses if _touches(read, lapse)),
            ]
        )
        known = max(
            (version for ended, version in told.get(read.path, ()) if ended <= since), default=0
        )
        if read.version < known:
            found.append(
                f"{read.path}: version {read.version} was read at +{read.began:.2f}, and "
                f"{known} was known by +{since:.2f}"
            )
    return found


def a_node_alone_confirms_nothing(ledger: Ledger) -> list[str]:
    """What is asked of a node that is cut off, and answered before it is back, is not confirmed."""
    return [
        f"{write.path}: {write.value} was confirmed at +{write.ended:.2f} by {cut.node}, which was "
        f"cut off from +{cut.began:.2f} to +{cut.ended:.2f}"
        for write in ledger.confirmed()
        for cut in ledger.cuts
        if write.asked == cut.node and cut.began <= write.began and write.ended <= cut.ended
    ]


ORACLES = (
    nothing_confirmed_is_lost,
    each_write_counts_once,
    versions_have_no_gap,
    reads_give_what_is_kept,
    no_read_is_older_than_what_was_known,
    a_node_alone_confirms_nothing,
)


def findings(ledger: Ledger) -> list[str]:
    """Of all oracles."""
    return [finding for oracle in ORACLES for finding in oracle(ledger)]


def _told(ledger: Ledger) -> Mapping[str, list[tuple[float, int]]]:
    """By path, when somebody was told of which version."""
    told: dict[str, list[tuple[float, int]]] = {}
    for write in ledger.confirmed():
        assert write.version is not None
        told.setdefault(write.path, []).append((write.ended, write.version))
    for read in ledger.reads:
        told.setdefault(read.path, []).append((read.ended, read.version))
    return told


def _touches(read: Read, lapse: Lapse) -> bool:
    return read.began <= lapse.ended and read.ended >= lapse.began


def _at(ledger: Ledger, path: str, version: int | None) -> str:
    return ledger.contents.get(path, {}).get(version or 0, "nothing")
