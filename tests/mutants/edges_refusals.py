"""Clients at the edges of thresholds on what is refused: secret-ids, tokens and reads.

``thresholds.toml`` says which of them stands on which side of what. Each is listed in the module of
the group whose scenario it meets.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Mapping

from tests.subjects.lazy_client import Credentials, LazyClient, Token, _mark
from tests.subjects.lazy_wire import ClientError, DeniedError, GivenUpError, Reply

# Secret-ids


class _Four(Credentials):
    """A refused secret-id is tried four times in all."""

    tries = 4

    def usable(self, secret_id: str) -> bool:
        return len(self._failed.get(_mark(secret_id), [])) < self.tries


class _Five(_Four):
    tries = 5


class TriesFourTimesInOneCall(LazyClient):
    """Stops one short of the lock, which a single call could come to."""

    credentials_type: type[Credentials] = _Four

    def _log_in(self, deadline: float) -> Token:
        while True:
            try:
                return super()._log_in(deadline)
            except DeniedError:
                if not self._credentials.usable(self._credentials.current()[1]):
                    raise
                time.sleep(0.1)


class TriesFiveTimesInOneCall(TriesFourTimesInOneCall):
    """The fifth failure locks the role for everybody."""

    credentials_type = _Five


class LogsInThreeTimesForOneAnswer(LazyClient):
    """Has the patience for two answers that are lost, and three uses of a secret-id."""

    lost = 2
    _tried = 0

    def _log_in(self, deadline: float) -> Token:
        while True:
            self._tried += 1
            self._gate = self.gate_type(self._longest)  # another one than this counts its tries
            try:
                return super()._log_in(deadline)
            except GivenUpError:
                raise
            except ClientError:
                # The last of its tries is made when answers come again.
                time.sleep(0.1 if self._tried < self.lost else 0.8)


class LogsInFourTimesForOneAnswer(LogsInThreeTimesForOneAnswer):
    """A fourth use there is not."""

    lost = 3


class LogsInElevenTimes(LazyClient):
    """While no token of its is let in it takes three others for each call, up to eleven."""

    tries, a_call = 11, 3
    rest = 6.8
    _tried = 0
    _since = 0.0

    def _fetch(self, path: str, deadline: float) -> Reply:
        where = f"{self._mount}/data/{path}"
        reply = self._ask("GET", where, deadline, self._valid_token(deadline))
        if reply.status != 403:
            return reply
        now = time.monotonic()
        self._since = self._since or now
        if now - self._since >= self.rest:  # for a while it has asked for no token
            self._tried = self.tries - 1
        for _ in range(min(self.a_call, self.tries - self._tried)):
            self._tried += 1
            self._log_in(deadline)
            time.sleep(0.25)
        reply = self._ask("GET", where, deadline, self._valid_token(deadline))
        if reply.status == 403:
            raise DeniedError(f"no token is good enough for {path}")
        return reply


class LogsInFifteenTimes(LogsInElevenTimes):
    """Four others for each call, up to fifteen."""

    tries, a_call = 15, 4


# Denials


class RepeatsEachDeniedRead(LazyClient):
    """Asks once more for what was denied, with the token that is good for all else."""

    at_the_first = 1
    _denied_calls = 0

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        if super()._was_dead(where, token, deadline):
            return True
        self._denied_calls += 1
        for _ in range(self.at_the_first if self._denied_calls == 1 else 1):
            self._ask("GET", where, deadline, token)
        return False


class RepeatsItsFirstDeniedReadTwice(RepeatsEachDeniedRead):
    """And twice more, once: it may look at its pace."""

    at_the_first = 2


class RepeatsItsFirstDeniedReadThrice(RepeatsEachDeniedRead):
    """And thrice more, once."""

    at_the_first = 3


class LooksAtEachDenial(LazyClient):
    """Looks at its token whenever it is denied something, and remembers nothing of it."""

    at_the_first = 1
    _denials = 0

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        self._denials += 1
        for _ in range(self.at_the_first - 1 if self._denials == 1 else 0):
            self._ask("GET", "auth/token/lookup-self", deadline, token)
        self._denied.pop(where, None)
        return super()._was_dead(where, token, deadline)


class LooksTwiceAtItsFirstDenial(LooksAtEachDenial):
    """Once more, once."""

    at_the_first = 2


class LooksThriceAtItsFirstDenial(LooksAtEachDenial):
    """Twice more, once."""

    at_the_first = 3


class RemembersADenialForLong(LazyClient):
    """Does not ask again for 13.5 s for what was denied: a life, a call and R are 15 s."""

    keeps = 13.5
    _denied_until = 0.0

    def read(self, path: str, key: str) -> str:
        if time.monotonic() < self._denied_until and path != "backend/django":
            raise DeniedError(f"{path} was denied")
        try:
            return super().read(path, key)
        except DeniedError:
            self._denied_until = time.monotonic() + self.keeps
            raise


class RemembersADenialForTooLong(RemembersADenialForLong):
    """Nor for 17.5 s."""

    keeps = 17.5


class RemembersADenialForTheRefreshTime(LazyClient):
    """Asks anew what was denied when a value would be asked for anew, in each way of reading.

    It declares its longest pause: that is shorter, and no matter of denials.
    """

    keeps = 4.8

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._remembered: dict[str, float] = {}

    def read(self, path: str, key: str) -> str:
        if time.monotonic() < self._remembered.get(path, 0.0):
            raise DeniedError(f"{path} was denied")
        try:
            return super().read(path, key)
        except DeniedError:
            self._remembered[path] = time.monotonic() + self.keeps
            raise


# What it asks for of its own accord

KEPT = ("backend/database", "backend/redis", "backend/celery")
"""Secrets that nobody asks for."""


class KeepsThreeSecretsFresh(LazyClient):
    """Looks at secrets that nobody asks for, four times a second, whatever Vault answers."""

    every = 0.23

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        threading.Thread(target=self._poll, daemon=True).start()

    def _poll(self) -> None:
        for path in itertools.cycle(KEPT):
            time.sleep(self.every)
            if self._closed:
                return
            token, deadline = self._token, time.monotonic() + 1.0
            if token is not None and token.left > 0:
                where = f"{self._mount}/data/{path}"
                with contextlib.suppress(ClientError):
                    self._wire.send("GET", where, deadline=deadline, token=token.value)


class KeepsThreeSecretsTooFresh(KeepsThreeSecretsFresh):
    """Twelve times."""

    every = 0.08
