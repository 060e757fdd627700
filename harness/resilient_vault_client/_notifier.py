"""Hands events to the log and to the application's callback."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator

from resilient_vault_client._errors import RoleLocked
from resilient_vault_client.events import (
    Authenticated,
    Event,
    EventHandler,
    FellBack,
    Leased,
    LeaseRenewalFailed,
    LeaseRenewed,
    LoginFailed,
    OutageBegan,
    Recovered,
    RenewalFailed,
    Renewed,
    ServedStale,
    TokenRevoked,
)

_log = logging.getLogger("resilient_vault_client")

_LEVELS: dict[type[Event], int] = {
    Renewed: logging.DEBUG,
    TokenRevoked: logging.DEBUG,
    LeaseRenewed: logging.DEBUG,
    Authenticated: logging.INFO,
    Leased: logging.INFO,
    Recovered: logging.INFO,
}

# One line an outage says it; one line a read would bury it.
_FREQUENT = (ServedStale, FellBack)

_WITH_ERROR = (LoginFailed, RenewalFailed, LeaseRenewalFailed, OutageBegan, ServedStale, FellBack)

# Of so many paths an outage is told in the log, each once; beyond that it is no news.
_MOST_WARNINGS = 100


class Notifier:
    """Tells what happens; neither the log nor the callback can do harm.

    Args:
        handler: The callback. It runs in the thread in which the event happened, so it should be
            quick.
    """

    def __init__(self, handler: EventHandler | None) -> None:
        self._handler = handler
        self._warned: set[tuple[str, str]] = set()
        self._waiting = threading.local()

    def notify(self, event: Event) -> None:
        """Log the event and pass it on; whatever the callback raises is logged and forgotten."""
        event = _from_outside(event)
        _log.log(self._level(event), "vault: %s", event)
        self.pass_on(event)

    def pass_on(self, event: Event) -> None:
        """Have the callback hear of an event that is in the log."""
        waiting: list[Event] | None = getattr(self._waiting, "events", None)
        if waiting is None:
            self._tell(event)
        elif not isinstance(event, OutageBegan):
            waiting.append(event)
        else:
            # The outage before is over: heard after this one, that would seem to be said of this.
            over = [one for one in waiting if isinstance(one, Recovered)]
            waiting[:] = [one for one in waiting if not isinstance(one, Recovered)]
            for one in (*over, event):
                self._tell(one)

    @contextlib.contextmanager
    def later(self) -> Iterator[None]:
        """For a block that holds a lock: the callback hears at its end what happens in this thread.

        It may use the client, and would wait for the lock of its own thread. That an outage began
        is told at once all the same, since it may last as long as the block; before that, that the
        one before is over.
        """
        if getattr(self._waiting, "events", None) is not None:
            yield  # in the middle of another one, whose lock is held too
            return
        events: list[Event] = []
        try:
            self._waiting.events = events
            yield
        finally:
            self._waiting.events = None
            for event in events:
                self._tell(event)

    @contextlib.contextmanager
    def heard_by(self, other: Callable[[Event], bool]) -> Iterator[None]:
        """For a block that does what a call in another thread waits for.

        Args:
            other: Takes an event to that thread, which passes it on; False if nobody waits there.
        """
        try:
            self._waiting.other = other
            yield
        finally:
            self._waiting.other = None

    def _tell(self, event: Event) -> None:
        other: Callable[[Event], bool] | None = getattr(self._waiting, "other", None)
        if self._handler is None or (other is not None and other(event)):
            return
        try:
            self._handler(event)
        except Exception as error:  # noqa: BLE001 - the application's callback may raise anything
            _log.warning("vault: the event callback raised %s", type(error).__name__)

    def _level(self, event: Event) -> int:
        if isinstance(event, Recovered):
            self._warned.clear()
        if isinstance(event, _FREQUENT):
            told = (event.name, event.path)
            if told in self._warned or len(self._warned) >= _MOST_WARNINGS:
                return logging.DEBUG
            self._warned.add(told)
        if isinstance(event, LoginFailed) and isinstance(event.error, RoleLocked):
            return logging.ERROR
        return _LEVELS.get(type(event), logging.WARNING)


def _from_outside(event: Event) -> Event:
    """The event with its error as an application may see it: without the frames of the client."""
    if isinstance(event, _WITH_ERROR):
        return dataclasses.replace(event, error=event.error.again())
    return event
