"""Clients whose pauses after failures go wrong in the long run: kept for ever, or grown too large.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import FIRST_PAUSE, ClientError, Gate

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


class _NeverBeginsAnew(Gate):
    """Has a pause that doubles with each failure, and that nothing makes short again."""

    def __init__(self, longest: float) -> None:
        super().__init__(longest)
        self._rests = FIRST_PAUSE

    def _leave(self, *, probe: bool, failed: bool, pause: float) -> None:
        with self._changed:
            counts = failed and (probe or not self._failures)
        super()._leave(probe=probe, failed=failed, pause=max(pause, self._rests * counts))
        self._rests *= 1 + counts


class WaitsAsLongAsBefore(LazyClient):
    """Waits after each outage as long as at the end of the one before, and then twice as long."""

    gate_type = _NeverBeginsAnew


# Pauses that no number holds


class _InMilliseconds(Gate):
    """Doubles a pause of half a second, in a number of 32 bits, before it takes the lesser one."""

    def _leave(self, **how: Any) -> None:
        super()._leave(**how)
        with self._changed:
            if how["failed"]:
                self._opens = time.monotonic() + self.pause_after(self._failures)

    def pause_after(self, failures: int) -> float:
        """Seconds."""
        grown = (500 << failures) & 0xFFFFFFFF
        signed = grown - (1 << 32) if grown >> 31 else grown
        return min(signed / 1000, self._longest)


class OverflowsItsPause(LazyClient):
    """After 22 failures its pause is less than nothing, and it asks without one."""

    gate_type = _InMilliseconds


class _Sleeps(_InMilliseconds):
    def _leave(self, **how: Any) -> None:
        if how["failed"] and self.pause_after(self._failures + 1) < 0:
            raise ValueError("sleep length must be non-negative")  # and its probe is never over
        super()._leave(**how)


class StumblesOverItsPause(LazyClient):
    """After 22 failures it has no pause that it could make, and nothing is tried any more."""

    gate_type = _Sleeps
