"""What a client holds: threads, files, memory, connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from vault_harness.faults import process_tree
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.verdict import NotClaimed


@dataclass(frozen=True)
class Footprint:
    """What a subject holds of its machine's resources; None of what cannot be told.

    Attributes:
        threads: Of all its processes; the scenario's own too for a subject within this process.
        files: Open file descriptors of them, sockets among them.
        connections: Those of its connections that are open and have got as far as the recorder.
    """

    threads: int | None
    files: int | None
    connections: int | None

    def least(self, other: Footprint) -> Footprint:
        """The less of each; where only one of the two looks could tell, what that one saw."""
        pairs = self._beside(other).values()
        return Footprint(*(min((n for n in pair if n is not None), default=None) for pair in pairs))

    def growth(self, later: Footprint, *, spare: int) -> set[str]:
        """What grew by more than `spare`, in words; nothing of what cannot be told."""
        return {
            f"{name}: {before} before, {after} after"
            for name, (before, after) in self._beside(later).items()
            if before is not None and after is not None and after > before + spare
        }

    def compared(self, later: Footprint) -> str:
        """What `growth` can see, and what it cannot, in words."""
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
    """How many threads there are that were not there before.

    What an earlier subject left behind ends at some time, and would hide what this one leaves.
    """
    return sum(one not in before for one in threading.enumerate())


_QUIET, _PATIENCE = 0.5, 3.0
"""Seconds in which a footprint at rest does not become less, and for which that is waited."""


def footprint_at_rest(lab: Lab) -> Footprint:
    """The least that the subject holds while nothing is under way.

    A thread that ends and a connection that closes, which take longer on a busy machine, are in a
    single look. What is compared with it later could grow by as much more and be no leak.

    Raises:
        NotClaimed: As `footprint`.
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
    """The subject's footprint now; nothing else should be under way.

    Connections are counted by the recorder, which knows them whichever Toxiproxy runs. Of a client
    behind somebody's HTTP server nothing else can be told: where its process is, nobody says.

    Raises:
        NotClaimed: This machine does not tell (there is no ``/proc``).
    """
    if not Path("/proc/self/fd").is_dir():
        raise NotClaimed("what a process holds can only be counted where there is /proc")
    subject, recorder = lab.client.subject, lab.recorder
    if subject.pid is not None:
        return Footprint(*held_by(subject.pid), recorder.open_connections())
    if subject.kind != "in-process":
        return Footprint(None, None, recorder.open_connections())
    # Both ends of each connection in the recorder are open files of this process as well.
    files = len(list(Path("/proc/self/fd").iterdir())) - len(recorder.ends)
    return Footprint(threads_beside(lab.threads_before), files, recorder.open_connections())


def left_behind(lab: Lab, before: Footprint, *, spare: int) -> set[str]:
    """What a subject holds more of than before by more than `spare`, in words.

    It has 3 s to let go, and has done so once no look of half a second finds anything: who is just
    exchanging what it holds has less of it in a single look. The verdict says what was counted.

    Raises:
        NotClaimed: As `footprint`.
    """
    history = lab.history
    began = quiet = history.now()
    while True:
        after, now = footprint(lab), history.now()
        if more := before.growth(after, spare=spare):
            quiet = now
        if now - (began if more else quiet) >= (_PATIENCE if more else _QUIET):
            break
        history.let_pass(0.05, what="an event")
    lab.require("what it holds is counted", lambda _: before.compared(after))
    return more


def processor_time(lab: Lab) -> float | None:
    """Seconds of processors that a subject has used by now; None of who has no process of its own.

    That of its children is among them, but for those that have ended: of two looks the second may
    have less.
    """
    pid = lab.client.subject.pid
    if pid is None:
        return None
    total = 0.0
    with suppress(ProcessLookupError):  # that it has died is for an oracle to say
        for process in process_tree(pid):
            with suppress(psutil.Error):
                used = process.cpu_times()
                total += used.user + used.system
    return total


def held_by(pid: int) -> tuple[int | None, int | None]:
    """Threads and open files of a process and all that belong to it; none of one that has died.

    None stands for what this machine does not let us count.
    """
    processes: list[psutil.Process] = []
    with suppress(ProcessLookupError):  # that it has died is for an oracle to say
        processes = process_tree(pid)
    return _sum(processes, psutil.Process.num_threads), _sum(processes, psutil.Process.num_fds)


def _sum(
    processes: Collection[psutil.Process], count: Callable[[psutil.Process], int]
) -> int | None:
    total = 0
    for process in processes:
        try:
            total += count(process)
        except psutil.AccessDenied:  # it is another user's, or has rights that this one has not
            if not _has_ended(process):
                return None
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def _has_ended(process: psutil.Process) -> bool:
    """Whether it is no more, though its parent may not know yet: it holds nothing then."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
