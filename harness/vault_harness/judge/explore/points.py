"""Find the point in a client's life at which a request is sent.

A point is an event, not a time: "the second renewal" means the same on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from vault_harness.recorder.fault import Choice, Interference, RequestKind
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Exchange

Phase = Literal["start", "steady", "renewal due", "after a fault", "closing"]
"""``start`` lasts until three good reads, ``after a fault`` until `CALM` good answers in a row.

``renewal due`` is the second half of a token's life, and ``closing`` begins with `close`.
"""

Ordinal = Literal["first", "second", "later"]
Connection = Literal["new", "kept"]

PHASES: tuple[str, ...] = get_args(Phase)
ORDINALS: tuple[str, ...] = get_args(Ordinal)
CONNECTIONS: tuple[str, ...] = get_args(Connection)
KINDS: tuple[str, ...] = get_args(RequestKind)

DUE = 0.5
"""Share of a token's life after which its renewal is due."""

CALM = 5
"""Good answers in a row that end the phase after a fault."""

SECRET = "secret"  # noqa: S105 - a class of paths
"""Class of path of everything in the client's mount."""


@dataclass(frozen=True, order=True)
class Point:
    """A request's place in a client's life.

    Attributes:
        kind: What the request is for.
        path: The class of its path: ``secret``, or the path itself.
        ordinal: Its turn among requests of the same kind, path and phase.
        connection: Whether it is the first request of its connection; empty for either.
    """

    kind: str
    path: str
    phase: str
    ordinal: str
    connection: str = ""

    def fits(self, other: Point) -> bool:
        """Return whether a request at that point is meant by this point."""
        either = not self.connection or self.connection == other.connection
        return either and (self.kind, self.path, self.phase, self.ordinal) == (
            other.kind,
            other.path,
            other.phase,
            other.ordinal,
        )

    def __str__(self) -> str:
        where = {
            "start": "while it starts",
            "steady": "in the first half of a token's life",
            "renewal due": "when a renewal is due",
            "after a fault": "after that",
            "closing": "when it is closed",
        }[self.phase]
        which = "a later" if self.ordinal == "later" else f"the {self.ordinal}"
        on = f", on a {self.connection} connection" if self.connection else ""
        at = "" if self.path == SECRET or self.kind != "other" else f" of {self.path}"
        return f"{which} {self.kind}{at} {where}{on}"


class Watch(Interference):
    """Classifies each request as it arrives, and acts on none.

    Args:
        history: The history, whose last exchange is the request that the recorder asks about.
        is_steady: Returns whether the steady state was reached.
        fired: Returns when the last fault began; None if there was none.

    Attributes:
        points: The point of each request, by the number of its exchange.
        current: The point of the request that arrived last.
    """

    def __init__(
        self,
        history: History,
        *,
        mount: str,
        is_steady: Callable[[], bool],
        fired: Callable[[], float | None],
    ) -> None:
        super().__init__("explore watches", Choice())
        self.points: dict[int, Point] = {}
        self.current: Point | None = None
        self.exchange: Exchange | None = None
        self._history = history
        self._mount = mount
        self._is_steady = is_steady
        self._fired = fired
        self._counted: Counter[tuple[str, str, str]] = Counter()
        self._connections: set[int] = set()

    def takes(self, kind: RequestKind, path: str) -> bool:
        """Note the point of a request; never act on it."""
        exchange = self._history.exchanges[-1]
        phase = self._phase()
        name = SECRET if path.startswith(f"{self._mount}/") else path.partition("?")[0]
        key = (kind, name, phase)
        self._counted[key] += 1
        ordinal = ORDINALS[min(self._counted[key], 3) - 1]
        new = exchange.connection not in self._connections
        self._connections.add(exchange.connection)
        self.current = Point(kind, name, phase, ordinal, "new" if new else "kept")
        self.points[exchange.number], self.exchange = self.current, exchange
        return False

    def _phase(self) -> Phase:
        history = self._history
        if any(call.verb == "close" for call in history.operations):
            return "closing"
        fired = self._fired()
        if fired is not None and not _calm(history, fired):
            return "after a fault"
        if not self._is_steady():
            return "start"
        grants = [e for e in history.find("login", "renew") if e.good and e.ttl]
        if not grants:
            return "steady"
        last = grants[-1]
        age = history.now() - (last.ended or last.began)
        return "renewal due" if age >= DUE * (last.ttl or 0.0) else "steady"


def _calm(history: History, since: float) -> bool:
    """Return whether the last `CALM` answers since a moment were good and untouched."""
    after = [e for e in history.exchanges if e.began > since and e.ended is not None]
    last = after[-CALM:]
    return len(last) == CALM and all(e.good and e.interference is None for e in last)
