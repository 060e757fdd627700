"""Clients that ask whether their token is dead, and take no answer for one (POL-01).

`tests.mutants.pol` lists them.
"""

from __future__ import annotations

from typing import ClassVar

from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import UnavailableError


class TakesAFailedLookForDeath(LazyClient):
    """A look at its token that fails says, to it, that the token is dead: it logs in anew."""

    most: ClassVar[float] = float("inf")
    _taken = 0

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        try:
            return super()._was_dead(where, token, deadline)
        except UnavailableError:
            if self._taken >= self.most:
                raise
            self._taken += 1
            self._token = None
            return self._goes_on()

    def _goes_on(self) -> bool:
        """Whether the call asks once more, with another token."""
        return True


class LogsInOnceAtAFailedLook(TakesAFailedLookForDeath):
    """Makes sure by a login, once."""

    most = 1


class DropsItsTokenAtAFailedLook(TakesAFailedLookForDeath):
    """Tells its caller that nobody knows, and has no token for the next one."""

    def _goes_on(self) -> bool:
        raise UnavailableError("Vault does not say whose fault the denial was")
