"""What the client tells a callback, for logs and metrics. No event carries a secret.

::

    Event                 .name is the snake-case name, e.g. "renewal_failed"
    ├── Authenticated     a login worked
    ├── LoginFailed       a login did not; its error is `RoleLocked` if nobody can log in
    ├── Renewed           the token lives longer
    ├── RenewalFailed     it does not, yet
    ├── TokenLost         it died before its time, or its time is over
    ├── TokenRevoked      an own token was given back
    ├── OutageBegan       no usable answer from Vault
    ├── Recovered         an answer again
    ├── ServedStale       a last good value stood in for an answer
    ├── FellBack          an environment variable stood in for an answer
    ├── Denied            the policy says no
    ├── Leased            Vault made a credential
    ├── LeaseRenewed      it lives longer
    ├── LeaseRenewalFailed   it does not, yet
    ├── LeaseLost         it died before its time
    ├── LeaseOrphaned     Vault may have made one of which nobody knows
    └── RenewerRestarted  the thread that renews had died
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields

from resilient_vault_client._errors import VaultError

EventHandler = Callable[["Event"], None]

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to the client."""

    @property
    def name(self) -> str:
        """Its name for a log or a metric, e.g. ``renewal_failed``."""
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
        renewable: Whether that can be made longer.
    """

    reason: str
    ttl: float | None
    renewable: bool


@dataclass(frozen=True, kw_only=True)
class LoginFailed(Event):
    """A login did not work; ``retry_in`` seconds until the next one is tried."""

    error: VaultError
    retry_in: float


@dataclass(frozen=True, kw_only=True)
class Renewed(Event):
    """The token lives ``ttl`` seconds from now; ``capped`` if its maximum is in sight."""

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
    """The token is of no use any more; ``reason`` is ``rejected``, ``expired`` or ``used_up``."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class TokenRevoked(Event):
    """An own token that is not needed any more was given back."""


@dataclass(frozen=True, kw_only=True)
class OutageBegan(Event):
    """No usable answer from Vault."""

    error: VaultError


@dataclass(frozen=True, kw_only=True)
class Recovered(Event):
    """An answer again, after ``seconds``."""

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
    """The policy says no to ``path``; not asked again for ``cool_down`` seconds."""

    path: str
    cool_down: float


@dataclass(frozen=True, kw_only=True)
class Leased(Event):
    """Vault made a credential at ``path``, which lives ``ttl`` seconds.

    Attributes:
        reason: Why it was needed: ``start``, ``not_found``, ``refused``, ``token``, ``max_ttl``,
            ``not_renewable``, ``expired``.
    """

    path: str
    reason: str
    ttl: float


@dataclass(frozen=True, kw_only=True)
class LeaseRenewed(Event):
    """The credential of ``path`` lives ``ttl`` seconds; ``capped`` if its maximum is in sight."""

    path: str
    ttl: float
    capped: bool


@dataclass(frozen=True, kw_only=True)
class LeaseRenewalFailed(Event):
    """A lease with ``remaining`` seconds was not kept; next try in ``retry_in``."""

    path: str
    error: VaultError
    remaining: float
    retry_in: float


@dataclass(frozen=True, kw_only=True)
class LeaseLost(Event):
    """The credential is of no use; ``reason`` is ``not_found`` (at Vault) or ``refused``."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class LeaseOrphaned(Event):
    """An answer was lost, and Vault may have made a credential; it ends with the client's token."""

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
