"""Clients that end well where Vault refuses their token, and not where nobody takes it (SEA-08).

`tests.mutants.sea` lists them.
"""

from __future__ import annotations

import time

from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import UnavailableError


class RaisesWhereNobodyTakesItsToken(LazyClient):
    """Knows what Vault may answer to the end of a token, and nothing else."""

    def close(self) -> None:
        token = self._token
        try:
            if token is not None:
                self._give_back(token)
        finally:
            self._token = None
            super().close()

    def _give_back(self, token: Token) -> None:
        deadline = time.monotonic() + 2.0
        try:
            self._wire.send("POST", "auth/token/revoke-self", deadline=deadline, token=token.value)
        except UnavailableError as error:
            if "Vault answered" not in str(error):
                raise


class KnocksUntilItsTokenIsTaken(RaisesWhereNobodyTakesItsToken):
    """Tries again while nobody is there: an end is nothing that can be put off."""

    def _give_back(self, token: Token) -> None:
        until = time.monotonic() + 30.0
        while time.monotonic() < until:
            try:
                super()._give_back(token)
                break
            except UnavailableError:
                time.sleep(0.4)
