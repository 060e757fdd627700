"""What a fault is: one thing broken on purpose, and the marks by which it is recognised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vault_harness.errors import HarnessDefect


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The marks that a fault leaves on a client's traffic. One of them is enough.

    Attributes:
        statuses: Answers with one of these statuses while the fault lasts.
        kinds: Restricts `statuses` and `unanswered` to these kinds of request; empty means all.
        unanswered: A request that got no complete answer, or an operation that failed or was stale.
        late: An answer that took at least that many seconds.
        toxics: Names of toxics that acted on a connection.
        token: A request that carried the token of this accessor, refused.
        refused: A TLS handshake that one side refused.
        turned_away: A connection that was opened and carried no request: nobody is there to answer.
        swallowed: What the client sent over a connection that is dead, and that nobody heard.
        stubbed: An answer that the harness gave in Vault's place.
        interference: A request on which the interference of this name acted.
        lingers: The mark may appear after the fault's end (a revoked token stays revoked).
        answers_late: No mark, but what it does to answers that Vault has given: seconds by which
            they reach the client later; infinite where they may come at its end, or never.
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
    """What counts requests."""

    @property
    def taken(self) -> int:
        """On how many requests it has acted."""


@dataclass
class Fault:
    """One fault in a history. Times are seconds on the history's clock.

    Attributes:
        name: What was broken, as a person would say it: ``vault sealed``.
        signature: The marks by which the vacuity guard recognises it.
        detail: Parameters worth a line in a report; never a secret.
        began: When it was in force.
        ended: When it was undone; None while it lasts.
        optional: The verdict does not depend on whether it touched the subject.
        counter: What counts the requests on which it acts; None where it acts on no single one.
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
        """On how many requests it has acted; 0 where it acts on no single one."""
        return self.counter.taken if self.counter is not None else 0

    @property
    def end(self) -> float:
        """When it was undone.

        Raises:
            HarnessDefect: It still lasts.
        """
        if self.ended is None:
            raise HarnessDefect(f"fault {self.name} was taken for undone while it lasts")
        return self.ended

    @property
    def length(self) -> float:
        """Seconds that it lasted."""
        return self.end - self.began

    def over(self, seconds: float = 0.0) -> float:
        """The time that many seconds after it was undone."""
        return self.end + seconds


class Journal(Protocol):
    """Where faults are noted. A scenario's history is one; so is a list in a test."""

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
        """Note that it is undone."""
