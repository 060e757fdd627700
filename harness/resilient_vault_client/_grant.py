"""One lease: what Vault made for it, how long it lives, and the token that it hangs on."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from resilient_vault_client._clock import clock
from resilient_vault_client._token import Token, granted, number


@dataclass(frozen=True, kw_only=True)
class Credential:
    """What a lease is about: usually the name and the password of a user made for this client.

    Attributes:
        path: Where it was asked for, e.g. ``database/creds/app``.
        data: All that Vault made, by its names; engines other than databases have names of theirs.
    """

    path: str
    data: dict[str, Any] = field(repr=False)

    def copy(self) -> Credential:
        """The same for one more caller, who may change what is in it."""
        return Credential(path=self.path, data=copy.deepcopy(self.data))

    @property
    def username(self) -> str:
        """The user's name."""
        return str(self.data.get("username", ""))

    @property
    def password(self) -> str:
        """The user's password."""
        return str(self.data.get("password", ""))


class Grant:
    """A lease as Vault granted it.

    Its token is marked as in use for as long as the lease is, since Vault ends both together: a
    token that was replaced is given back only when nobody needs its leases any more.

    Args:
        path: Where it was asked for.
        answer: Vault's answer.
        token: Whose request it was.
        started: When that was sent, by `clock`: the lease is no older.

    Attributes:
        increment: Seconds that it was given at first, and that each renewal asks for.
        granted_at: When the request was sent that gave it the life it has.
        renewable: Whether asking for a longer life makes sense.
        capped: Whether a renewal gave less than was asked for, because its maximum is near.
        lost: Why it is of no use any more: ``not_found``, ``refused``; None while it is.
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
        """When it ends, by `clock`: by itself, or with its token if that is sooner.

        Vault grants a renewal more than the token has left, and ends the lease with the token.
        """
        return min(self._expires_at, self.token.expires_at)

    @property
    def life(self) -> float:
        """Seconds of life that it was given last, its token's end aside."""
        return self._expires_at - self.granted_at

    @property
    def remaining(self) -> float:
        """Seconds of life left."""
        return max(0.0, self.expires_at - clock())

    @property
    def usable(self) -> bool:
        """Whether its credential works, as far as is known here."""
        # A token that is being renewed may live for longer by now; no lease does by that.
        now, token = clock(), self.token
        alive = now < self._expires_at and (token.renewing or now < token.expires_at)
        return alive and self.lost is None and token.lost is None

    def renewed(self, answer: dict[str, Any], started: float) -> None:
        """Take note of a renewal; a life shorter than the first means that the end is near.

        Raises:
            UnexpectedAnswer: It grants nothing. The lease is as it was.
        """
        life = granted(answer)
        self.capped = life < self.increment
        self.granted_at = started
        self._expires_at = started + life

    def moves_to(self, token: Token) -> bool:
        """Hang on to the token that was read again: of a file it is another object each time.

        False if it is another token, with which this lease does not live on.
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
        """Whether nothing but its token's end, as far as that is known here, ends it."""
        return self.lost is None and clock() < self._expires_at and not self.usable

    def let_go(self) -> None:
        """Nobody uses its credential any more; its token may be given back."""
        if self._holds:
            self._holds = False
            self.token.end()
