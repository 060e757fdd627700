"""A token, and what its kind allows."""

from __future__ import annotations

import math
import threading
from typing import Any

from resilient_vault_client._clock import clock
from resilient_vault_client._errors import UnexpectedAnswer


def granted(renewal: object) -> float:
    """Seconds of life that the answer to a renewal gives; Vault says so, and be it none.

    Raises:
        UnexpectedAnswer: It does not say: somebody else has answered, a gateway perhaps.
    """
    seconds = renewal.get("lease_duration") if isinstance(renewal, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise UnexpectedAnswer("the answer to the renewal grants nothing: is it Vault's?")
    return float(seconds)


def number(value: Any, what: str) -> float:
    """A number of an answer, which is 0 where the answer has nothing in its place.

    Raises:
        UnexpectedAnswer: It is something else.
    """
    try:
        found = float(value or 0)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise UnexpectedAnswer(f"{what} is no number in the answer: is it Vault's?")
    return found


class Token:
    """One token from its login to its end.

    It never changes into another, so that a thread which uses it knows which one Vault has refused.
    Its lock lets its own thread in again: a signal's handler may use it in the midst of a use.

    Args:
        auth: The ``auth`` part of the answer to the login.
        started: When the login was sent, by `clock`: the token is no older than that.

    Attributes:
        text: The token itself, for requests; nothing else may repeat it.
        ttl: Seconds of life it was given; None for ever.
        granted_at: When the request was sent that gave it the life it has, by `clock`.
        took: How many seconds that request took: renewals must be early by at least as much.
        expires_at: When it ends, by `clock`.
        renewing: Whether a renewal is under way, which may already have given it a longer life.
        renewable: Whether renewing it makes sense; a batch token or one with few uses never is.
        revocable: Whether it can be given back; a batch token cannot.
        capped: Whether a renewal gave less than was asked for, because its maximum is near.
        uses_left: How many requests it is good for; None for any number.
        lost: Why it is of no use any more: ``rejected``, ``expired``, ``used_up``; None while it
            is.
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
        """Seconds of life left."""
        return max(0.0, self.expires_at - clock())

    @property
    def usable(self) -> bool:
        """Whether a request with it can succeed, as far as is known here."""
        alive = self.renewing or clock() < self.expires_at
        return alive and self.lost is None and self.uses_left != 0

    def lose(self, reason: str) -> bool:
        """It is of no use any more; True if that is news."""
        news = self.lost is None
        self.lost = self.lost or reason
        return news

    @property
    def idle(self) -> bool:
        """Whether no request uses it right now."""
        return self._in_use == 0

    def renewed(self, auth: object, started: float) -> None:
        """Take note of a renewal; a lease shorter than the first means that the end is near.

        Raises:
            UnexpectedAnswer: It grants nothing. The token is as it was.
        """
        lease = granted(auth)
        self.capped = lease < (self.ttl or 0)
        if lease > (self.ttl or 0):
            self.ttl = lease
        self.granted_at = started
        self.took = clock() - started
        self.expires_at = started + lease

    def begin(self) -> None:
        """A request is about to use it."""
        with self._lock:
            self._in_use += 1

    def end(self) -> None:
        """That request is over."""
        with self._lock:
            self._in_use -= 1

    def spend(self) -> bool:
        """Count one use; False if there is none left."""
        if self.uses_left is None:
            return True
        with self._lock:
            left = self.uses_left
            if left == 0:
                return False
            self.uses_left = left - 1  # never below none, wherever a signal's handler spends one
            return True

    def take_back(self) -> None:
        """That use was none: Vault did not get the request."""
        with self._lock:
            if self.uses_left is not None:
                self.uses_left += 1
