"""Find the point in a client's life at which a request is sent.

A point is an event, not a time: "the second renewal" means the same on every machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from vault_harness.recorder.fault import Choice, Interference, RequestKind
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Exchange

Phase = Literal["start", "steady", "renewal due", "near max TTL", "after a fault", "closing"]
"""``start`` lasts until three good reads, ``after a fault`` until `CALM` good answers in a row.

``renewal due`` is the second half of a token's life. ``near max TTL`` begins when no renewal gives
a whole life any more.
"""

Ordinal = Literal["first", "second", "later"]
Connection = Literal["new", "kept"]

PHASES: tuple[str, ...] = get_args(Phase)
AFTER: Phase = "after a fault"
ORDINALS: tuple[str, ...] = get_args(Ordinal)
CONNECTIONS: tuple[str, ...] = get_args(Connection)
KINDS: tuple[str, ...] = get_args(RequestKind)

DUE = 0.5
"""Part of a token's life after which its renewal is due."""

CALM = 5
"""Good answers in a row that end ``after a fault``."""

SECRET = "secret"  # noqa: S105 - a class of paths
"""The class of all paths in the client's mount."""


@dataclass(frozen=True, order=True)
class Point:
    """A request's place in a client's life.

    Attributes:
        path: ``secret``, or the path itself.
        ordinal: Its turn among requests of the same kind, path and phase; after a fault, since that
            fault.
        connection: Whether it is the first request of its connection; empty for either.
    """

    kind: str
    path: str
    phase: str
    ordinal: str
    connection: str = ""

    def fits(self, other: Point) -> bool:
        either = not self.connection or self.connection == other.connection
        return either and (self.kind, self.path, self.phase, self.ordinal) == (
            other.kind,
            other.path,
            other.phase,
            other.ordinal,
        )

    def __str__(self) -> str:
        where = {
            "start": "at the start",
            "steady": "in the first half of a token's life",
            "renewal due": "when a renewal is due",
            "near max TTL": "near the max TTL",
            "after a fault": "after that",
            "closing": "at the close",
        }[self.phase]
        which = "a later" if self.ordinal == "later" else f"the {self.ordinal}"
        what = {"renew": "renewal", "revoke": "revocation"}.get(self.kind, self.kind)
        on = f" ({self.connection} connection)" if self.connection else ""
        at = "" if self.path == SECRET or self.kind != "other" else f" of {self.path}"
        return f"{which} {what}{at} {where}{on}"


class Watch(Interference):
    """Classifies each request as it arrives, and acts on none.

    Attributes:
        points: The point of each request, by the number of its exchange.
        current: The point of the request that arrived last.
    """

    def __init__(
        self,
        history: History,
        *,
        mount: str,
        max_ttl: float,
        is_steady: Callable[[], bool],
        fired: Callable[[], Sequence[float]],
    ) -> None:
        super().__init__("explore watches", Choice())
        self.points: dict[int, Point] = {}
        self.current: Point | None = None
        self.exchange: Exchange | None = None
        self._history = history
        self._mount = mount
        self._max_ttl = max_ttl
        self._is_steady = is_steady
        self._fired = fired
        self._counted: Counter[tuple[str, str, str, int]] = Counter()
        self._connections: set[int] = set()

    def takes(self, kind: RequestKind, path: str) -> bool:
        exchange = self._history.exchanges[-1]
        fired = self._fired()
        phase = self._phase(max(fired, default=None))
        name = SECRET if path.startswith(f"{self._mount}/") else path.partition("?")[0]
        key = (kind, name, phase, len(fired) if phase == AFTER else 0)
        self._counted[key] += 1
        ordinal = ORDINALS[min(self._counted[key], 3) - 1]
        new = exchange.connection not in self._connections
        self._connections.add(exchange.connection)
        self.current = Point(kind, name, phase, ordinal, "new" if new else "kept")
        self.points[exchange.number], self.exchange = self.current, exchange
        return False

    def _phase(self, fired: float | None) -> Phase:
        history = self._history
        if any(call.verb == "close" for call in history.operations):
            return "closing"
        if fired is not None and not _calm(history, fired):
            return AFTER
        if not self._is_steady():
            return "start"
        grants = [e for e in history.find("login", "renew") if e.good and e.ttl]
        if not grants:
            return "steady"
        logins = [e for e in grants if e.kind == "login"]
        if logins and _age(history, logins[-1]) >= self._max_ttl - (logins[-1].ttl or 0.0):
            return "near max TTL"
        last = grants[-1]
        return "renewal due" if _age(history, last) >= DUE * (last.ttl or 0.0) else "steady"


def _age(history: History, grant: Exchange) -> float:
    return history.now() - (grant.ended or grant.began)


def _calm(history: History, since: float) -> bool:
    after = [e for e in history.exchanges if e.began > since and e.ended is not None]
    last = after[-CALM:]
    return len(last) == CALM and all(e.good and e.interference is None for e in last)
