"""What writers and readers of a cluster did, what it holds at the end, and oracles over both.

Each value is written by one call only, with check-and-set. So each version has one author, and each
call makes at most one version. An oracle returns findings, one line each. A cluster promises:

- A confirmed write is there at the end, in the version that was told.
- A write is applied at most once, and never if it was refused or not sent. Without an answer it may
  have been applied.
- Versions count from 1 without a gap, and each was written over the one before it.
- A read returns a version that is there at the end too, with that value.
- A read is never older than what any client knew before it began: clients reach the leader, not a
  standby. The one exception is the `Lapse`.
- A node that is cut off from the others confirms no write, even if a client reaches it.
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

    `over` had to be the latest version. `outcome` is ``refused`` by check-and-set, ``unsent`` for a
    request that never left, ``unknown`` without a usable answer. `version` is set if confirmed.
    `began` and `ended` are seconds on the test's clock. `asked` names the node if the call bypassed
    the leader.
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
    path: str
    value: str
    version: int
    began: float
    ended: float


@dataclass(frozen=True)
class Lapse:
    """The time in which a former leader may not know that it lost its lead, and answers old values.

    It ends when the balancer has closed the connections to that node. The node led until it began,
    so no answer is older than that.
    """

    began: float
    ended: float


@dataclass(frozen=True)
class Cut:
    """A time during all of which a node was cut off from the others."""

    node: str
    began: float
    ended: float


@dataclass
class Ledger:
    """All calls, in the order in which they ended. Several threads may write to it."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    lapses: list[Lapse] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    contents: dict[str, dict[int, str]] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def note(self, call: Write | Read) -> None:
        with self._changed:
            if isinstance(call, Write):
                self.writes.append(call)
            else:
                self.reads.append(call)
            self._changed.notify_all()

    def confirmed(self) -> list[Write]:
        return [write for write in list(self.writes) if write.outcome == "confirmed"]

    def await_confirmed_since(self, moment: float, count: int, timeout: float) -> bool:
        """Wait for that many confirmed writes that began later. Return True if they came."""
        with self._changed:
            return self._changed.wait_for(
                lambda: sum(write.began >= moment for write in self.confirmed()) >= count, timeout
            )


def nothing_confirmed_is_lost(ledger: Ledger) -> list[str]:
    return [
        f"{write.path}: version {write.version} was confirmed as {write.value} at "
        f"+{write.ended:.2f}, and has {_at(ledger, write.path, write.version)}"
        for write in ledger.confirmed()
        if _at(ledger, write.path, write.version) != write.value
    ]


def each_write_counts_once(ledger: Ledger) -> list[str]:
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
    return [
        f"{read.path}: version {read.version} was read as {read.value} at +{read.began:.2f}, and "
        f"has {_at(ledger, read.path, read.version)}"
        for read in ledger.reads
        if _at(ledger, read.path, read.version) != read.value
    ]


def no_read_is_older_than_what_was_known(
    ledger: Ledger, *, lapses: Sequence[Lapse] | None = None
) -> list[str]:
    """A read is at least as new as what any client was told before it began.

    A read that touches a lapse counts from the lapse's beginning. `lapses` replaces the ledger's.
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
    return [finding for oracle in ORACLES for finding in oracle(ledger)]


def _told(ledger: Ledger) -> Mapping[str, list[tuple[float, int]]]:
    """Return by path when a client was told of which version."""
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
