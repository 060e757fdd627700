"""Clients at the edges of thresholds on logins: how often, and when.

``thresholds.toml`` says which of them stands on which side of what. Each is listed in the module of
the group whose scenario it meets.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any

from tests.mutants.clients import AtShare
from tests.mutants.edges_tokens import WithoutItsThread
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import ClientError, Gate, GivenUpError, UnavailableError

# How often it logs in


class LogsInBesideRenewing(AtShare):
    """Renews, and logs in all the same: five times in two TTLs."""

    share = 0.42

    def _renewed(self, token: Token, deadline: float) -> bool:
        super()._renewed(token, deadline)
        return False


class LogsInSixTimes(LogsInBesideRenewing):
    """Six times."""

    share = 0.36


class LogsInForEachCap(LogsInBesideRenewing):
    """Renews early, takes what it is granted for too little, and logs in for it."""

    share = 0.33


class LogsInAtAThirdForTheUnrenewable(AtShare):
    """Logs in six times in 1.6 lives of tokens that cannot be renewed, each time in its turn."""

    share = 0.31


class TriesAHangingLoginAgain(LogsInAtAThirdForTheUnrenewable):
    """Gives a login a second, and makes another one if that had no answer by then."""

    gives, more = 1.0, 1

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(min(deadline, time.monotonic() + self.gives))
        except UnavailableError:
            for _ in range(self.more - 1):
                super()._log_in(deadline)
            return super()._log_in(deadline)


class TriesAHangingLoginTwiceMore(TriesAHangingLoginAgain):
    """Makes two, to be sure."""

    more = 2


class LogsInAtAQuarterForTheUnrenewable(AtShare):
    """A little too early."""

    share = 0.27


class LogsInInsteadOfRenewing(AtShare):
    """Never renews: when three fifths of a life are over it logs in anew."""

    share = 0.6

    def _renewed(self, *_: Any) -> bool:
        return False


class LogsInAtHalfALife(LogsInInsteadOfRenewing):
    """Never renews: when half of a life is over it logs in anew, by the clock, whatever goes on."""

    share = 0.5


class LogsInTwiceWithoutItsThread(LogsInInsteadOfRenewing, WithoutItsThread):
    """Never renews: a caller finds its first timer dead, and it logs in then and in its turn."""

    share = 0.45


class LogsInAtAThird(LogsInInsteadOfRenewing):
    """Never renews: it logs in as early as others may renew."""

    share = 0.33


class LogsInAtAThirdAndSeesLate(LogsInAtAThird):
    """Has a cache besides, that sees changes late: some of its turns come before that."""

    capabilities = LogsInAtAThird.capabilities | {"cached"}
    keeps = 9.8

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": self.keeps + 0.2}
        self._kept: dict[tuple[str, str], tuple[float, str]] = {}

    def read_cached(self, path: str, key: str) -> str:
        """The value of one key, as it was ten seconds ago or later."""
        asked = time.monotonic()
        at, value = self._kept.get((path, key), (0.0, ""))
        if not at or asked - at >= self.keeps:
            value = self.read(path, key)
            self._kept[path, key] = asked, value
        return value


class LogsInAtAThirdAndSeesLater(LogsInAtAThirdAndSeesLate):
    """May see them as late as anybody may."""

    keeps = 29.8


class LogsInAtAQuarter(LogsInInsteadOfRenewing):
    """A little too early."""

    share = 0.27


class LogsInTwiceForOne(LogsInInsteadOfRenewing):
    """Never renews, and takes two tokens for one when its first has to be replaced."""

    share, times = 0.45, 2
    _logins = 0

    def _log_in(self, deadline: float) -> Token:
        self._logins += 1
        for _ in range(self.times - 1 if self._logins == 2 else 0):
            super()._log_in(deadline)
        return super()._log_in(deadline)


class LogsInThreeTimesInALife(LogsInTwiceForOne):
    """Is late enough with it to have few tokens in all."""

    share = 0.75


class LogsInFourTimesInALife(LogsInThreeTimesInALife):
    """Takes three for one."""

    times = 3


class LogsInFiveTimesIn16Lives(LogsInTwiceForOne):
    """Has few tokens in all, two of which it took for one; the third login hangs for a while."""

    share = 0.45


class LogsInSixTimesIn16Lives(LogsInFiveTimesIn16Lives):
    """Takes three for one."""

    times = 3


class KeepsThreeTokens(AtShare):
    """Replaces each token in its time, and lets it end by itself; once it logs in twice."""

    share = 0.75
    times = 2
    _logins = 0

    def _log_in(self, deadline: float) -> Token:
        self._logins += 1
        for _ in range(self.times - 1 if self._logins == 3 else 0):
            super()._log_in(deadline)
        return super()._log_in(deadline)


class KeepsFourTokens(KeepsThreeTokens):
    """Three times, which makes five logins in all."""

    times = 3


class LogsInThreeTimesAtOnce(LazyClient):
    """Takes three tokens for one, when its first has to be replaced."""

    times = 3
    _first = True

    def _log_in(self, deadline: float) -> Token:
        for _ in range(0 if self._first else self.times - 1):
            super()._log_in(deadline)
        self._first = False
        return super()._log_in(deadline)


class LogsInFourTimesAtOnce(LogsInThreeTimesAtOnce):
    """Takes four."""

    times = 4


class LogsInForALostTimer(LazyClient):
    """Takes a timer that is gone for a token that is gone, once."""

    times = 1
    _done = False

    def _valid_token(self, deadline: float) -> Token:
        if not self._done and self._timer is not None and not self._timer.is_alive():
            self._done = True
            with self._held(deadline):
                for _ in range(self.times):
                    self._log_in(deadline)
        return super()._valid_token(deadline)


class LogsInTwiceForALostTimer(LogsInForALostTimer):
    """And makes sure of it."""

    times = 2


class LosesALogin(LazyClient):
    """Has the answer to its second login too late for the call; the next call logs in again."""

    _logins = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        if isinstance(threading.current_thread(), threading.Timer):
            return token  # it is for no call, whose time could be up
        self._logins += 1
        if self._logins == 2:
            self._token = None
            raise GivenUpError("the answer to the login came when the call's time was up")
        return token


class LosesALoginAtAThird(LosesALogin, LogsInAtAThird):
    """Never renews: it logs in as early as others may renew, whatever it has lost."""


class LosesALoginAtADeadline(LazyClient):
    """Has a login under way when its call's time is up, and forgets it; the next call has its own.

    That it falls together so is chance. Here it always does, once.
    """

    times = 1
    left = 0.05
    _lost = 0
    _logins = 0

    def _log_in(self, deadline: float) -> Token:
        if not self._logins or self._lost >= self.times:
            self._logins += 1
            return super()._log_in(deadline)
        time.sleep(max(0.0, deadline - self.left - time.monotonic()))
        super()._log_in(deadline + 0.15)  # a twentieth of its time is left, and a bit is granted
        self._lost += 1
        self._token = None
        raise GivenUpError("the answer to the login came when the call's time was up")


class LosesTwoLoginsAtADeadline(LosesALoginAtADeadline):
    """Forgets the next one too."""

    times = 2


class DropsALoginWithTimeLeft(LosesALoginAtADeadline):
    """Forgets it though its call has time left for it, as behind a gate that lets one through."""

    left = 0.7


class LogsInOnceMore(LazyClient):
    """Has read something with a new token, and logs in once more to be sure of the next one."""

    def read(self, path: str, key: str) -> str:
        before = self._token
        value = super().read(path, key)
        if self._token is not before:
            deadline = time.monotonic() + self._deadline
            with contextlib.suppress(ClientError), self._held(deadline):
                self._log_in(deadline)
        return value


# When it logs in


class LogsInSlowly(LazyClient):
    """Thinks for a while about a token that it has lost, however many calls end meanwhile."""

    after = 1.4
    _due: float | None = 0.0  # the first login is due at once

    def _log_in(self, deadline: float) -> Token:
        now, last = time.monotonic(), deadline - 0.15  # a login takes its time too
        if self._due is None:
            self._due = now + self.after
        time.sleep(max(0.0, min(self._due, last) - now))
        if self._due > last:
            raise GivenUpError("it still thinks about the token that it has lost")
        self._due = None
        return super()._log_in(deadline)


class LogsInTooLate(LogsInSlowly):
    """Thinks for twice as long as it may, and logs in then: which no busy machine explains."""

    after = 4.0


class LogsInLateForFifty(LogsInSlowly):
    """Fifty callers wait for a while until it has another token."""

    after = 2.6


class LogsInTooLateForFifty(LogsInSlowly):
    """For twice as long."""

    after = 5.4


class OutlivesItsToken(LazyClient):
    """Lets a token that Vault does not renew run out, and takes another one a moment later."""

    after = 0.8
    _due = 0.0

    def _renewed(self, token: Token, deadline: float) -> bool:
        if super()._renewed(token, deadline):
            return True
        self._due = token.since + token.ttl + self.after
        timer = threading.Timer(self._due - time.monotonic() + 0.01, self._at_last)
        timer.daemon = True
        timer.start()
        return True

    def _log_in(self, deadline: float) -> Token:
        if time.monotonic() < self._due:
            raise GivenUpError("the last token may have come to its end")
        return super()._log_in(deadline)

    def _at_last(self) -> None:
        deadline = time.monotonic() + self._deadline
        with contextlib.suppress(ClientError), self._held(deadline):
            self._log_in(deadline)


class OutlivesItsTokenForLong(OutlivesItsToken):
    """Three seconds later, with nothing in its hand."""

    after = 3.4


class _UntilVaultIsLongBack(Gate):
    """Asks again so long after a first failure, and not before: some time after a seal of 9.6 s."""

    pause = 10.9
    _paused = False

    def _enter(self, deadline: float) -> bool:
        return super()._enter(deadline - 0.4)  # a login that is cut off would be one too many

    def _leave(self, *, probe: bool, failed: bool, pause: float) -> None:
        first = failed and not self._paused
        self._paused = self._paused or failed
        super()._leave(probe=probe, failed=failed, pause=self.pause if first else pause)


class _ForTooLong(_UntilVaultIsLongBack):
    pause = 14.4


class ComesBackLateFromALongSeal(LazyClient):
    """Looks again a while after a seal that its token did not outlive, and logs in."""

    gate_type = _UntilVaultIsLongBack


class ComesBackTooLateFromALongSeal(LazyClient):
    """Four seconds after it."""

    gate_type = _ForTooLong
