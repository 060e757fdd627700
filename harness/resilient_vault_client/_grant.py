"""One lease: its credential, its life, and the token that it depends on."""

from __future__ import annotations

import copy
import math
import threading
from dataclasses import dataclass, field
from typing import Any

from resilient_vault_client._deadline import clock
from resilient_vault_client._errors import UnexpectedAnswer


def granted(renewal: object) -> float:
    """Return the seconds of life that a renewal grants, which may be 0.

    Raise `UnexpectedAnswer` if the answer does not say: a gateway may have answered.
    """
    seconds = renewal.get("lease_duration") if isinstance(renewal, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise UnexpectedAnswer("the answer to the renewal grants nothing: is it Vault's?")
    return float(seconds)


def number(value: Any, what: str) -> float:
    """Return a number from an answer, or 0 if it is missing; raise `UnexpectedAnswer` otherwise."""
    try:
        found = float(value or 0)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise UnexpectedAnswer(f"{what} is no number in the answer: is it Vault's?")
    return found


class Token:
    """One token from its login to its end.

    A token object never changes into another, so a thread knows which token Vault has refused. Its
    lock is reentrant, because a signal handler may use the token in the middle of a use.

    Args:
        auth: The ``auth`` part of the answer to the login.
        started: When the login was sent, by `clock`: the token is no older than that.

    Attributes:
        text: The token itself, for requests only.
        ttl: Seconds of its first life, or of a longer later one; None for ever.
        granted_at: When the request for its present life was sent, by `clock`.
        took: How many seconds that request took; a renewal must be early by at least as much.
        expires_at: When it ends, by `clock`.
        renewing: Whether a renewal is under way, which may already have extended its life.
        renewable: Whether a renewal makes sense; never for a batch token or one with few uses.
        revocable: Whether it can be revoked; a batch token cannot.
        capped: Whether a renewal gave less than was asked for, because the maximum is near.
        uses_left: The number of requests left; None for any number.
        lost: Why it is useless: ``rejected``, ``expired``, ``used_up``; otherwise None.
        proven: Whether Vault has accepted it.
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
        """Return the seconds of life left."""
        return max(0.0, self.expires_at - clock())

    @property
    def usable(self) -> bool:
        """Return whether a request with it can succeed, as far as the client knows."""
        alive = self.renewing or clock() < self.expires_at
        return alive and self.lost is None and self.uses_left != 0

    def lose(self, reason: str) -> bool:
        """Mark the token dead. Return True if it was alive."""
        news = self.lost is None
        self.lost = self.lost or reason
        return news

    @property
    def idle(self) -> bool:
        """Return whether no request uses it now."""
        return self._in_use == 0

    def renewed(self, auth: object, started: float) -> None:
        """Note a renewal; a life shorter than the first one means that the maximum is near.

        Raise `UnexpectedAnswer`, and change nothing, if the answer grants no life.
        """
        lease = granted(auth)
        self.capped = lease < (self.ttl or 0)
        if lease > (self.ttl or 0):
            self.ttl = lease
        self.granted_at = started
        self.took = clock() - started
        self.expires_at = started + lease

    def begin(self) -> None:
        """Note that a request is about to use it."""
        with self._lock:
            self._in_use += 1

    def end(self) -> None:
        """Note that a request is over."""
        with self._lock:
            self._in_use -= 1

    def spend(self) -> bool:
        """Count one use; return False if none is left."""
        if self.uses_left is None:
            return True
        with self._lock:
            left = self.uses_left
            if left == 0:
                return False
            self.uses_left = left - 1  # never negative, even if a signal handler spends one here
            return True

    def take_back(self) -> None:
        """Return a use, because Vault did not get the request."""
        with self._lock:
            if self.uses_left is not None:
                self.uses_left += 1


@dataclass(frozen=True, kw_only=True)
class Credential:
    """The content of a lease, usually name and password of a user made for this client.

    `path` is the requested path, e.g. ``database/creds/app``. `data` holds everything Vault
    returned, by its names; they differ between engines.
    """

    path: str
    data: dict[str, Any] = field(repr=False)

    def copy(self) -> Credential:
        """Return a copy for one more caller, who may change it."""
        return Credential(path=self.path, data=copy.deepcopy(self.data))

    @property
    def username(self) -> str:
        """Return the user's name."""
        return str(self.data.get("username", ""))

    @property
    def password(self) -> str:
        """Return the user's password."""
        return str(self.data.get("password", ""))


class Grant:
    """A lease as Vault granted it.

    The lease marks its token as in use, since Vault ends both together. A replaced token is revoked
    only when its leases are no longer needed.

    Args:
        started: When the request was sent, by `clock`: the lease is no older.

    Attributes:
        increment: Seconds of its first life, which each renewal asks for.
        granted_at: When the request for its present life was sent.
        renewable: Whether a renewal makes sense.
        capped: Whether a renewal gave less than was asked for, because the maximum is near.
        lost: Why the lease is useless: ``not_found``, ``refused``; otherwise None.
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
        """Return when it ends, by `clock`: by itself, or with its token if that is sooner.

        Vault grants a renewal beyond the token's end, and still ends the lease with the token.
        """
        return min(self._expires_at, self.token.expires_at)

    @property
    def life(self) -> float:
        """Return the seconds of life that Vault granted last, ignoring the token's end."""
        return self._expires_at - self.granted_at

    @property
    def remaining(self) -> float:
        """Return the seconds of life left."""
        return max(0.0, self.expires_at - clock())

    @property
    def usable(self) -> bool:
        """Return whether its credential works, as far as the client knows."""
        # A token under renewal may already live longer; a lease does not.
        now, token = clock(), self.token
        alive = now < self._expires_at and (token.renewing or now < token.expires_at)
        return alive and self.lost is None and token.lost is None

    def renewed(self, answer: dict[str, Any], started: float) -> None:
        """Note a renewal; a life shorter than the first one means that the maximum is near.

        Raise `UnexpectedAnswer`, and change nothing, if the answer grants no life.
        """
        life = granted(answer)
        self.capped = life < self.increment
        self.granted_at = started
        self._expires_at = started + life

    def moves_to(self, token: Token) -> bool:
        """Move to the same token read again, since each read of a token file makes a new object.

        Return False for a different token, with which this lease cannot live on.
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
        """Return whether only the known end of its token makes it unusable."""
        return self.lost is None and clock() < self._expires_at and not self.usable

    def let_go(self) -> None:
        """Release its token, since nobody uses the credential any more."""
        if self._holds:
            self._holds = False
            self.token.end()
