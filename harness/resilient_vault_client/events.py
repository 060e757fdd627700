"""The events that the client reports to a callback. No event carries a secret.

::

    Event                 .name is the snake-case name, e.g. "renewal_failed"
    ├── Authenticated     a login worked
    ├── LoginFailed       a login failed; its error is `RoleLocked` if nobody can log in
    ├── Renewed           the token was renewed
    ├── RenewalFailed     a renewal of the token failed
    ├── TokenLost         the token died early, or its time is over
    ├── TokenRevoked      the client revoked one of its tokens
    ├── OutageBegan       Vault gave no usable answer
    ├── Recovered         Vault answers again
    ├── ServedStale       a last good value stood in for an answer
    ├── FellBack          an environment variable stood in for an answer
    ├── Denied            the policy says no
    ├── Leased            Vault made a credential
    ├── LeaseRenewed      a lease was renewed
    ├── LeaseRenewalFailed   a renewal of a lease failed
    ├── LeaseLost         a lease died early
    ├── LeaseOrphaned     Vault may have made a credential that nobody knows
    └── RenewerRestarted  the thread that renews had died
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from resilient_vault_client._errors import RoleLocked, VaultError

EventHandler = Callable[["Event"], None]

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event in the life of the client."""

    @property
    def name(self) -> str:
        """The name for a log or a metric, e.g. ``renewal_failed``."""
        return _WORD.sub("_", type(self).__name__).lower()

    def __str__(self) -> str:
        told = ", ".join(
            f"{field.name}={_brief(getattr(self, field.name))}" for field in fields(self)
        )
        return f"{self.name}({told})"


@dataclass(frozen=True, kw_only=True)
class Authenticated(Event):
    """A login worked.

    Attributes:
        reason: Why it was needed: ``start``, ``expired``, ``rejected``, ``used_up``, ``max_ttl``,
            ``not_renewable``, ``policy``.
        ttl: Seconds that the new token lives; None for ever.
        renewable: Whether the token can be renewed.
    """

    reason: str
    ttl: float | None
    renewable: bool


@dataclass(frozen=True, kw_only=True)
class LoginFailed(Event):
    """A login failed; the next try is in ``retry_in`` seconds."""

    error: VaultError
    retry_in: float


@dataclass(frozen=True, kw_only=True)
class Renewed(Event):
    """The token lives ``ttl`` seconds from now; ``capped`` if its maximum is near."""

    ttl: float
    capped: bool


@dataclass(frozen=True, kw_only=True)
class RenewalFailed(Event):
    """The token was not renewed and has ``remaining`` seconds; next try in ``retry_in``."""

    error: VaultError
    remaining: float
    retry_in: float


@dataclass(frozen=True, kw_only=True)
class TokenLost(Event):
    """The token is dead; ``reason`` is ``rejected``, ``expired`` or ``used_up``."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class TokenRevoked(Event):
    """The client revoked one of its tokens, because it is not needed any more."""


@dataclass(frozen=True, kw_only=True)
class OutageBegan(Event):
    """Vault gave no usable answer."""

    error: VaultError


@dataclass(frozen=True, kw_only=True)
class Recovered(Event):
    """Vault answers again, after ``seconds``."""

    seconds: float


@dataclass(frozen=True, kw_only=True)
class ServedStale(Event):
    """A last good value, ``age`` seconds old, stood in for an answer."""

    path: str
    age: float
    error: VaultError


@dataclass(frozen=True, kw_only=True)
class FellBack(Event):
    """The environment variable ``variable`` stood in for an answer."""

    path: str
    variable: str
    error: VaultError


@dataclass(frozen=True, kw_only=True)
class Denied(Event):
    """The policy denies ``path``; the client does not ask again for ``cool_down`` seconds."""

    path: str
    cool_down: float


@dataclass(frozen=True, kw_only=True)
class Leased(Event):
    """Vault made a credential at ``path``, which lives ``ttl`` seconds.

    `reason` is why it was needed: ``start``, ``not_found``, ``refused``, ``token``, ``max_ttl``,
    ``not_renewable``, ``expired``.
    """

    path: str
    reason: str
    ttl: float


@dataclass(frozen=True, kw_only=True)
class LeaseRenewed(Event):
    """The credential of ``path`` lives ``ttl`` seconds; ``capped`` if its maximum is near."""

    path: str
    ttl: float
    capped: bool


@dataclass(frozen=True, kw_only=True)
class LeaseRenewalFailed(Event):
    """A lease with ``remaining`` seconds was not renewed; next try in ``retry_in``."""

    path: str
    error: VaultError
    remaining: float
    retry_in: float


@dataclass(frozen=True, kw_only=True)
class LeaseLost(Event):
    """The credential is useless; ``reason`` is ``not_found`` (at Vault) or ``refused``."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class LeaseOrphaned(Event):
    """An answer was lost, and Vault may have made a credential, which ends with the token."""

    path: str


@dataclass(frozen=True, kw_only=True)
class RenewerRestarted(Event):
    """The thread that renews the token had died and was started again."""


def _brief(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, VaultError):
        return f"{type(value).__name__}({str(value)!r})"
    return str(value)


_log = logging.getLogger("resilient_vault_client")

_LEVELS: dict[type[Event], int] = {
    Renewed: logging.DEBUG,
    TokenRevoked: logging.DEBUG,
    LeaseRenewed: logging.DEBUG,
    Authenticated: logging.INFO,
    Leased: logging.INFO,
    Recovered: logging.INFO,
}

# Logged once per outage, since a line per read would bury the rest.
_FREQUENT = (ServedStale, FellBack)

_WITH_ERROR = (LoginFailed, RenewalFailed, LeaseRenewalFailed, OutageBegan, ServedStale, FellBack)

# Paths that the log names in one outage, each once.
_MOST_WARNINGS = 100


class Notifier:
    """Report events; neither the log nor the callback can do harm.

    ``handler`` runs in the event's thread, so it should be quick.
    """

    def __init__(self, handler: EventHandler | None) -> None:
        self._handler = handler
        self._warned: set[tuple[str, str]] = set()
        self._waiting = threading.local()

    def notify(self, event: Event) -> None:
        """Log the event and pass it on; log and ignore the callback's exceptions."""
        event = _from_outside(event)
        _log.log(self._level(event), "vault: %s", event)
        self.pass_on(event)

    def pass_on(self, event: Event) -> None:
        """Report an already logged event."""
        waiting: list[Event] | None = getattr(self._waiting, "events", None)
        if waiting is None:
            self._tell(event)
        elif not isinstance(event, OutageBegan):
            waiting.append(event)
        else:
            # The earlier outage is over; a later `Recovered` would seem to end the new one.
            over = [one for one in waiting if isinstance(one, Recovered)]
            waiting[:] = [one for one in waiting if not isinstance(one, Recovered)]
            for one in (*over, event):
                self._tell(one)

    @contextlib.contextmanager
    def later(self) -> Iterator[None]:
        """Delay the callback to the end of a block that holds a lock.

        The callback may use the client, and would wait for its own thread's lock. An outage that
        begins is told at once, since it may last as long as the block, after an earlier one's end.
        """
        if getattr(self._waiting, "events", None) is not None:
            yield  # this is inside another such block, whose lock is held too
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
        """Offer this thread's events to a waiting call's.

        ``other`` returns False if no call waits there.
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
    """Return the event with its error as an application may see it, without frames."""
    if isinstance(event, _WITH_ERROR):
        return dataclasses.replace(event, error=event.error.again())
    return event
