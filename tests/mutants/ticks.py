"""Clients that renew more often than they need, or all at one moment of the clock on the wall."""

from __future__ import annotations

import contextlib
import math
import random
import threading
import time
from collections.abc import Mapping

from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import ClientError


class StartsARenewerForEachLogin(LazyClient):
    """Each login but the first starts a thread that renews, beside those that are there already."""

    _logins = 0

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._over = threading.Event()
        super().__init__(environ)

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._logins += 1
        if self._logins > 1 and token.ttl:
            threading.Thread(target=self._keep, args=(token,), daemon=True).start()
        return token

    def _keep(self, token: Token) -> None:
        while not self._over.wait(random.uniform(0.45, 0.5) * token.ttl):
            with contextlib.suppress(ClientError):
                by = time.monotonic() + self._deadline
                self._ask("POST", "auth/token/renew-self", by, token, {})

    def close(self) -> None:
        self._over.set()
        super().close()


class RenewsAtTicks(LazyClient):
    """Renews at the first tick of the clock on the wall after three tenths of its token's life.

    So does a job of a cron's, whenever its token was given: it waits for another time than its
    sisters, and meets them.
    """

    after = 0.0

    def _arm(self, seconds: float) -> None:
        token = self._token
        if token is not None and token.ttl:
            now, tick = time.time(), token.ttl / 2
            at = math.ceil((now + 0.3 * token.ttl) / tick) * tick
            seconds = at - now + random.uniform(0.0, self.after) * token.ttl
        super()._arm(seconds)


class RenewsAfterTicks(RenewsAtTicks):
    """Waits a little longer, each time for another twentieth of a life."""

    after = 0.05
