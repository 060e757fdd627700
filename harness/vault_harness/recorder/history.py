"""What subject, harness and server did in a scenario, on one clock.

The clock is this process's monotonic clock. The server's audit log and Toxiproxy use the time of
day, which `History.wall` converts. These times may differ by

- their resolution: a microsecond in an audit log, a millisecond in Toxiproxy;
- corrections of the time of day: at most 0.5 ms a second while it is slewed, any amount when it is
  set. `History.clock_gap` measures this, and the journal keeps it;
- for containers on another machine, the difference between the two machines' clocks.

Over 231 logins on two busy cores, the audit log and the recorder differed by 4 to 6 ms (median),
and by at most 0.17 s. The gap of a run's clocks was 2 us.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from vault_harness.recorder.fault import Fault, RequestKind, Signature
from vault_harness.recorder.observations import (
    AuditRecord,
    Exchange,
    Handshake,
    Mark,
    Operation,
    Outcome,
    Rotation,
    Stall,
    Swallowed,
    Touch,
    Use,
)
from vault_harness.recorder.witness import Witness

SLACK = 0.05
"""Seconds added to every bound on a time, since several threads and processes are involved."""

FIRST_ADDRESS = ""
"""The recorder's first address."""

LOOK = 0.25
"""Seconds between two checks for an early end of a wait."""


@dataclass
class History:
    """Everything that happened in one scenario, in seconds since it began; thread-safe."""

    started_wall: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    operations: list[Operation] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    connections: list[float] = field(default_factory=list)
    addresses: dict[int, str] = field(default_factory=dict)  # without the first
    handshakes: list[Handshake] = field(default_factory=list)
    swallowed: list[Swallowed] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    rotations: list[Rotation] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    audit: list[AuditRecord] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)
    touches_known: bool = True  # a real Toxiproxy does not report them
    stalls: list[Stall] = field(default_factory=list)
    waited: dict[str, float] = field(default_factory=dict)
    clients: int = 1  # a request does not show which client sent it
    frozen: bool = False
    witness: Witness | None = None

    def __post_init__(self) -> None:
        self._scenario = threading.get_ident()
        self._changed = threading.Condition()
        self._changes = 0
        self._operation_numbers = itertools.count(1)
        self._exchange_numbers = itertools.count(1)
        self._callers = 1

    def now(self) -> float:
        return time.monotonic() - self.started

    def wall(self, timestamp: float) -> float:
        """Convert a Unix time to this history's clock."""
        return timestamp - self.started_wall

    def clock_gap(self) -> float:
        """Return by how many seconds the time of day has moved against the monotonic clock."""
        return (time.time() - self.started_wall) - (time.monotonic() - self.started)

    def look_at_machine(self) -> None:
        if self.witness is not None and not self.frozen:
            now = time.monotonic()
            self.stalls = self.witness.seen(self.started, now, clock=self.started).stalls

    def lateness(self, since: float = 0.0, until: float | None = None) -> float:
        """Return the machine's longest standstill in ``[since, until]``."""
        self.look_at_machine()
        lengths = [
            stall.length
            for stall in self.stalls
            if stall.end >= since and (until is None or stall.at <= until)
        ]
        return max(lengths, default=0.0)

    def freeze(self) -> None:
        """Refuse further changes, for example by callers that are still busy."""
        self.look_at_machine()
        with self._changed:
            self.frozen = True
            self.operations = [replace(operation) for operation in self.operations]
            self.exchanges = [replace(exchange) for exchange in self.exchanges]
            self._notify()

    def reserve_callers(self, count: int) -> int:
        """Reserve consecutive numbers for callers; return the first, at least 1."""
        with self._changed:
            first, self._callers = self._callers, self._callers + count
            return first

    def begin_operation(
        self,
        verb: str,
        path: str = "",
        *,
        key: str = "",
        caller: int = 0,
        instance: int | None = None,
    ) -> Operation:
        with self._changed:
            number, began = next(self._operation_numbers), self.now()
            operation = Operation(
                number, verb, path, began, caller=caller, key=key, instance=instance
            )
            if not self.frozen:
                self.operations.append(operation)
            return operation

    def end_operation(
        self, operation: Operation, outcome: Outcome, *, value: str | None = None, message: str = ""
    ) -> None:
        with self._changed:
            operation.ended = self.now()
            operation.outcome, operation.value, operation.message = outcome, value, message
            self._notify()

    def begin_exchange(
        self, connection: int, method: str, path: str, kind: RequestKind
    ) -> Exchange:
        with self._changed:
            exchange = Exchange(
                next(self._exchange_numbers), connection, self.now(), method, path, kind
            )
            if not self.frozen:
                self.exchanges.append(exchange)
            self._notify()
            return exchange

    def end_exchange(self, exchange: Exchange) -> None:
        """Note that an answer is complete, or never will be."""
        with self._changed:
            exchange.ended = self.now()
            self._notify()

    def note_connection(self, address: str = FIRST_ADDRESS) -> int:
        with self._changed:
            if not self.frozen:
                self.connections.append(self.now())
                if address != FIRST_ADDRESS:
                    self.addresses[len(self.connections)] = address
            return len(self.connections)

    def address_of(self, connection: int) -> str:
        return self.addresses.get(connection, FIRST_ADDRESS)

    def note_handshake(
        self, connection: int, protocol: str | None = None, *, refused: str | None = None
    ) -> None:
        with self._changed:
            if not self.frozen:
                self.handshakes.append(Handshake(self.now(), connection, protocol, refused))
            self._notify()

    def note_swallowed(self, connection: int) -> None:
        """Note data over a connection that the client cannot know to be dead."""
        with self._changed:
            if not self.frozen:
                self.swallowed.append(Swallowed(self.now(), connection))
            self._notify()

    def begin_fault(
        self,
        name: str,
        signature: Signature,
        detail: Mapping[str, object] | None = None,
        *,
        optional: bool = False,
    ) -> Fault:
        with self._changed:
            fault = Fault(name, signature, dict(detail or {}), began=self.now(), optional=optional)
            if not self.frozen:
                self.faults.append(fault)
            self._notify()
            return fault

    def end_fault(self, fault: Fault) -> None:
        with self._changed:
            fault.ended = self.now()
            self._notify()

    def note_rotation(self, path: str, value: str) -> Rotation:
        """Note that the value labelled `value` is about to be written."""
        with self._changed:
            rotation = Rotation(self.now(), path, value)
            if not self.frozen:
                self.rotations.append(rotation)
            return rotation

    def end_rotation(self, rotation: Rotation) -> None:
        with self._changed:
            rotation.done = self.now()

    def note_use(self, began: float, credential: str, *, accepted: bool) -> Use:
        with self._changed:
            use = Use(began, self.now(), credential, accepted)
            if not self.frozen:
                self.uses.append(use)
            self._notify()
            return use

    def mark(self, text: str) -> Mark:
        with self._changed:
            mark = Mark(self.now(), text)
            if not self.frozen:
                self.marks.append(mark)
            return mark

    def wait_for(
        self, condition: Callable[[], bool], timeout: float, *, what: str = "an event"
    ) -> bool:
        """Wait until `condition` holds, at most `timeout` seconds; return whether it held.

        `what` names the wait in `waited`.
        """
        began = time.monotonic()
        try:
            return self._wait_for(condition, began + timeout)
        finally:
            if threading.get_ident() == self._scenario:
                self.waited[what] = self.waited.get(what, 0.0) + time.monotonic() - began

    def _wait_for(self, condition: Callable[[], bool], deadline: float) -> bool:
        while True:
            with self._changed:
                changes = self._changes
            # Without the lock: a condition may be slow or need the recorder.
            if condition():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with self._changed:
                if self._changes == changes:
                    self._changed.wait(min(left, 0.05))

    def let_pass(
        self, seconds: float, *, unless: Callable[[], bool] = lambda: False, what: str
    ) -> None:
        """Let `seconds` pass; `unless` ends this early, within `LOOK` seconds."""
        began = time.monotonic()
        try:
            while not unless() and (left := began + seconds - time.monotonic()) > 0:
                time.sleep(min(left, LOOK))
        finally:
            if threading.get_ident() == self._scenario:
                self.waited[what] = self.waited.get(what, 0.0) + time.monotonic() - began

    def _notify(self) -> None:
        self._changes += 1
        self._changed.notify_all()

    def find(
        self,
        *kinds: RequestKind,
        since: float = 0.0,
        until: float | None = None,
        where: Callable[[Exchange], bool] = lambda _: True,
    ) -> list[Exchange]:
        return [
            e
            for e in list(self.exchanges)
            if (not kinds or e.kind in kinds)
            and since <= e.began
            and (until is None or e.began <= until)
            and where(e)
        ]

    def calls(
        self,
        *verbs: str,
        since: float = 0.0,
        until: float | None = None,
        where: Callable[[Operation], bool] = lambda _: True,
    ) -> list[Operation]:
        return [
            o
            for o in list(self.operations)
            if (not verbs or o.verb in verbs)
            and since <= o.began
            and (until is None or o.began <= until)
            and where(o)
        ]

    def logins(self, *, since: float = 0.0, until: float | None = None) -> list[Exchange]:
        return self.find("login", since=since, until=until, where=lambda e: e.good)

    def last_token(self) -> Exchange | None:
        logins = self.logins()
        return logins[-1] if logins else None


def between(items: Iterable[float], begin: float, end: float) -> int:
    return sum(begin <= item <= end for item in items)
