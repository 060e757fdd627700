"""Clients whose pauses after failures go wrong in the long run.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import FIRST_PAUSE, ClientError

# Pauses that never begin anew


class RestsAsLongAsBefore(LazyClient):
    """Has a renewer with pauses that double while it fails, and that nothing makes short again.

    It logs in too, where its token has ended, and goes on with that until it has another one. That
    takes a moment, so that none comes in the very millisecond in which a token ends.
    """

    most, moment = 60.0, 0.1

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {"deadline": self._deadline}
        self._rests = FIRST_PAUSE

    def _log_in(self, deadline: float) -> Token:
        time.sleep(self.moment)
        return super()._log_in(deadline)

    def _renewed(self, token: Token, deadline: float) -> bool:
        """Whatever its callers' reads meet meanwhile: it has pauses of its own."""
        asked, where = time.monotonic(), "auth/token/renew-self"
        reply = self._wire.send("POST", where, deadline=deadline, token=token.value, body={})
        if reply.status != 200:
            return False
        token.since = asked
        self._arm(token.due)
        return True

    def _tick(self) -> None:
        deadline = time.monotonic() + self._deadline
        try:
            with self._held(deadline):
                token = self._token
                if self._timer is not threading.current_thread() or self._closed:
                    return
                if token is None or token.left <= 0 or not self._renewed(token, deadline):
                    self._log_in(deadline)
        except ClientError:
            if self._timer is threading.current_thread():
                self._arm(self._rests)
                self._rests = min(2 * self._rests, self.most)


class RestsForTwoSecondsAtMost(RestsAsLongAsBefore):
    """Keeps its pauses for ever too, and none of them is long."""

    most = 2.0
