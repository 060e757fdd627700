"""Correct clients that go by a clock of their own, whatever happens to their tokens meanwhile.

Each is listed in the module of the group whose scenario once took its pace for a fault, or had
nothing to judge in it; so are the broken clients here, one of which is a little too fast.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Mapping

from tests.mutants.edges_logins import LogsInAtAThird, LogsInAtHalfALife
from tests.mutants.ids import NeedsItsFile
from tests.subjects.lazy_client import Credentials, LazyClient, Token
from tests.subjects.lazy_wire import ClientError, Reply, UnavailableError


class PollsItsSecrets(LazyClient):
    """Looks now and then at each secret that it was asked for, and answers from memory."""

    every = 4.8

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[str, dict[str, str]] = {}
        self._over = threading.Event()
        threading.Thread(target=self._poll, name="polls", daemon=True).start()

    def read_all(self, path: str) -> dict[str, str]:
        kept = self._kept.get(path)
        if kept is None:
            kept = self._kept[path] = super().read_all(path)
        return dict(kept)

    def _poll(self) -> None:
        while not self._over.wait(self.every):
            for path in list(self._kept):
                try:
                    self._kept[path] = super().read_all(path)
                except ClientError:
                    self._kept.pop(path, None)  # the next caller asks, and hears why

    def close(self) -> None:
        self._over.set()
        super().close()


class PollsAndNeedsItsFile(PollsItsSecrets, NeedsItsFile):
    """Needs a login at its next poll only: that its file was gone for a moment it mostly misses."""


class AsksOnceItIsOld(LazyClient):
    """Answers from memory for a while, and asks in the first call after that: never of itself."""

    keeps = 4.5

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[str, tuple[float, dict[str, str]]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        began = time.monotonic()
        since, values = self._kept.get(path, (began - self.keeps, {}))
        if began - since >= self.keeps:
            self._kept.pop(path, None)
            values = super().read_all(path)
            self._kept[path] = (began, values)
        return dict(values)


class KeepsAndLogsInAtAThird(AsksOnceItIsOld, LogsInAtAThird):
    """Never renews: by when it asks again it may have another token than that which was lost."""


class _ByHeart(Credentials):
    """Reads its ids for a login that it has planned, and has them in its head for any other."""

    hurried = False

    def _one(self, name: str) -> str:
        return (self._last.get(name) if self.hurried else None) or super()._one(name)


class LogsInByHeartOnceItIsRefused(KeepsAndLogsInAtAThird):
    """In its turn it logs in with what is in its files; for a lost token with what it had last."""

    credentials_type = _ByHeart

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        dead = super()._was_dead(where, token, deadline)
        self._credentials.hurried = dead  # type: ignore[attr-defined]  # those above
        return dead

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        finally:
            self._credentials.hurried = False  # type: ignore[attr-defined]  # those above


class KeepsLongAndLogsInAtAThird(KeepsAndLogsInAtAThird):
    """For longer than a third of a token's 20 s, and says so."""

    keeps = 9.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": self.keeps + 1.0}


class KeepsLongerAndLogsInAtAThird(KeepsLongAndLogsInAtAThird):
    """For longer than two thirds of it: two turns of its may come before it asks again."""

    keeps = 14.5


class PollsSeldom(PollsItsSecrets):
    """Once in twelve seconds, and says so."""

    every = 12.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": self.every + 1.0}


class SaysHowItsLastPollWas(PollsSeldom):
    """Is as well as its last look at a secret was, and asks Vault nothing for that."""

    capabilities = LazyClient.capabilities | {"health"}
    _well = True

    def _fetch(self, path: str, deadline: float) -> Reply:
        try:
            reply = super()._fetch(path, deadline)
        except UnavailableError:
            self._well = False
            raise
        self._well = True
        return reply

    def health(self) -> bool:
        return self._well


class SaysHowItsLastLookWent(SaysHowItsLastPollWas):
    """Takes a look for one that failed too if it had no token for it, and looks every 24 s."""

    every = 24.0

    def _fetch(self, path: str, deadline: float) -> Reply:
        try:
            return super()._fetch(path, deadline)
        except ClientError:
            self._well = False
            raise


class SaysHowItsFirstLookWent(SaysHowItsLastLookWent):
    """Was well once."""

    def health(self) -> bool:
        return True


class MeetsItsLossAtItsNextPoll(PollsSeldom, LogsInAtHalfALife):
    """Never renews, gives each token back that it has replaced, and asks for little in between.

    So a token that is lost may be replaced in its turn before anything was refused.
    """

    def _log_in(self, deadline: float) -> Token:
        old = self._token
        token = super()._log_in(deadline)
        if old is not None:
            with contextlib.suppress(ClientError):
                self._ask("POST", "auth/token/revoke-self", deadline, old, {})
        return token


class LogsInForADenialNowAndThen(LazyClient):
    """Takes a 403 for a token that may be dead, and logs in, but once in ten seconds at most."""

    pause = 10.0
    keeps = 12.8
    capabilities = LazyClient.capabilities | {"cached"}
    _last = float("-inf")

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": 13.0}
        self._values: dict[tuple[str, str], tuple[float, str]] = {}

    def read_cached(self, path: str, key: str) -> str:
        asked = time.monotonic()
        at, value = self._values.get((path, key), (float("-inf"), ""))
        if asked - at >= self.keeps:
            value = self.read(path, key)
            self._values[path, key] = asked, value
        return value

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        with self._held(deadline):
            if self._token is token and time.monotonic() - self._last >= self.pause:
                self._last = time.monotonic()
                self._token = None
                return True
            return super()._was_dead(where, token, deadline)


class LogsInForADenialTooOften(LogsInForADenialNowAndThen):
    """Once in six."""

    pause = 6.0


class RenewsAtAFixedRate(LazyClient):
    """Renews first at a time of its own, and then at each half of a life after that.

    So does a timer with a delay and a period, as Java's ``scheduleAtFixedRate``.
    """

    _next = 0.0

    def _arm(self, seconds: float) -> None:
        token, now = self._token, time.monotonic()
        if token is not None:
            self._next = self._next or now + random.uniform(0.3, 0.7) * token.ttl
            while self._next <= now:
                self._next += 0.5 * token.ttl
            seconds = self._next - now
        super()._arm(seconds)
