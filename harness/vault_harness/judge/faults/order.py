"""A fault of single requests as data, from a command line to another process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from vault_harness.errors import DeadlineExceeded
from vault_harness.judge.faults.http import answered, choose, lateness, words
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.interference import Affected, Choice, Interference, Stub


@contextmanager
def flapping(
    fault: Callable[[], AbstractContextManager[Fault]], *, on: float, off: float
) -> Iterator[list[Fault]]:
    """Break and mend in turn while the block runs, beginning broken and ending mended.

    Args:
        fault: Makes a new fault for each turn.
        on: Seconds broken.
        off: Seconds mended.

    Yields:
        A list that grows with each turn.
    """
    stop = threading.Event()
    turns: list[Fault] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            while not stop.is_set():
                with fault() as turn:
                    turns.append(turn)
                    stop.wait(on)
                stop.wait(off)
        except BaseException as error:  # noqa: BLE001 - raised in the scenario's thread below
            failures.append(error)

    thread = threading.Thread(target=run, name="flapping", daemon=True)
    thread.start()
    try:
        yield turns
    finally:
        stop.set()
        thread.join(timeout=30)
        if thread.is_alive():
            raise DeadlineExceeded(
                "A flapping fault could not be undone within 30 s", looked_at=repr(turns[-1:])
            )
        if failures:
            raise failures[0]


Act = Literal["fail", "delay", "lose answer"]
"""The verbs of `HttpFaults`."""

_ASKED_BY = "the command line"


@dataclass(frozen=True, kw_only=True)
class Order:
    """A fault for certain requests; see `HttpFaults` for the terms.

    Attributes:
        act: The verb.
        targets: What the requests are for.
        status: HTTP status of the answer, for ``fail``.
        by: Seconds by which the answer is late, for ``delay``.
        path: A pattern (``*``, ``?``) for the path below ``/v1/``; None for any.
        first: Only this many requests from the first on.
        nth: Only this one.
        every: 3 means the third, the sixth and so on.

    Raises:
        SettingsError: The values do not fit together.
    """

    act: Act
    targets: tuple[Affected, ...]
    status: int = 503
    by: float = 0.0
    path: str | None = None
    first: int | None = None
    nth: int | None = None
    every: int | None = None

    def __post_init__(self) -> None:
        self.choice()
        if self.act == "fail":
            answered(self.status, asked_by=_ASKED_BY)
        if self.act == "delay":
            lateness(self.by, asked_by=_ASKED_BY)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Return the order that `to_json` gave."""
        return cls(**{**told, "targets": tuple(told["targets"])})

    def to_json(self) -> dict[str, Any]:
        """Return the order as plain data."""
        return asdict(self)

    def choice(self) -> Choice:
        """Return the requests that it is for."""
        return choose(self.targets, self.path, self.first, self.nth, self.every, asked_by=_ASKED_BY)

    @property
    def subject(self) -> tuple[object, ...]:
        """A later order with the same subject replaces this one."""
        return self.act, frozenset(self.targets), self.path

    def begun(self, kind: type[Interference] = Interference) -> Interference:
        """Return the fault itself, which counts from now on."""
        stub: Stub | None = answered(self.status) if self.act == "fail" else None
        return kind(
            str(self),
            self.choice(),
            stub=stub,
            late=self.by if self.act == "delay" else 0.0,
            loses=self.act == "lose answer",
        )

    def __str__(self) -> str:
        """Describe it for a person: ``login answered 503, the first 2``."""
        target = words(self.targets)
        what = {
            "fail": f"{target} answered {self.status}",
            "delay": f"answer to {target} {self.by:g} s late",
            "lose answer": f"answer to {target} lost",
        }[self.act]
        where = f" of {self.path}" if self.path is not None else ""
        return f"{what}{where}, {self._how_many()}"

    def _how_many(self) -> str:
        if self.first is not None:
            return f"the first {self.first}"
        if self.nth is not None:
            return f"number {self.nth} alone"
        return f"one of every {self.every}" if self.every is not None else "all"
