"""Make attempts, and repeat them if that is harmless."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from resilient_vault_client._deadline import Backoff, Deadline
from resilient_vault_client._errors import ClientClosed, VaultError, VaultTimeout, VaultUnavailable
from resilient_vault_client._translate import silence
from resilient_vault_client._transport import Api
from resilient_vault_client.events import Notifier, OutageBegan, Recovered

EVERYWHERE = ""

# Seconds; an outage of a scope that no thread probes is then forgotten.
_FORGET_AFTER = 300.0


@dataclass
class Outage:
    """One outage.

    Times are on the monotonic clock; `told` is the earliest that Vault named. `prober` is the
    thread of the current attempt. `alone`: Vault has since answered another request.
    """

    since: float
    error: VaultUnavailable
    pause: float
    next_attempt: float
    told: float = 0.0
    prober: int | None = None
    alone: bool = False


@dataclass
class Permit:
    """Permission to make one attempt.

    It finds out whether the outages in `probes` last. `told`: it was reported as failed while it
    still runs.
    """

    scope: str
    at: float
    probes: tuple[Outage, ...] = ()
    told: bool = False


class Circuit:
    """Let attempts through, but one at a time during an outage."""

    def __init__(self, backoff: Backoff, notifier: Notifier) -> None:
        self._backoff = backoff
        self._notifier = notifier
        self._changed = threading.Condition()
        self._outages: dict[str, Outage] = {}
        self._closed = False

    @property
    def outage(self) -> Outage | None:
        """Return the whole server's outage, or None."""
        return self._outages.get(EVERYWHERE)

    @property
    def closed(self) -> bool:
        return self._closed

    def admit(self, scope: str, deadline: Deadline) -> Permit:
        """Return a permit for one attempt, when that is due.

        Raise the outage's `VaultUnavailable`, with the next attempt in `retry_in`.
        """
        if not self._outages and not self._closed:
            return Permit(scope, time.monotonic())
        me = threading.get_ident()
        with self._changed:
            while True:
                if self._closed:
                    raise ClientClosed("the client is closed")
                now = time.monotonic()
                known = [self._outages.get(EVERYWHERE), self._outages.get(scope)]
                outages = [o for o in known if o is not None]
                busy = [o for o in outages if o.prober is not None or now < o.next_attempt]
                if not busy:
                    for outage in outages:
                        outage.prober = me
                    return Permit(scope, now, tuple(outages))
                give_up = min(deadline.at, max(o.since for o in busy) + deadline.patience)
                due = max(o.next_attempt if o.prober is None else now for o in busy)
                # A signal handler has interrupted this thread's own attempt.
                own = any(o.prober == me for o in busy)
                if own or now >= give_up or due > give_up:
                    raise _known_outage(busy[0], now)
                self._changed.wait((due if busy[0].prober is None else give_up) - now)

    def known_failure(self, patience: float) -> VaultUnavailable | None:
        """Return the error of an outage older than ``patience`` seconds, or None."""
        outage = self.outage
        now = time.monotonic()
        if outage is None or now < outage.since + patience:
            return None
        return _known_outage(outage, now)

    def succeeded(self, permit: Permit) -> None:
        """Note that Vault answered, with any status.

        An earlier request's answer does not shorten a wait that Vault has asked for since.
        """
        if not self._outages:
            return
        with self._changed:
            now = time.monotonic()
            ended: Outage | None = None
            for scope in {EVERYWHERE, permit.scope}:
                outage = self._outages.get(scope)
                if outage is None or outage.told > now:
                    continue
                self._outages.pop(scope, None)
                if scope == EVERYWHERE:
                    ended = outage
            for outage in list(self._outages.values()):
                outage.alone = True
            self._release(permit)
        if ended is not None:
            self._notifier.notify(Recovered(seconds=now - ended.since))

    def failed(self, permit: Permit, error: VaultUnavailable) -> None:
        if not self._backoff.active:
            return
        with self._changed:
            now = time.monotonic()
            error = error.again()  # without the frames of this attempt, which hold the request
            for outage in permit.probes:
                outage.error = error
                outage.alone = False
                outage.pause = self._backoff.next(outage.pause)
                outage.next_attempt = now + outage.pause
            began = self._open(permit, error, now)
            if error.retry_in is not None:
                for outage in list(self._outages.values()):
                    outage.told = max(outage.told, now + error.retry_in)
                    outage.next_attempt = max(outage.next_attempt, outage.told)
            self._release(permit)
        if began:
            self._notifier.notify(OutageBegan(error=error))

    def dropped(self, permit: Permit) -> None:
        """Note that an attempt ended and says nothing about Vault."""
        if permit.probes:
            with self._changed:
                self._release(permit)

    def rest(self, seconds: float) -> None:
        """Wait, but stop when the client is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)

    def close(self) -> None:
        """Wake every waiting thread, and refuse further attempts."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _open(self, permit: Permit, error: VaultUnavailable, now: float) -> bool:
        """Record what is out; return True if an outage of the whole server begins."""
        pause = self._backoff.next(None, first=error.first_pause)
        new = Outage(since=now, error=error, pause=pause, next_attempt=now + pause)
        others = any(
            scope not in (EVERYWHERE, permit.scope) and not outage.alone
            for scope, outage in list(self._outages.items())
        )
        if not error.everywhere:
            self._forget_old(now)
            self._outages.setdefault(permit.scope, new)
            if not others:
                return False
        if EVERYWHERE in self._outages:
            return False
        self._outages[EVERYWHERE] = new
        return True

    def _forget_old(self, now: float) -> None:
        """Scopes must not pile up that no thread asks for."""
        for scope, outage in list(self._outages.items()):
            due = outage.next_attempt
            unasked = outage.prober is None and due + _FORGET_AFTER < now
            if scope != EVERYWHERE and unasked:
                self._outages.pop(scope, None)

    def _release(self, permit: Permit) -> None:
        for outage in permit.probes:
            outage.prober = None
        self._changed.notify_all()


def _known_outage(outage: Outage, now: float) -> VaultUnavailable:
    error = outage.error.again()
    error.retry_in = max(0.0, outage.next_attempt - now)
    error.echo = True
    error.sent = False
    return error


T = TypeVar("T")


def always(error: VaultUnavailable) -> bool:
    """For a request that may be made twice, such as a read."""
    del error
    return True


def never(error: VaultUnavailable) -> bool:
    """For a request that may have worked without an answer, such as a write."""
    del error
    return False


def unless_sent(error: VaultUnavailable) -> bool:
    """For a request that counts once sent, such as a login."""
    return not error.sent


class Retrier:
    """Make attempts, and repeat them if that is harmless.

    ``timeout`` is for one call; a timeout after much less time proves nothing.
    """

    def __init__(
        self, circuit: Circuit, backoff: Backoff, *, timeout: float, address: str = "Vault"
    ) -> None:
        self._circuit = circuit
        self.known_failure = circuit.known_failure
        self._backoff = backoff
        self._fair = timeout / 4
        self._address = address

    def run(
        self,
        operation: Callable[[], T],
        *,
        scope: str,
        deadline: Deadline,
        repeat: Callable[[VaultUnavailable], bool],
    ) -> T:
        """Return the result of ``operation``, after as many attempts as needed and time allows.

        Args:
            operation: One attempt, which ends by the deadline and raises the client's own errors.
            scope: What is requested.
            repeat: Whether a further attempt is harmless after this error.
        """
        attempts = 0
        while True:
            permit = self._circuit.admit(scope, deadline)
            attempts += 1
            try:
                return self._attempt(permit, operation, deadline)
            except VaultUnavailable as failure:
                most = failure.most_attempts
                tried_enough = most is not None and attempts >= most
                # After a timeout there is no time for another attempt.
                late = isinstance(failure, VaultTimeout) or deadline.passed
                if tried_enough or late or not self._backoff.active or not repeat(failure):
                    raise

    def _attempt(self, permit: Permit, operation: Callable[[], T], deadline: Deadline) -> T:
        began, budget = time.monotonic(), deadline.remaining()
        try:
            deadline.attend(lambda: self._unanswered(permit, budget))
            try:
                result = operation()
            finally:
                deadline.attend(None)
        except VaultUnavailable as failure:
            if self._circuit.closed:
                raise ClientClosed("the client was closed meanwhile") from failure
            if permit.told:
                raise  # it counted as failed when its call was over
            waited = max(budget, deadline.at - began)  # it may have outlived its call
            if isinstance(failure, VaultTimeout) and self._proves_nothing(permit, waited):
                raise
            self._circuit.failed(permit, failure)
            raise
        except VaultError as error:
            if error.sent or error.status is not None:
                self._circuit.succeeded(permit)
            else:
                self._circuit.dropped(permit)  # raised before a request, so Vault was not asked
            raise
        except BaseException:
            self._circuit.dropped(permit)
            raise
        self._circuit.succeeded(permit)
        return result

    def _unanswered(self, permit: Permit, budget: float) -> VaultTimeout:
        """Count a running attempt as failed, because its call is over."""
        error = silence(self._address)
        if not self._circuit.closed and not self._proves_nothing(permit, budget):
            self._circuit.failed(permit, error)
            permit.told, permit.probes = True, ()
        return error

    def _proves_nothing(self, permit: Permit, waited: float) -> bool:
        """Return whether the time was too short to show that Vault is slow."""
        return waited < self._fair and not permit.probes


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a client's parts share to ask Vault.

    ``timeout`` is in seconds. Without ``threaded``, calls log in and renew.
    """

    api: Api
    retrier: Retrier
    circuit: Circuit
    backoff: Backoff
    notifier: Notifier
    timeout: float
    threaded: bool
