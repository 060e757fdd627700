"""One lease: its credential, its life, and the token that it depends on."""

from __future__ import annotations

import copy
import math
import threading
from dataclasses import dataclass, field
from typing import Any

from resilient_vault_client._deadline import clock
from resilient_vault_client._errors import UnexpectedAnswer

# Shares of its life between which a token or a lease is renewed, at random. That leaves time for
# several tries, and clients that started together drift apart.
EARLIEST, LATEST = 0.5, 0.75

# Seconds; what is capped to less is replaced.
TOO_SHORT = 1.0

# Share of a life that is left when failing renewals lead to a login or a new credential.
LAST_RESORT = 0.15


def granted(renewal: object) -> float:
    """Return the seconds that a renewal grants, maybe 0; raise `UnexpectedAnswer` without any."""
    seconds = renewal.get("lease_duration") if isinstance(renewal, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise UnexpectedAnswer("the answer to the renewal grants nothing: is it Vault's?")
    return float(seconds)


def number(value: Any, what: str) -> float:
    """Return a number from an answer, 0 if missing; raise `UnexpectedAnswer` if it is none."""
    try:
        found = float(value or 0)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise UnexpectedAnswer(f"{what} is no number in the answer: is it Vault's?")
    return found


class Token:
    """One token from its login to its end.

    An object never changes into another token, so a thread knows which one Vault refused. The lock
    is reentrant, since a signal handler may use the token in the middle of a use.

    Times are by `clock`; `started` is when the login was sent.

    Attributes:
        ttl: Seconds of its first life, or of a longer later one; None for ever.
        granted_at: When its present life was requested.
        took: Seconds for that request; a renewal must be earlier by at least as much.
        renewing: A renewal is under way, and may already have extended its life.
        renewable: False for a batch token or one with few uses.
        revocable: False for a batch token.
        capped: A renewal gave less than was asked for, because the maximum is near.
        uses_left: None for any number.
        lost: ``rejected``, ``expired``, ``used_up``, or None.
        proven: Vault has accepted it.
    """

    def __init__(self, auth: dict[str, Any], *, started: float) -> None:
        self.text = str(auth["client_token"])
        batch = auth.get("token_type") == "batch"
        uses = int(number(auth.get("num_uses"), "the uses of a token"))
        lease = number(auth.get("lease_duration"), "the life of a token")
        self.issued_at = self.granted_at = started
        self.took = clock() - started
        self.ttl = lease or None
        self.expires_at = started + lease if lease else float("inf")
        self.uses_left: int | None = uses or None
        self.renewable = bool(auth.get("renewable")) and not batch and uses == 0 and bool(self.ttl)
        self.revocable = not batch
        self.capped = False
        self.renewing = False
        self.lost: str | None = None
        self.proven = False
        self._lock = threading.RLock()
        self._in_use = 0

    @property
    def remaining(self) -> float:
        return max(0.0, self.expires_at - clock())

    @property
    def usable(self) -> bool:
        alive = self.renewing or clock() < self.expires_at
        return alive and self.lost is None and self.uses_left != 0

    def lose(self, reason: str) -> bool:
        """Mark the token dead; return True if it was alive."""
        news = self.lost is None
        self.lost = self.lost or reason
        return news

    @property
    def idle(self) -> bool:
        return self._in_use == 0

    def renewed(self, auth: object, started: float) -> None:
        """A life shorter than the first means that the maximum is near."""
        lease = granted(auth)
        self.capped = lease < (self.ttl or 0)
        if lease > (self.ttl or 0):
            self.ttl = lease
        self.granted_at = started
        self.took = clock() - started
        self.expires_at = started + lease

    def begin(self) -> None:
        with self._lock:
            self._in_use += 1

    def end(self) -> None:
        with self._lock:
            self._in_use -= 1

    def spend(self) -> bool:
        """Count one use; return False if none is left, or if another call found the token dead."""
        if self.lost is not None:
            return False
        if self.uses_left is None:
            return True
        with self._lock:
            left = self.uses_left
            if left == 0:
                return False
            self.uses_left = left - 1  # never negative, even if a signal handler spends one here
            return True

    def take_back(self) -> None:
        """Return a use: Vault did not get the request."""
        with self._lock:
            if self.uses_left is not None:
                self.uses_left += 1


@dataclass(frozen=True, kw_only=True)
class Credential:
    """The content of a lease, usually name and password of a user made for this client.

    `data` holds what Vault returned, by its names, which differ between engines.
    """

    path: str
    data: dict[str, Any] = field(repr=False)

    def copy(self) -> Credential:
        return Credential(path=self.path, data=copy.deepcopy(self.data))

    @property
    def username(self) -> str:
        return str(self.data.get("username", ""))

    @property
    def password(self) -> str:
        return str(self.data.get("password", ""))


class Grant:
    """A lease as Vault granted it.

    It marks its token as in use, since Vault ends both together: a replaced token is revoked only
    when its leases are not needed. Times are by `clock`; `started` is when the request was sent.

    Attributes:
        increment: Seconds of its first life, which each renewal asks for.
        granted_at: When its present life was requested.
        capped: A renewal gave less than was asked for, because the maximum is near.
        lost: ``not_found``, ``refused``, or None.
    """

    def __init__(self, path: str, answer: dict[str, Any], token: Token, started: float) -> None:
        self.credential = Credential(path=path, data=dict(answer.get("data") or {}))
        self.id = str(answer["lease_id"])
        self.token = token
        self.increment = int(number(answer.get("lease_duration"), "the life of a lease"))
        self.granted_at = started
        self.renewable = bool(answer.get("renewable"))
        self.capped = False
        self.lost: str | None = None
        self._expires_at = started + self.increment if self.increment else float("inf")
        self._holds = True
        token.begin()

    @property
    def expires_at(self) -> float:
        """Return its end by `clock`, or its token's if sooner.

        Vault grants a renewal beyond the token's end, and still ends both together.
        """
        return min(self._expires_at, self.token.expires_at)

    @property
    def life(self) -> float:
        """Return the seconds that Vault granted last, ignoring the token's end."""
        return self._expires_at - self.granted_at

    @property
    def remaining(self) -> float:
        return max(0.0, self.expires_at - clock())

    @property
    def usable(self) -> bool:
        # A token under renewal may already live longer; a lease does not.
        now, token = clock(), self.token
        alive = now < self._expires_at and (token.renewing or now < token.expires_at)
        return alive and self.lost is None and token.lost is None

    def renewed(self, answer: dict[str, Any], started: float) -> None:
        life = granted(answer)
        self.capped = life < self.increment
        self.granted_at = started
        self._expires_at = started + life

    def moves_to(self, token: Token) -> bool:
        """Move to the same token read again, since each read of a token file makes a new object.

        Return False for a different token.
        """
        if token.text != self.token.text:
            return False
        if token is not self.token:
            if self._holds:
                token.begin()
                self.token.end()
            self.token = token
        return True

    @property
    def outlives_token(self) -> bool:
        """Return whether only its token's end makes it unusable."""
        return self.lost is None and clock() < self._expires_at and not self.usable

    def let_go(self) -> None:
        if self._holds:
            self._holds = False
            self.token.end()
