"""A fault: one thing broken on purpose, and the marks by which it is recognised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vault_harness.errors import HarnessDefect


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The marks that a fault leaves on a client's traffic. One of them is enough.

    Attributes:
        statuses: An answer with one of these statuses while the fault lasts.
        kinds: The kinds of request for `statuses` and `unanswered`; empty means all.
        unanswered: A request without a complete answer, or an operation that failed or was stale.
        late: An answer that took at least this many seconds.
        toxics: Names of toxics that acted on a connection.
        token: A refused request with the token of this accessor.
        refused: A TLS handshake that one side refused.
        turned_away: A connection that was opened and carried no request, because no server answers.
        swallowed: Data that the client sent over a dead connection.
        stubbed: An answer that the harness gave in Vault's place.
        interference: A request on which the interference of this name acted.
        lingers: The mark may appear after the fault's end (a revoked token stays revoked).
        answers_late: Not a mark: seconds by which Vault's answers reach the client late; infinite
            if they may come at the fault's end, or never.
    """

    statuses: frozenset[int] = frozenset()
    kinds: frozenset[str] = frozenset()
    unanswered: bool = False
    late: float | None = None
    toxics: frozenset[str] = frozenset()
    token: str | None = None
    refused: bool = False
    turned_away: bool = False
    swallowed: bool = False
    stubbed: bool = False
    interference: str | None = None
    lingers: bool = False
    answers_late: float = 0.0


class Counter(Protocol):
    """Counts requests."""

    @property
    def taken(self) -> int:
        """The number of requests on which it has acted."""


@dataclass
class Fault:
    """One fault in a history. Times are seconds on the history's clock.

    Attributes:
        name: The broken thing in a person's words: ``vault sealed``.
        signature: The marks by which the vacuity guard recognises it.
        detail: Parameters for the report; never a secret.
        began: When it took effect.
        ended: When it was undone; None while it lasts.
        optional: Whether the verdict does not depend on its touching the subject.
        counter: Counts the requests on which it acts; None if it does not act on single requests.
    """

    name: str
    signature: Signature
    detail: Mapping[str, object] = field(default_factory=dict)
    began: float = 0.0
    ended: float | None = None
    optional: bool = False
    counter: Counter | None = field(default=None, repr=False, compare=False)

    @property
    def touched(self) -> int:
        """The number of requests on which it has acted; 0 if it does not act on single requests."""
        return self.counter.taken if self.counter is not None else 0

    @property
    def end(self) -> float:
        """When it was undone; raises `HarnessDefect` while it lasts."""
        if self.ended is None:
            raise HarnessDefect(f"fault {self.name} still lasts, and its end was asked for")
        return self.ended

    @property
    def length(self) -> float:
        """Seconds that it lasted."""
        return self.end - self.began

    def over(self, seconds: float = 0.0) -> float:
        """Return the time that many seconds after it was undone."""
        return self.end + seconds


class FaultLog(Protocol):
    """Notes faults: a scenario's history, or a list in a test."""

    def begin_fault(
        self,
        name: str,
        signature: Signature,
        detail: Mapping[str, object] | None = None,
        *,
        optional: bool = False,
    ) -> Fault:
        """Note that a fault is in force from now on."""

    def end_fault(self, fault: Fault) -> None:
        """Note that a fault is undone."""
