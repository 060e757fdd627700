"""Hands events to the log and to the application's callback."""

from __future__ import annotations

import dataclasses
import logging

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

    def notify(self, event: Event) -> None:
        """Log the event and pass it on; whatever the callback raises is logged and forgotten."""
        event = _from_outside(event)
        _log.log(self._level(event), "vault: %s", event)
        if self._handler is None:
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
