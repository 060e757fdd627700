"""A fault of single requests as data: asked for on a command line, done by another process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from vault_harness.faults.http import (
    Affected,
    Choice,
    Interference,
    Stub,
    answered,
    choose,
    lateness,
    words,
)

Act = Literal["fail", "delay", "lose answer"]
"""What is done: as the verbs of `HttpFaults`."""

_ASKED_BY = "the command line"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What shall be done to which requests; see `HttpFaults`, whose words these are.

    Attributes:
        act: What.
        targets: To requests for what.
        status: HTTP status of the answer, for ``fail``.
        by: Seconds by which the answer is late, for ``delay``.
        path: A pattern (``*``, ``?``) for the path below ``/v1/``; None for any.
        first: The first so many.
        nth: That one alone.
        every: The third, the sixth and so on, for 3.

    Raises:
        SettingsError: That makes no sense.
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
        """The order that `to_json` gave."""
        return cls(**{**told, "targets": tuple(told["targets"])})

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)

    def choice(self) -> Choice:
        """Which requests it is for."""
        return choose(self.targets, self.path, self.first, self.nth, self.every, asked_by=_ASKED_BY)

    @property
    def subject(self) -> tuple[object, ...]:
        """What a later order replaces this one by, if it is about the same."""
        return self.act, frozenset(self.targets), self.path

    def begun(self, kind: type[Interference] = Interference) -> Interference:
        """The fault itself, which counts from now on."""
        stub: Stub | None = answered(self.status) if self.act == "fail" else None
        return kind(
            str(self),
            self.choice(),
            stub=stub,
            late=self.by if self.act == "delay" else 0.0,
            loses=self.act == "lose answer",
        )

    def __str__(self) -> str:
        """For a person: ``login answered 503, the first 2``."""
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
