"""For how long the subject, or the harness, wanted a core while others had them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vault_harness.scenario._beside import Beside
from vault_harness.scenario.history import History

LOOK = 0.5
"""Seconds from one look at a process's threads to the next."""

NOTED = 0.01
"""Seconds of waiting within one look from which it is noted."""

ITS_OWN_DOING = 0.5
"""The part of all cores from which a process that waits for one waits for itself.

A client that keeps every core busy with threads of its own is not starved by anybody.
"""

PROC = Path("/proc")

_NANOSECOND = 1e-9
_LINE = 200
"""Bytes, more than such a file has."""


@dataclass(frozen=True)
class Turn:
    """What a thread has had of the cores.

    Attributes:
        ran: Seconds for which it ran.
        waited: Seconds for which it could have run, and had no core (the scheduler's "run delay").
    """

    ran: float
    waited: float


class Starvation(Beside):
    """A thread that looks now and then for how long processes have waited for a core.

    The heartbeat asks for little: Linux lets it run when it wants to. A subject that has much to
    do at once (two hundred clients in one process) may get a third of a core meanwhile, and be late
    by seconds that nobody else sees; so may the recorder before it.

    Args:
        history: Where each while is noted in which one of them waited.
        subjects: The ids of the subject's processes, asked for each time anew; their descendants
            are of them. This process itself is always asked about.
        turns: What each thread of a process has had by now, by its id.
        cores: How many cores there are.
    """

    def __init__(
        self,
        history: History,
        subjects: Callable[[], Iterable[int]],
        *,
        turns: Callable[[int], dict[int, Turn]] | None = None,
        cores: int | None = None,
    ) -> None:
        super().__init__("starvation")
        self._history = history
        self._subjects = subjects
        self._turns = turns_of if turns is None else turns
        self._cores = cores or os.cpu_count() or 1
        self._known: dict[int, dict[int, Turn]] = {}

    def _run(self) -> None:
        looked = time.monotonic()
        self.look(LOOK)
        while not self._over.wait(LOOK):
            now = time.monotonic()
            if (waited := self.look(now - looked)) >= NOTED:
                self._history.note_starvation(looked, now, waited)
            looked = now

    def look(self, seconds: float) -> float:
        """For how long, of so many seconds since the last look, the hungriest process waited."""
        known, self._known = self._known, {}
        longest = 0.0
        for process in (os.getpid(), *self._subjects()):
            self._known[process] = turns = self._turns(process)
            before = known.get(process, {})
            had = [
                Turn(turn.ran - before[thread].ran, turn.waited - before[thread].waited)
                for thread, turn in turns.items()
                if thread in before
            ]
            if sum(turn.ran for turn in had) < ITS_OWN_DOING * self._cores * seconds:
                longest = max(longest, sum(turn.waited for turn in had))
        return min(longest, seconds)


def turns_of(process: int) -> dict[int, Turn]:
    """What each thread of a process has had of the cores, by its id.

    A wrapper or a shell has its work done by children: they are of the process. This one's own
    children are servers and subjects, and none of it.

    Returns:
        Nothing where the kernel does not tell (``CONFIG_SCHEDSTATS``), or the process is gone.
    """
    found = {}
    for thread, folder in _threads(process):
        try:
            # Not `Path.read_text`, which takes four times as long, for each of twenty threads.
            descriptor = os.open(f"{folder}/schedstat", os.O_RDONLY)
            try:
                ran, waited, _ = os.read(descriptor, _LINE).split()
            finally:
                os.close(descriptor)
            found[thread] = Turn(int(ran) * _NANOSECOND, int(waited) * _NANOSECOND)
        except (OSError, ValueError):  # it has ended meanwhile, or the kernel does not tell
            continue
    return found


def _threads(process: int) -> Iterator[tuple[int, str]]:
    """The id of each thread, and the folder that the kernel has of it."""
    tasks = f"{PROC}/{process}/task"
    try:
        threads = os.listdir(tasks)  # noqa: PTH208 - makes no object of each, twice a second
    except OSError:
        return
    for thread in threads:
        folder = f"{tasks}/{thread}"
        yield int(thread), folder
        if process == os.getpid():
            continue
        try:
            children = Path(folder, "children").read_text(encoding="ascii").split()
        except OSError:  # the thread has ended, or the kernel has no such file
            continue
        for child in children:
            yield from _threads(int(child))
