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
from dataclasses import dataclass

from resilient_vault_client._backoff import Backoff
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import ClientClosed, VaultUnavailable
from resilient_vault_client._notifier import Notifier
from resilient_vault_client.events import OutageBegan, Recovered

EVERYWHERE = ""

# Seconds after which an outage of one scope is forgotten that nobody has probed since it was due.
_FORGET_AFTER = 300.0


@dataclass
class Outage:
    """One outage, as long as it lasts.

    Attributes:
        since: When it began, on the monotonic clock.
        error: What was answered last.
        pause: The pause before the next attempt.
        next_attempt: When that is due.
        told: Until when Vault has asked to wait.
        prober: The thread that makes it right now.
        alone: Whether Vault has answered something else since it failed last.
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
    """Leave to make one attempt.

    Attributes:
        scope: What is asked for.
        at: When leave was given.
        probes: The outages of which this attempt finds out whether they last.
        told: Whether it was said to have failed while it goes on.
    """

    scope: str
    at: float
    probes: tuple[Outage, ...] = ()
    told: bool = False


class Circuit:
    """Lets attempts through while all is well, and one at a time while it is not.

    Args:
        backoff: How long to pause.
        notifier: Who hears of outages.
    """

    def __init__(self, backoff: Backoff, notifier: Notifier) -> None:
        self._backoff = backoff
        self._notifier = notifier
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

    def admit(self, scope: str, deadline: Deadline, patience: float) -> Permit:
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
                give_up = min(deadline.at, max(o.since for o in busy) + patience)
                due = max(o.next_attempt if o.prober is None else now for o in busy)
                # Its own attempt is one that a signal has interrupted, in whose handler this is.
                own = any(o.prober == me for o in busy)
                if own or now >= give_up or due > give_up:
                    raise _told_again(busy[0], now)
                self._changed.wait((due if busy[0].prober is None else give_up) - now)

    def known_failure(self, patience: float) -> VaultUnavailable | None:
        """What is known of an outage that is older than ``patience`` seconds, if there is one."""
        outage = self.outage
        now = time.monotonic()
        if outage is None or now < outage.since + patience:
            return None
        return _told_again(outage, now)

    def succeeded(self, permit: Permit) -> None:
        """Vault answered, whatever it said.

        An answer that was on its way takes nothing from a wait that Vault has asked for meanwhile.
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
        """Vault gave no usable answer."""
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
        """The attempt ended without telling anything about Vault."""
        if permit.probes:
            with self._changed:
                self._release(permit)

    def rest(self, seconds: float) -> None:
        """Wait, unless the client is closed meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)

    def close(self) -> None:
        """Wake everybody who waits, and let nobody through any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _open(self, permit: Permit, error: VaultUnavailable, now: float) -> bool:
        """Note what is out; True if that is news about the whole server."""
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
        """Drop what nobody has asked for in a long time, so that scopes do not pile up."""
        for scope, outage in list(self._outages.items()):
            due = outage.next_attempt
            unasked = outage.prober is None and due + _FORGET_AFTER < now
            if scope != EVERYWHERE and unasked:
                self._outages.pop(scope, None)

    def _release(self, permit: Permit) -> None:
        for outage in permit.probes:
            outage.prober = None
        self._changed.notify_all()


def _told_again(outage: Outage, now: float) -> VaultUnavailable:
    error = outage.error.again()
    error.retry_in = max(0.0, outage.next_attempt - now)
    error.echo = True
    error.sent = False
    return error
