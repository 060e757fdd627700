"""What all threads of a client know together about an outage.

Without it each thread would find out by itself, again and again, and a hundred of them would be a
storm. When an attempt fails, the next one has its time, and one thread makes it. The others wait
for what it finds, as long as they have patience, or get the error that is known.

An outage of the whole server counts for everything. A server's own error (500) may concern only
what was asked for, so it counts for that alone, until something else fails in the same way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from resilient_vault_client._backoff import Backoff
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import ClientClosed, VaultError, VaultTimeout, VaultUnavailable
from resilient_vault_client.events import OutageBegan, Recovered, Teller

T = TypeVar("T")

EVERYWHERE = ""


@dataclass
class Outage:
    """One outage, as long as it lasts.

    Attributes:
        since: When it began, on the monotonic clock.
        error: What was answered last.
        pause: The pause before the next attempt.
        next_attempt: When that is due.
        probing: Whether somebody makes it right now.
        alone: Whether Vault has answered something else since it failed last.
    """

    since: float
    error: VaultUnavailable
    pause: float
    next_attempt: float
    probing: bool = False
    alone: bool = False


@dataclass(frozen=True)
class Ticket:
    """Leave to make one attempt.

    Attributes:
        scope: What is asked for.
        at: When leave was given.
        probes: The outages of which this attempt finds out whether they last.
    """

    scope: str
    at: float
    probes: tuple[Outage, ...] = ()


class Circuit:
    """Lets attempts through while all is well, and one at a time while it is not.

    Args:
        backoff: How long to pause.
        teller: Who hears of outages.
    """

    def __init__(self, backoff: Backoff, teller: Teller) -> None:
        self._backoff = backoff
        self._teller = teller
        self._changed = threading.Condition()
        self._outages: dict[str, Outage] = {}
        self._closed = False

    @property
    def outage(self) -> Outage | None:
        """The outage of the whole server, if there is one."""
        return self._outages.get(EVERYWHERE)

    @property
    def closed(self) -> bool:
        """Whether the client was closed."""
        return self._closed

    def admit(self, scope: str, deadline: Deadline, patience: float) -> Ticket:
        """Leave to make an attempt, at once or when it is due.

        Args:
            scope: What is asked for.
            deadline: When waiting ends in any case.
            patience: How many seconds after its beginning an outage is worth waiting for.

        Raises:
            VaultUnavailable: The outage lasts; `retry_in` says when the next attempt is due.
            ClientClosed: The client was closed meanwhile.
        """
        if not self._outages and not self._closed:
            return Ticket(scope, time.monotonic())
        with self._changed:
            while True:
                if self._closed:
                    raise ClientClosed("the client is closed")
                now = time.monotonic()
                outages = [self._outages[s] for s in (EVERYWHERE, scope) if s in self._outages]
                busy = [o for o in outages if o.probing or now < o.next_attempt]
                if not busy:
                    for outage in outages:
                        outage.probing = True
                    return Ticket(scope, now, tuple(outages))
                give_up = min(deadline.at, max(o.since for o in busy) + patience)
                due = max(now if o.probing else o.next_attempt for o in busy)
                if now >= give_up or due > give_up:
                    raise _told_again(busy[0], now)
                self._changed.wait((give_up if busy[0].probing else due) - now)

    def known_failure(self, patience: float) -> VaultUnavailable | None:
        """What is known of an outage that is older than ``patience`` seconds, if there is one."""
        outage = self.outage
        now = time.monotonic()
        if outage is None or now < outage.since + patience:
            return None
        return _told_again(outage, now)

    def succeeded(self, ticket: Ticket) -> None:
        """Vault answered, whatever it said."""
        if not self._outages:
            return
        with self._changed:
            ended = [self._outages.pop(s, None) for s in (EVERYWHERE, ticket.scope)]
            for outage in self._outages.values():
                outage.alone = True
            self._release(ticket)
        if ended[0] is not None:
            self._teller.tell(Recovered(seconds=time.monotonic() - ended[0].since))

    def failed(self, ticket: Ticket, error: VaultUnavailable) -> None:
        """Vault gave no usable answer."""
        if not self._backoff.active:
            return
        with self._changed:
            now = time.monotonic()
            for outage in ticket.probes:
                outage.error = error
                outage.alone = False
                outage.pause = self._backoff.next(outage.pause)
                outage.next_attempt = now + outage.pause
            began = self._open(ticket, error, now)
            if error.retry_in is not None:
                for outage in self._outages.values():
                    outage.next_attempt = max(outage.next_attempt, now + error.retry_in)
            self._release(ticket)
        if began:
            self._teller.tell(OutageBegan(error=error))

    def dropped(self, ticket: Ticket) -> None:
        """The attempt ended without telling anything about Vault."""
        if ticket.probes:
            with self._changed:
                self._release(ticket)

    def close(self) -> None:
        """Wake everybody who waits, and let nobody through any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _open(self, ticket: Ticket, error: VaultUnavailable, now: float) -> bool:
        """Note what is out; True if that is news about the whole server."""
        pause = self._backoff.next(None)
        new = Outage(since=now, error=error, pause=pause, next_attempt=now + pause)
        others = any(
            scope not in (EVERYWHERE, ticket.scope) and not outage.alone
            for scope, outage in self._outages.items()
        )
        if not error.everywhere:
            self._outages.setdefault(ticket.scope, new)
            if not others:
                return False
        if EVERYWHERE in self._outages:
            return False
        self._outages[EVERYWHERE] = new
        return True

    def _release(self, ticket: Ticket) -> None:
        for outage in ticket.probes:
            outage.probing = False
        self._changed.notify_all()


class Caller:
    """Makes attempts under the circuit, and repeats what may be repeated.

    Args:
        circuit: What is known about outages.
        backoff: For its switch alone.
        timeout: What a call may take; an attempt with much less proves nothing by timing out.
    """

    def __init__(self, circuit: Circuit, backoff: Backoff, *, timeout: float) -> None:
        self._circuit = circuit
        self.known_failure = circuit.known_failure
        self._backoff = backoff
        self._fair = timeout / 4

    def run(
        self,
        operation: Callable[[], T],
        *,
        scope: str,
        deadline: Deadline,
        patience: float,
        repeat: Callable[[VaultUnavailable], bool],
    ) -> T:
        """What ``operation`` returns, after as many attempts as it takes and time allows.

        Args:
            operation: One attempt; it raises the client's own errors.
            scope: What is asked for.
            deadline: When it ends in any case; every socket obeys it.
            patience: How many seconds after its beginning an outage is worth waiting for.
            repeat: Whether a further attempt is harmless after this error.

        Raises:
            VaultError: What the last attempt raised.
        """
        attempts = 0
        failure: VaultError | None = None
        while True:
            if failure is not None and deadline.passed:
                raise failure
            ticket = self._circuit.admit(scope, deadline, patience)
            attempts += 1
            result: list[T] = []
            failure = self._attempt(ticket, result, operation, deadline)
            if failure is None:
                return result[0]
            if not isinstance(failure, VaultUnavailable):
                raise failure
            most = failure.most_attempts
            tried_enough = most is not None and attempts >= most
            # A timeout is the deadline's, so there is no time for another attempt.
            if tried_enough or isinstance(failure, VaultTimeout) or not self._backoff.active:
                raise failure
            if not repeat(failure):
                raise failure

    def _attempt(
        self, ticket: Ticket, result: list[T], operation: Callable[[], T], deadline: Deadline
    ) -> VaultError | None:
        """Make one attempt; its error is returned, so that it is raised outside of any handler."""
        budget = deadline.remaining()
        failure: VaultError | None = None
        finished = False
        try:
            with deadline.bound():
                result.append(operation())
            finished = True
        except VaultError as error:
            failure = error
            finished = True
        finally:
            if not finished:
                self._circuit.dropped(ticket)
        if not isinstance(failure, VaultUnavailable):
            self._circuit.succeeded(ticket)
        elif self._circuit.closed:
            return ClientClosed("the client was closed meanwhile")
        elif isinstance(failure, VaultTimeout) and budget < self._fair and not ticket.probes:
            pass  # who had hardly any time has not found out that Vault is slow
        else:
            self._circuit.failed(ticket, failure)
        return failure


def _told_again(outage: Outage, now: float) -> VaultUnavailable:
    error = outage.error.again()
    error.retry_in = max(0.0, outage.next_attempt - now)
    error.echo = True
    error.sent = False
    return error
