"""Clients at the edges of thresholds on renewals and looks: how early, how late, and how often.

``thresholds.toml`` says which of them stands on which side of what. Each is listed in the module of
the group whose scenario it meets.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Mapping

from tests.mutants.clients import AtShare
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import ClientError, Reply, UnavailableError

# When


class RenewsAtAQuarter(AtShare):
    """A little too early."""

    share = 0.27


class RenewsAtAThird(AtShare):
    """Early enough to cost Vault more than it must, and allowed."""

    share = 0.33


class RenewsLate(AtShare):
    """As late as is allowed, and still before the end."""

    share = 0.87


class RenewsTooLate(AtShare):
    """Waits for the last moment, which a slow network misses."""

    share = 0.98


class AsksForAnHour(LazyClient):
    """Renews a new token at once, and asks for an hour each time.

    HashiCorp's example of a LifetimeWatcher does so.
    """

    increment = 3600

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        with contextlib.suppress(ClientError):
            self._renewed(token, deadline)
        return token

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        if path == "auth/token/renew-self":
            body = {"increment": self.increment}
        return super()._ask(method, path, deadline, token, body)


class OverflowsItsTimer(AtShare):
    """Has timers that count milliseconds in 31 bits, as JavaScript's `setTimeout` does.

    One for longer than 24.8 days is over at once, and where a token lives for Vault's default of
    768 hours four fifths of that are.
    """

    share = 0.8

    def _arm(self, seconds: float) -> None:
        token = self._token
        due = token.ttl * self.share if token is not None else seconds
        LazyClient._arm(self, due if due * 1000 < 2**31 else 0.001)


class WithoutItsThread(AtShare):
    """Acts by its own share of a life once; what a caller finds out after that it does at once."""

    _armed = False

    def _arm(self, seconds: float) -> None:
        if self._armed:
            LazyClient._arm(self, seconds)
        else:
            self._armed = True
            super()._arm(seconds)


class RenewsLateWithoutItsThread(WithoutItsThread):
    """Its thread dies when it should renew, late; a caller finds out, and renews at once."""

    share = 0.84


class RenewsTooLateWithoutItsThread(RenewsLateWithoutItsThread):
    """And too late."""

    share = 0.975


class ReplacesLate(AtShare):
    """Logs in just before the end of a token that cannot be renewed."""

    share = 0.95


# In vain


class TriesARenewalFourTimes(LazyClient):
    """Takes a refused renewal for a hiccup, and three more of them."""

    tries = 4

    def _renewed(self, token: Token, deadline: float) -> bool:
        for _ in range(self.tries):
            reply = self._ask("POST", "auth/token/renew-self", deadline, token, {})
            if reply.status == 200:
                token.since, token.ttl = time.monotonic(), float(reply.auth["lease_duration"])
                self._arm(token.due)
                return True
            time.sleep(0.1)
        return False


class TriesARenewalFiveTimes(TriesARenewalFourTimes):
    """Once too often."""

    tries = 5


class RenewsInVainElevenTimes(LazyClient):
    """Asks eleven times for a renewal that fails, and then waits for its token's end."""

    tries = 11
    _tried = 0

    def _renewed(self, token: Token, _: float) -> bool:
        while self._tried < self.tries and token.left > 1.0:
            self._tried += 1
            with contextlib.suppress(UnavailableError):
                reply = self._wire.send(
                    "POST",
                    "auth/token/renew-self",
                    deadline=time.monotonic() + 1.0,
                    token=token.value,
                    body={},
                )
                if reply.status != 200:
                    return False
                self._tried = 0
                token.since, token.ttl = time.monotonic(), float(reply.auth["lease_duration"])
                self._arm(token.due)
                return True
            time.sleep(0.2)
        raise UnavailableError("it cannot be renewed now")


class RenewsInVainTwelveTimes(RenewsInVainElevenTimes):
    """Once too often."""

    tries = 12


# Renewals that do no good, and what is given back


class RenewsEachTokenOnce(LazyClient):
    """Finds out of each token that it cannot be renewed, by asking."""

    at_the_first, later = 1, 1
    _tokens = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._tokens += 1
        for _ in range(self.at_the_first if self._tokens == 1 else self.later):
            self._ask("POST", "auth/token/renew-self", deadline, token, {})
        return token


class RenewsItsFirstTokenTwice(RenewsEachTokenOnce):
    """And does not believe it at first."""

    at_the_first = 2


class RenewsOneBatchToken(RenewsEachTokenOnce):
    """Finds out once that batch tokens cannot be renewed."""

    later = 0


class RenewsOneBatchTokenTwice(RenewsOneBatchToken):
    """And does not believe it."""

    at_the_first = 2


class RevokesOneBatchToken(LazyClient):
    """Tries to give its token back at its end, which Vault does not take."""

    times = 1

    def close(self) -> None:
        token, deadline = self._token, time.monotonic() + 2.0
        for _ in range(self.times if token is not None else 0):
            assert token is not None
            with contextlib.suppress(ClientError):
                self._wire.send(
                    "POST", "auth/token/revoke-self", deadline=deadline, token=token.value
                )
        super().close()


class RevokesOneBatchTokenTwice(RevokesOneBatchToken):
    """Twice."""

    times = 2


class TriesACappedRenewalFourTimes(LazyClient):
    """Asks three more times for the life that a renewal does not give any more."""

    tries = 4

    def _renewed(self, token: Token, deadline: float) -> bool:
        renewed = super()._renewed(token, deadline)
        for _ in range(self.tries - 1):
            if renewed or token.ttl >= token.first_ttl * 0.9:
                break
            time.sleep(0.1)
            token.renewable = True
            renewed = super()._renewed(token, deadline)
        return renewed


class TriesACappedRenewalFiveTimes(TriesACappedRenewalFourTimes):
    """Once too often."""

    tries = 5


class RenewsTheDead(LazyClient):
    """Wakes up and tries hard to renew a token that has ended meanwhile."""

    tries = 8

    def _valid_token(self, deadline: float) -> Token:
        token = self._token
        if token is not None and token.left <= 0:
            for _ in range(self.tries):
                self._ask("POST", "auth/token/renew-self", deadline, token, {})
                time.sleep(0.05)
        return super()._valid_token(deadline)


class RenewsTheDeadFourTimes(RenewsTheDead):
    """Needs four answers to believe that its token has ended."""

    tries = 4


class RenewsTheDeadFiveTimes(RenewsTheDead):
    """Five."""

    tries = 5


# Looks and uses


class LooksAtEachToken(LazyClient):
    """Spends a use of each token on a look at it."""

    at_the_first = 1
    _tokens = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._tokens += 1
        for _ in range(self.at_the_first if self._tokens == 1 else 1):
            self._ask("GET", "auth/token/lookup-self", deadline, token)
        return token


class LooksTwiceAtItsFirstToken(LooksAtEachToken):
    """Spends one use more."""

    at_the_first = 2


class UsesATokenThreeTimes(LazyClient):
    """Uses its first token up, and each later one half."""

    later = 3
    _tokens = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._tokens += 1
        if self._tokens > 1 and token.uses:
            token.uses = self.later
        return token

    def close(self) -> None:
        """Give it back though it takes it for used up: Vault does not."""
        if self._token is not None and self._tokens > 1 and self._token.uses < 0:
            self._token.uses = 0
        super().close()


class UsesATokenOnce(UsesATokenThreeTimes):
    """Uses its first token up, and takes another one for each read after that."""

    later = 1


class LooksAtEveryFourthRead(LazyClient):
    """Makes sure of its token now and then."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._numbers = itertools.count(1)

    def looks(self, number: int) -> bool:
        """Whether it looks at its token before its read of this number."""
        return number % 4 == 0

    def _fetch(self, path: str, deadline: float) -> Reply:
        if self.looks(next(self._numbers)):
            self._ask("GET", "auth/token/lookup-self", deadline, self._valid_token(deadline))
        return super()._fetch(path, deadline)


class LooksAtTwoReadsOfFive(LooksAtEveryFourthRead):
    """Makes sure of it too often."""

    def looks(self, number: int) -> bool:
        """The second and the last of five."""
        return number % 5 in (0, 2)
