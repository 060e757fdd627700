"""What a subject costs to start, measured once; how many run side by side follows from it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from vault_harness.scenario.environment import START, Environment
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.rehearsal import ENTRY
from vault_harness.scenario.verdict import NotClaimed, NotExercised

SHARE = 0.7
"""Of the cores that scenarios may use; what is left keeps the clockwork of each in time."""

LENGTH = 10.0
"""Seconds that a scenario takes, about; nearly all of them it waits."""

OWN = 1.0
"""Seconds of CPU that a scenario takes without its subject, about: a Vault, a proxy, a recorder."""

LONGEST_START = 180.0
"""Seconds for a start that was measured on a machine with nothing else to do."""

FIRST_READ = 10.0
"""Seconds from there to a first good read; then the scenarios are to say why there is none."""

PAUSE = 0.1
"""Seconds between two of those reads: who fails them at once is not to look dear."""

STARVED = 1.5
"""Processes that want to run, for each core, from which a machine is called busy."""


@dataclass(frozen=True)
class Cost:
    """What one start and a first good read of a subject cost.

    Attributes:
        cpu: Seconds of CPU, children included; 0 where it has no process of its own.
        hello: Seconds until its ``hello``.
        read: Seconds from there to a first good read; None if there was none.
        load: Processes that wanted to run before it was started, for each core.
        alone: Whether whoever runs it can hold one client at a time, so that scenarios would wait
            for each other.
    """

    cpu: float
    hello: float
    read: float | None
    load: float
    alone: bool = False

    def workers(self, most: int, cores: int | None = None) -> int:
        """How many scenarios may run side by side, so that starts leave the machine its breath."""
        if self.alone:
            return 1
        cores = cores or os.cpu_count() or 1
        return max(1, min(most, int(SHARE * cores * LENGTH / (self.cpu + OWN))))

    def start(self, workers: int, cores: int | None = None) -> float:
        """Seconds from a start to ``hello`` that scenarios grant, where all may start at once."""
        at_once = max(1.0, workers / (cores or os.cpu_count() or 1))
        return min(LONGEST_START, max(START, 3.0 * self.hello * at_once))

    @property
    def starved(self) -> bool:
        """Whether the machine had enough to do without it."""
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
    """Start a subject once, on a Vault without any fault; if it does not start, why not."""
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
        with suppress(NotClaimed):  # it renders other secrets: the scenarios say so
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
