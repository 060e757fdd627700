"""Count what a client holds: threads, files, connections, processor time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from vault_harness.judge.conditions import Sighting
from vault_harness.judge.faults import process_tree
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import Oracle, at_most


@dataclass(frozen=True)
class Footprint:
    """The resources that a subject holds; None for a number that cannot be counted.

    Attributes:
        threads: For a subject in this process, the scenario's threads too.
        files: Open file descriptors, sockets included.
    """

    threads: int | None
    files: int | None
    connections: int | None

    def least(self, other: Footprint) -> Footprint:
        pairs = self._beside(other).values()
        return Footprint(*(min((n for n in pair if n is not None), default=None) for pair in pairs))

    def growth(self, later: Footprint, *, spare: int) -> set[str]:
        return {
            f"{name}: {before} before, {after} after"
            for name, (before, after) in self._beside(later).items()
            if before is not None and after is not None and after > before + spare
        }

    def compared(self, later: Footprint) -> str:
        """Return in words what `growth` can compare, and what it cannot."""
        told = {name: None not in pair for name, pair in self._beside(later).items()}
        seen, unseen = (", ".join(n for n in told if told[n] is one) for one in (True, False))
        return f"{seen}; cannot tell: {unseen}" if unseen else seen

    def _beside(self, other: Footprint) -> dict[str, tuple[int | None, int | None]]:
        return {
            "threads": (self.threads, other.threads),
            "open files": (self.files, other.files),
            "connections": (self.connections, other.connections),
        }


def threads_beside(before: Collection[threading.Thread]) -> int:
    return sum(one not in before for one in threading.enumerate())


_QUIET, _PATIENCE = 0.5, 3.0
"""Seconds without a decrease that show rest, and the longest wait for it."""


def footprint_at_rest(lab: Lab) -> Footprint:
    """Return the smallest footprint while nothing is under way.

    A single count may include a thread or connection that is ending, which would hide a later
    growth.
    """
    history = lab.history
    least, since = footprint(lab), history.now()
    end = since + _PATIENCE
    while history.now() < min(since + _QUIET, end):
        history.let_pass(0.05, what="an event")
        now = least.least(footprint(lab))
        if now != least:
            least, since = now, history.now()
    return least


def footprint(lab: Lab) -> Footprint:
    """Return the footprint now; nothing else should be under way.

    Only connections can be counted for a client behind an HTTP server, or without ``/proc``.
    """
    subject, recorder = lab.client.subject, lab.recorder
    connections, here = recorder.open_connections(), Path("/proc/self/fd")
    if not here.is_dir():
        return Footprint(None, None, connections)
    if subject.pid is not None:
        return Footprint(*held_by(subject.pid), connections)
    if subject.kind != "in-process":
        return Footprint(None, None, connections)
    # Both ends of the recorder's connections are open files of this process too.
    files = len(list(here.iterdir())) - len(recorder.ends)
    return Footprint(threads_beside(lab.threads_before), files, connections)


def footprint_between_calls(lab: Lab) -> Footprint:
    least = footprint(lab)
    for _ in range(10):
        lab.watch(0.06)
        least = least.least(footprint(lab))
    return least


SPARE = 6
"""Growth of threads, files or connections."""


def left_behind(lab: Lab, before: Footprint) -> set[str]:
    """Return in words what grew by more than `SPARE` and is not released in 3 s."""
    history = lab.history
    began = quiet = history.now()
    while True:
        after, now = footprint(lab), history.now()
        if more := before.growth(after, spare=SPARE):
            quiet = now
        if now - (began if more else quiet) >= (_PATIENCE if more else _QUIET):
            break
        history.let_pass(0.05, what="an event")
    lab.require("what it holds is counted", lambda _: before.compared(after))
    return more


@dataclass(frozen=True)
class Processor:
    """The processor time of a subject, in seconds.

    Attributes:
        waited: Seconds without a free core; 0 if the kernel does not tell
            (``/proc/PID/task/TID/schedstat``).
    """

    used: float = 0.0
    waited: float = 0.0

    def since(self, before: Processor) -> Processor:
        """Return the use since an earlier count, without children that ended."""
        used, waited = self.used - before.used, self.waited - before.waited
        return Processor(max(0.0, used), max(0.0, waited))


def processor_time(lab: Lab) -> Processor:
    pid = lab.client.subject.pid
    if pid is None:
        return Processor()
    used = waited = 0.0
    with suppress(ProcessLookupError):  # an oracle reports its death
        for process in process_tree(pid):
            with suppress(psutil.Error):
                times = process.cpu_times()
                used += times.user + times.system
            waited += _waited(process.pid)
    return Processor(used, waited)


def _waited(pid: int) -> float:
    nanoseconds = 0
    for file in Path("/proc", str(pid), "task").glob("*/schedstat"):
        with suppress(OSError, ValueError, IndexError):  # the thread has ended
            nanoseconds += int(file.read_text(encoding="ascii").split()[1])
    return nanoseconds * 1e-9


BUSY = 0.25
"""Part of a core: a loop without a pause takes a whole one."""


def processor_at_most(lab: Lab, limit: float, spent: Processor, what: str) -> Oracle:
    """Check the processor time, and require a free core: without one, a loop looks modest.

    Args:
        what: When the time was spent: ``while Vault is sealed``.
    """
    wanted = spent.used + spent.waited
    lab.require(
        f"a core was free for it {what}",
        lambda _: Sighting(
            spent.used > limit or wanted <= limit,
            f"it ran for {spent.used:.1f} s, and waited for {spent.waited:.1f} s",
            too_slow=True,
        ),
    )
    return at_most(limit, spent.used, f"seconds of a processor {what}")


def held_by(pid: int) -> tuple[int | None, int | None]:
    """Count threads and open files of a process and its children; 0 if it has died.

    None stands for a number that cannot be counted here.
    """
    processes: list[psutil.Process] = []
    with suppress(ProcessLookupError):  # an oracle reports its death
        processes = process_tree(pid)
    return _sum(processes, psutil.Process.num_threads), _sum(processes, psutil.Process.num_fds)


def _sum(
    processes: Collection[psutil.Process], count: Callable[[psutil.Process], int]
) -> int | None:
    total = 0
    for process in processes:
        try:
            total += count(process)
        except psutil.AccessDenied:  # another user owns the process, or it has more rights
            if not _has_ended(process):
                return None
        except psutil.Error:  # it has ended
            continue
    return total


def _has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
