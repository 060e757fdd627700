"""What a scenario's wall time and CPU time were used for."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Spent:
    """Measures parts of a scenario, which runs alone in its process.

    Attributes:
        wall: Seconds of wall time by purpose.
        subject: CPU seconds of the subject's ended processes.
    """

    wall: dict[str, float] = field(default_factory=dict)
    subject: float = 0.0

    def __post_init__(self) -> None:
        self._own, self._children = time.process_time(), _of_children()

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Add the wall time of the block."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.wall[what] = self.wall.get(what, 0.0) + time.monotonic() - began

    def told(self, waited: Mapping[str, float], *, seconds: float) -> dict[str, dict[str, float]]:
        """Return all times as data, after the scenario's processes have ended.

        `waited` has the seconds of each wait, `seconds` the scenario's duration.
        """
        wall = {**self.wall, **{f"waiting for {what}": s for what, s in waited.items()}}
        wall["else"] = max(0.0, seconds - sum(wall.values()))
        children = _of_children() - self._children
        cpu = {
            "servers": max(0.0, children - self.subject),
            "subject": self.subject,
            "harness": time.process_time() - self._own,
        }
        return {
            "wall": {what: round(value, 3) for what, value in wall.items()},
            "cpu": {what: round(value, 3) for what, value in cpu.items()},
        }


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
