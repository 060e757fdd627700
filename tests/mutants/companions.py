"""Clients that are correct for one caller, and broken for several that come at once.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping

from resilient_vault_client import Secret
from tests.mutants.clients import Tweaked
from tests.subjects.lazy_client import Credentials, LazyClient, Token


class LogsInForEachFirstCaller(LazyClient):
    """One login at a time once it has a token; whoever comes before that logs in by himself."""

    _begun = False

    def _valid_token(self, deadline: float) -> Token:
        if self._begun:
            return super()._valid_token(deadline)
        token = self._log_in(deadline)
        self._begun = True
        return token


class _LookedAtBefore(Credentials):
    """Whether a secret-id is good for another try is known from before the turn to log in."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._seen = threading.local()

    def look(self) -> None:
        """Look, before one waits."""
        self._seen.good = super().usable(self.current()[1])

    def usable(self, secret_id: str) -> bool:
        del secret_id
        return bool(getattr(self._seen, "good", True))


class LooksBeforeItsTurn(LazyClient):
    """Looks whether its secret-id was refused, then waits for its turn, and tries it all the same.

    Each of those who wait saw it good.
    """

    credentials_type = _LookedAtBefore

    @contextlib.contextmanager
    def _held(self, deadline: float) -> Iterator[None]:
        assert isinstance(self._credentials, _LookedAtBefore)
        self._credentials.look()
        with super()._held(deadline):
            yield


class WaitsForAnothersLogin(LazyClient):
    """Its call has a deadline from when it may log in, and waits for that as long as it takes."""

    def _valid_token(self, deadline: float) -> Token:
        if (token := self._token) is not None and token.left > 0 and token.uses >= 0:
            return super()._valid_token(deadline)
        with self._changing:
            return super()._valid_token(time.monotonic() + self._deadline * 0.95)


class WaitsInLineAtItsCache(Tweaked):
    """One caller at a time asks for what is not in its cache, each with all the time of a call."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._turn = threading.Lock()

    def read_cached(self, path: str, key: str) -> Secret:
        if self.client._session().memory.fresh(path) is not None:
            return super().read_cached(path, key)
        with self._turn:
            return super().read_cached(path, key)
