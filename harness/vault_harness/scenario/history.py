"""The history of a scenario: what subject, harness and server did, on one clock.

Operations, exchanges, faults, rotations and marks are noted with the monotonic clock of this
process. Two witnesses speak of the time of day: the server's audit log and Toxiproxy. `History`
samples both clocks in one moment when it begins, and `History.wall` turns one into the other; on
the process engine all of them read the same clock of the same machine. They may differ by

- the resolution of what is written down: a microsecond in an audit log, a millisecond in Toxiproxy;
- what the time of day was put right by since the history began: at most 0.5 ms a second while it
  is slewed, and anything when it is set. `History.clock_gap` measures it, and the journal keeps it;
- for containers on another machine, the difference between the two machines' clocks.

Measured over 231 logins on two busy cores: the audit log's time of a login and the recorder's are
4 to 6 ms apart (median) and never more than 0.17 s, and the gap of a run's clocks was 2 us.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from vault_harness.faults import Fault, RequestKind, Signature
from vault_harness.scenario.observations import (
    AuditRecord,
    Crowding,
    Exchange,
    Handshake,
    Mark,
    Operation,
    Outcome,
    Rotation,
    Stall,
    Starved,
    Swallowed,
    Touch,
    Use,
)

GRAIN = 0.03
"""Seconds that any bound on a time is granted: several threads hand on what is timed."""

FIRST_ADDRESS = ""
"""Stands for the address by which clients reach the recorder from the start, whatever it is."""

LOOK = 0.25
"""Seconds from one look to the next at whether there is a reason to let no more time pass."""

HOPS = 4
"""How many steps of one request a busy machine may hold up, one after the other."""


@dataclass
class History:
    """Everything that happened in one scenario. Safe to write from several threads.

    Times are seconds since the history began, from the monotonic clock; `wall` turns the audit
    log's wall-clock times into them.
    """

    started_wall: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    operations: list[Operation] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    connections: list[float] = field(default_factory=list)
    addresses: dict[int, str] = field(default_factory=dict)  # of connections by another than first
    handshakes: list[Handshake] = field(default_factory=list)
    swallowed: list[Swallowed] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    rotations: list[Rotation] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    audit: list[AuditRecord] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)
    touches_known: bool = True  # a real Toxiproxy does not tell them
    stalls: list[Stall] = field(default_factory=list)
    crowding: list[Crowding] = field(default_factory=list)
    starved: list[Starved] = field(default_factory=list)
    waited: dict[str, float] = field(default_factory=dict)
    clients: int = 1  # which all look alike: no request tells whose it is
    frozen: bool = False

    def __post_init__(self) -> None:
        self._scenario = threading.get_ident()
        self._changed = threading.Condition()
        self._changes = 0
        self._operation_numbers = itertools.count(1)
        self._exchange_numbers = itertools.count(1)
        self._callers = 1

    # The clock

    def now(self) -> float:
        """Seconds since the history began."""
        return time.monotonic() - self.started

    def wall(self, timestamp: float) -> float:
        """A Unix time in seconds, on this history's clock."""
        return timestamp - self.started_wall

    def clock_gap(self) -> float:
        """Seconds by which the time of day has moved against the monotonic clock meanwhile."""
        return (time.time() - self.started_wall) - (time.monotonic() - self.started)

    # The machine

    def note_stall(self, at: float, length: float) -> None:
        """Note that this process came late; `at` is on the monotonic clock itself."""
        with self._changed:
            if not self.frozen:
                self.stalls.append(Stall(at - self.started, length))

    def note_crowding(self, at: float, until: float, waited: float) -> None:
        """Note that threads waited for a core; both times are on the monotonic clock itself."""
        with self._changed:
            if not self.frozen:
                self.crowding.append(Crowding(at - self.started, until - self.started, waited))

    def note_starvation(self, at: float, until: float, waited: float) -> None:
        """Note that the subject waited for a core; the times are on the monotonic clock itself."""
        with self._changed:
            if not self.frozen:
                self.starved.append(Starved(at - self.started, until - self.started, waited))

    def lateness(self, since: float = 0.0, until: float | None = None) -> float:
        """The longest while, in seconds, that the machine stood still in ``[since, until]``."""
        return max((stall.length for stall in self._stalls_in(since, until)), default=0.0)

    def slack(self, since: float = 0.0, until: float | None = None) -> float:
        """Seconds to be granted to a bound on a time in ``[since, until]``.

        `GRAIN` on an idle machine; on a busy one what it stood still meanwhile, up to `HOPS` times
        the longest while.
        """
        lengths = [stall.length for stall in self._stalls_in(since, until)]
        return GRAIN + min(sum(lengths), HOPS * max(lengths, default=0.0))

    def _stalls_in(self, since: float, until: float | None) -> list[Stall]:
        return [
            stall
            for stall in list(self.stalls)
            if stall.end >= since and (until is None or stall.at <= until)
        ]

    # Writers

    def freeze(self) -> None:
        """Let nobody write any more: a caller still at it must not change what is judged."""
        with self._changed:
            self.frozen = True
            self.operations = [replace(operation) for operation in self.operations]
            self.exchanges = [replace(exchange) for exchange in self.exchanges]
            self._notify()

    def reserve_callers(self, count: int) -> int:
        """Numbers for so many callers, in one piece; the first of them.

        Zero is for the calls that a scenario makes by itself.
        """
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
        """Note that the subject was called."""
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
        """Note how that call ended."""
        with self._changed:
            operation.ended = self.now()
            operation.outcome, operation.value, operation.message = outcome, value, message
            self._notify()

    def begin_exchange(
        self, connection: int, method: str, path: str, kind: RequestKind
    ) -> Exchange:
        """Note that a request reached the recorder."""
        with self._changed:
            exchange = Exchange(
                next(self._exchange_numbers), connection, self.now(), method, path, kind
            )
            if not self.frozen:
                self.exchanges.append(exchange)
            self._notify()
            return exchange

    def end_exchange(self, exchange: Exchange) -> None:
        """Note that its answer is complete, or will never be. The caller has filled it in."""
        with self._changed:
            exchange.ended = self.now()
            self._notify()

    def note_connection(self, address: str = FIRST_ADDRESS) -> int:
        """Note a new connection to the recorder, by which of its addresses; its ordinal."""
        with self._changed:
            if not self.frozen:
                self.connections.append(self.now())
                if address != FIRST_ADDRESS:
                    self.addresses[len(self.connections)] = address
            return len(self.connections)

    def address_of(self, connection: int) -> str:
        """By which address of the recorder a connection came, by its ordinal."""
        return self.addresses.get(connection, FIRST_ADDRESS)

    def note_handshake(
        self, connection: int, protocol: str | None = None, *, refused: str | None = None
    ) -> None:
        """Note how a TLS handshake with a client ended."""
        with self._changed:
            if not self.frozen:
                self.handshakes.append(Handshake(self.now(), connection, protocol, refused))
            self._notify()

    def note_swallowed(self, connection: int) -> None:
        """Note that a client sent something over a connection that is dead, as it cannot know."""
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
        """Note that a fault is in force from now on."""
        with self._changed:
            fault = Fault(name, signature, dict(detail or {}), began=self.now(), optional=optional)
            if not self.frozen:
                self.faults.append(fault)
            self._notify()
            return fault

    def end_fault(self, fault: Fault) -> None:
        """Note that a fault is undone."""
        with self._changed:
            fault.ended = self.now()
            self._notify()

    def note_rotation(self, path: str, value: str) -> Rotation:
        """Note that the value labelled `value` is about to be written at `path`."""
        with self._changed:
            rotation = Rotation(self.now(), path, value)
            if not self.frozen:
                self.rotations.append(rotation)
            return rotation

    def end_rotation(self, rotation: Rotation) -> None:
        """Note that it is written."""
        with self._changed:
            rotation.done = self.now()

    def note_use(self, began: float, credential: str, *, accepted: bool) -> Use:
        """Note a login at the database that has just ended."""
        with self._changed:
            use = Use(began, self.now(), credential, accepted)
            if not self.frozen:
                self.uses.append(use)
            self._notify()
            return use

    def mark(self, text: str) -> Mark:
        """Note a remark."""
        with self._changed:
            mark = Mark(self.now(), text)
            if not self.frozen:
                self.marks.append(mark)
            return mark

    # Readers

    def wait_for(
        self, condition: Callable[[], bool], timeout: float, *, what: str = "an event"
    ) -> bool:
        """Wait until `condition` holds, looking at each change and at least 20 times a second.

        Args:
            condition: Looked at.
            timeout: Seconds.
            what: By which name `waited` has it, in few words.

        Returns:
            Whether it held before `timeout` seconds had passed.
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
            # Asked without the lock: a condition may take its time, or need the recorder to answer.
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
        """Let time pass, whatever happens meanwhile.

        Args:
            seconds: How long.
            unless: Ends it sooner, within `LOOK` seconds.
            what: By which name `waited` has it, in few words.
        """
        began = time.monotonic()
        try:
            while not unless() and (left := began + seconds - time.monotonic()) > 0:
                time.sleep(min(left, LOOK))
        finally:
            if threading.get_ident() == self._scenario:
                self.waited[what] = self.waited.get(what, 0.0) + time.monotonic() - began

    def _notify(self) -> None:
        """Wake whoever waits; called with the lock held."""
        self._changes += 1
        self._changed.notify_all()

    def find(
        self,
        *kinds: RequestKind,
        since: float = 0.0,
        until: float | None = None,
        where: Callable[[Exchange], bool] = lambda _: True,
    ) -> list[Exchange]:
        """Exchanges of these kinds (all, if none is named) that began in ``[since, until]``."""
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
        """Operations of these verbs (all, if none is named) that began in ``[since, until]``."""
        return [
            o
            for o in list(self.operations)
            if (not verbs or o.verb in verbs)
            and since <= o.began
            and (until is None or o.began <= until)
            and where(o)
        ]

    def logins(self, *, since: float = 0.0, until: float | None = None) -> list[Exchange]:
        """Logins that Vault accepted."""
        return self.find("login", since=since, until=until, where=lambda e: e.good)

    def last_token(self) -> Exchange | None:
        """The last accepted login."""
        logins = self.logins()
        return logins[-1] if logins else None


def between(items: Iterable[float], begin: float, end: float) -> int:
    """How many of these times lie in ``[begin, end]``."""
    return sum(begin <= item <= end for item in items)
