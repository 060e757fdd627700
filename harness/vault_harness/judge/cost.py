"""Measure what a subject costs to start, to decide how many scenarios run side by side."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from vault_harness.judge.environment import START, Environment
from vault_harness.judge.lab import Lab
from vault_harness.judge.rehearsal import ENTRY
from vault_harness.judge.run import MIN_TTL
from vault_harness.judge.verdict import NotClaimed, NotExercised

SHARE = 0.7
"""Share of the cores for scenarios; the rest keeps clocks and recorders on time."""

LENGTH = 10.0
"""Approximate seconds of a scenario, most of them waiting; at least a life of a token."""

OWN = 1.0
"""Approximate CPU seconds of a scenario without its subject."""

LONGEST_START = 180.0
"""The most seconds that the measured start may take, on an idle machine."""

FIRST_READ = 10.0
"""The most seconds from ``hello`` to a first good read. Without one, the scenarios say why."""

PAUSE = 0.1
"""Seconds between two of these reads, so that fast failures do not look like CPU cost."""

STARVED = 1.5
"""Processes per core that want to run, above which a machine is starved."""


@dataclass(frozen=True)
class Cost:
    """The cost of one start and a first good read of a subject.

    Attributes:
        cpu: CPU seconds, children included; 0 without a process of its own.
        hello: Seconds until its ``hello``.
        read: Seconds from ``hello`` to a first good read; None if there was none.
        load: Processes per core that wanted to run before the start.
        alone: Whether its server holds one client at a time, so that scenarios take turns.
        length: Approximate seconds of a scenario.
    """

    cpu: float
    hello: float
    read: float | None
    load: float
    alone: bool = False
    length: float = LENGTH

    def workers(self, most: int, cores: int | None = None) -> int:
        if self.alone:
            return 1
        cores = cores or os.cpu_count() or 1
        return max(1, min(most, int(SHARE * cores * self.length / (self.cpu + OWN))))

    def start(self, workers: int, cores: int | None = None) -> float:
        at_once = max(1.0, workers / (cores or os.cpu_count() or 1))
        return min(LONGEST_START, max(START, 3.0 * self.hello * at_once))

    @property
    def starved(self) -> bool:
        return self.load > STARVED

    def __str__(self) -> str:
        read = "no good read" if self.read is None else f"a first read {self.read:.1f} s later"
        text = f"hello after {self.hello:.1f} s, {read}, {self.cpu:.1f} s of CPU"
        if self.alone:
            text += "; it holds one client at a time (with a 'path' for each it would hold several)"
        if self.starved:
            text += (
                f"; this machine is starved: {self.load:.1f} processes for each core want to run, "
                "so scenarios may be not exercised"
            )
        return text


def measure(environment: Environment) -> Cost | str:
    """Start a subject without faults; return the cost, or why it did not start."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    folder = Path(tempfile.mkdtemp(prefix="cost-", dir=environment.directory))
    with Lab(environment, ENTRY, directory=folder / "lab") as lab:
        try:
            driver = lab.open(timeout=LONGEST_START)
        except NotExercised as error:
            return str(error)
        if driver is None:
            return " ".join(lab.history.operations[-1].message.split())
        hello = lab.history.now()
        last = hello + FIRST_READ
        with suppress(NotClaimed):  # the subject renders other secrets
            while not driver.read().good and driver.subject.is_alive() and lab.history.now() < last:
                lab.watch(PAUSE)
        good = [read.ended for read in lab.history.calls("read") if read.good and read.ended]
        began = lab.history.operations[0]
        return Cost(
            cpu=_cpu(driver.subject.pid),
            hello=hello - began.began,
            read=good[0] - hello if good else None,
            load=load,
            alone=getattr(driver.subject, "alone", False),
            length=max(LENGTH, lab.declared_or_none(MIN_TTL) or 0.0),
        )


def _cpu(pid: int | None) -> float:
    if pid is None:
        return 0.0
    try:
        process = psutil.Process(pid)
        family = (process, *process.children(recursive=True))
        times = [member.cpu_times() for member in family]
    except psutil.Error:
        return 0.0
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)
