"""Clients that break the promises of TOK: a token's life, from its login to its end."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Mapping
from typing import Any

from tests.mutants.clients import (
    LAZY_PROCESS,
    AtShare,
    GivesUpRenewing,
    HangsAtTheEnd,
    LeavesItsTokenBehind,
    Mutant,
    Tolerated,
)
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    ClientError,
    GivenUpError,
    Reply,
    UnavailableError,
)


class NeverRenews(LazyClient):
    """Logs in when the token has ended, and not before."""

    def _arm(self, seconds: float) -> None:
        pass


class RenewsTooLate(LazyClient):
    """Waits for the last moment, which a slow network misses."""

    def _arm(self, seconds: float) -> None:
        token = self._token
        super()._arm(token.ttl * 0.98 if token is not None else seconds)


class RenewsByTheClock(LazyClient):
    """Renews at half of its token's life to the millisecond, as all its sisters do."""

    def _arm(self, seconds: float) -> None:
        token = self._token
        super()._arm(token.ttl / 2 if token is not None else seconds)


class RenewsAllTheTime(LazyClient):
    """Renews every half second, however long the token lives."""

    def _arm(self, seconds: float) -> None:
        super()._arm(min(seconds, 0.5))


class RenewsOnce(LazyClient):
    """Its renewer works, and then ends."""

    _done = False

    def _renewed(self, token: Token, deadline: float) -> bool:
        self._done = True
        return super()._renewed(token, deadline)

    def _arm(self, seconds: float) -> None:
        if not self._done:
            super()._arm(seconds)


class RenewsInAHotLoop(LazyClient):
    """Takes a refused renewal for a hiccup, and forgets to pause before the next."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        while token.left > 0:
            reply = self._ask("POST", "auth/token/renew-self", deadline, token, {})
            if reply.status == 200:
                token.since, token.ttl = time.monotonic(), float(reply.auth["lease_duration"])
                self._arm(token.due)
                return True
            time.sleep(0.02)
        return False


class IgnoresMaxTtl(LazyClient):
    """Renews on while the TTL shrinks; the first to notice the end is a caller."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        token.first_ttl = 0.0
        super()._renewed(token, deadline)
        return True

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        super()._was_dead(where, token, deadline)
        return False

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            self._token.since = time.monotonic()  # its own clock says nothing
        return super()._valid_token(deadline)


class RenewsTheUnrenewable(LazyClient):
    """Does not look at ``renewable``, and takes the 400 for a hiccup."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        reply = self._ask("POST", "auth/token/renew-self", deadline, token, {})
        if reply.status != 200:
            raise UnavailableError("not renewed")
        token.since, token.ttl = time.monotonic(), float(reply.auth["lease_duration"])
        self._arm(token.due)
        return True


class LogsInForEveryRead(LazyClient):
    """Has no memory of its token."""

    def _valid_token(self, deadline: float) -> Token:
        with self._held(deadline):
            return self._log_in(deadline)


class LogsInOncePerThread(LazyClient):
    """Has no single flight: each thread that meets a dead token logs in for itself."""

    def _was_dead(self, _: str, token: Token, deadline: float) -> bool:
        looked = self._ask("GET", "auth/token/lookup-self", deadline, token)
        if looked.status != 403:
            return False
        self._log_in(deadline)
        return True


class LogsInTwice(LazyClient):
    """Logs in, and logs in once more to be sure; the first token is left to Vault."""

    def _log_in(self, deadline: float) -> Token:
        super()._log_in(deadline)
        return super()._log_in(deadline)


class NeverLogsInAgain(LazyClient):
    """Surfaces a dead token as a denial, for ever."""

    def _was_dead(self, *_: Any, **__: Any) -> bool:
        return False


class RevokesBatchTokens(LazyClient):
    """Gives every token back when it has the next, those that cannot be given back too."""

    def _log_in(self, deadline: float) -> Token:
        old = self._token
        token = super()._log_in(deadline)
        if old is not None:
            for _ in range(2):  # Vault says 400, so once more
                self._ask("POST", "auth/token/revoke-self", deadline, old, {})
        return token


class SurfacesTheEndOfUses(LazyClient):
    """Does not count its token's uses, and hands the 403 that ends them to whoever reads."""

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        token.uses = 0
        return token

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        super()._was_dead(where, token, deadline)
        return False


class DropsItsTokenOnError(LazyClient):
    """Throws its token away when a renewal fails, though it lives on."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        try:
            return super()._renewed(token, deadline)
        except UnavailableError:
            self._token = None
            raise


class AbandonsALogin(LazyClient):
    """Does not wait at its end for the login that is on its way."""

    def close(self) -> None:
        self._closed = True
        token = self._token
        if token is not None:
            deadline = time.monotonic() + 2.0
            with contextlib.suppress(ClientError):
                self._wire.send(
                    "POST", "auth/token/revoke-self", deadline=deadline, token=token.value
                )


class RenewsTwiceAtOnce(LazyClient):
    """Two renewers of one token, which know nothing of each other."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        if not token.renewable:
            return super()._renewed(token, deadline)

        def again() -> None:
            with contextlib.suppress(ClientError):
                self._ask("POST", "auth/token/renew-self", deadline, token, {})

        others = [threading.Thread(target=again, daemon=True) for _ in range(3)]
        for other in others:
            other.start()
        renewed = super()._renewed(token, deadline)
        for other in others:
            other.join()
        return renewed


class KeepsItsFirstTtl(LazyClient):
    """Takes it for granted that a renewal gives what the login gave."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        renewed = super()._renewed(token, deadline)
        if token.ttl < token.first_ttl:
            token.ttl, token.renewable = token.first_ttl, True
            self._arm(token.due)
            return True
        return renewed


class RenewsWhatIsCapped(LazyClient):
    """Asks again and again for the life that a renewal does not give any more."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        renewed = super()._renewed(token, deadline)
        if token.left < 1.0:
            return renewed
        if not renewed and token.ttl < token.first_ttl:
            token.renewable = True
            self._arm(0.3)
            return True
        return renewed


class TakesAPeriodForEver(LazyClient):
    """Its periodic token cannot end, it thinks, and takes whatever Vault says for a policy."""

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            self._token.since = time.monotonic()
        return super()._valid_token(deadline)

    def _renewed(self, token: Token, deadline: float) -> bool:
        super()._renewed(token, deadline)
        return True

    def _was_dead(self, *_: object, **__: object) -> bool:
        return False


class RenewsTheDead(LazyClient):
    """Wakes up and tries hard to renew a token that has ended meanwhile."""

    def _valid_token(self, deadline: float) -> Token:
        token = self._token
        if token is not None and token.left <= 0:
            for _ in range(8):
                self._ask("POST", "auth/token/renew-self", deadline, token, {})
                time.sleep(0.05)
        return super()._valid_token(deadline)


# At the edges of thresholds


class RenewsAtAQuarter(AtShare):
    """A little too early."""

    share = 0.27


class RenewsAtAThird(AtShare):
    """Early enough to cost Vault more than it must, and allowed."""

    share = 0.33


class RenewsLate(AtShare):
    """As late as is allowed, and still before the end."""

    share = 0.87


class ReplacesLate(AtShare):
    """Logs in just before the end of a token that cannot be renewed."""

    share = 0.95


class LogsInFiveTimes(AtShare):
    """Renews nothing, and logs in twice in each TTL and a bit."""

    share = 0.42

    def _renewed(self, *_: Any) -> bool:
        return False


class LogsInSixTimes(LogsInFiveTimes):
    """Renews nothing, and logs in nearly three times in each TTL."""

    share = 0.36


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


class _ByTheWallClock(Token):
    """A token whose life is reckoned by the time of day."""

    @property
    def left(self) -> float:
        day: float = vars(self).setdefault("day", time.time() - time.monotonic())
        return self.since + day + self.ttl - time.time()


class TrustsTheWallClock(LazyClient):
    """Takes a token for dead once the time of day is past its end."""

    def _log_in(self, deadline: float) -> Token:
        self._token = token = _ByTheWallClock(**vars(super()._log_in(deadline)))
        assert token.left > 0  # the difference of the two clocks is taken now
        return token


class _AtATimeOfDay(threading.Timer):
    """Looks at the time of day again and again, until it is the one that it was set for."""

    def run(self) -> None:
        due = time.time() + self.interval
        while not self.finished.wait(0.05):
            if time.time() >= due:
                self.function(*self.args, **self.kwargs)
                self.finished.set()


class WaitsForATimeOfDay(LazyClient):
    """Renews when the time of day has come, however often that comes."""

    def _arm(self, seconds: float) -> None:
        with self._timing:
            if self._timer is not None:
                self._timer.cancel()
            if not self._closed and self._token is not None and self._token.ttl:
                self._timer = _AtATimeOfDay(seconds, self._tick)
                self._timer.daemon = True
                self._timer.start()


MUTANTS: dict[str, Mutant] = {
    "renews-twice-at-once": Mutant(RenewsTwiceAtOnce, "TOK-01", "renewal"),
    "never-renews": Mutant(NeverRenews, "TOK-01", "a renewal or a login between"),
    "renews-too-late": Mutant(RenewsTooLate, "TOK-01", "a renewal or a login between"),
    "renews-once": Mutant(RenewsOnce, "TOK-01", "a renewal or a login between"),
    "renews-all-the-time": Mutant(RenewsAllTheTime, "TOK-01", "into a life of"),
    "logs-in-for-every-read": Mutant(LogsInForEveryRead, "TOK-01", "at most 1 login"),
    "renews-by-the-clock": Mutant(RenewsByTheClock, "TOK-02", "instances differ by"),
    "ignores-max-ttl": Mutant(IgnoresMaxTtl, "TOK-03", "no read fails"),
    "ignores-explicit-max-ttl": Mutant(IgnoresMaxTtl, "TOK-05", "no read fails"),
    "logs-in-after-the-end-of-explicit-max-ttl": Mutant(NeverRenews, "TOK-05", "before"),
    "logs-in-after-the-end-of-the-unrenewable": Mutant(NeverRenews, "TOK-06", "before"),
    "renews-the-unrenewable": Mutant(RenewsTheUnrenewable, "TOK-06", "renewals"),
    "renews-batch-tokens": Mutant(RenewsTheUnrenewable, "TOK-07", "at most 1 renewal"),
    "revokes-batch-tokens": Mutant(RevokesBatchTokens, "TOK-07", "requests (revoke)"),
    "never-renews-a-periodic-token": Mutant(NeverRenews, "TOK-08", "a renewal or a login between"),
    "surfaces-the-end-of-uses": Mutant(SurfacesTheEndOfUses, "TOK-10", "no read fails"),
    "never-logs-in-again": Mutant(NeverLogsInAgain, "TOK-11", "a new login within"),
    "logs-in-twice": Mutant(LogsInTwice, "TOK-11", "at most 1 login"),
    "logs-in-once-per-thread": Mutant(LogsInOncePerThread, "TOK-12", "at most 1 login"),
    "renews-what-it-may-not": Mutant(RenewsInAHotLoop, "TOK-14", "renewals"),
    "renews-in-a-hot-loop": Mutant(RenewsInAHotLoop, "TOK-15", "at most 4 renewals"),
    "gives-up-renewing": Mutant(GivesUpRenewing, "TOK-16", "the next renewal succeeds"),
    "drops-its-token-on-error": Mutant(DropsItsTokenOnError, "TOK-17", "no read fails"),
    "leaves-its-token-behind": Mutant(LeavesItsTokenBehind, "TOK-19", "tokens alive"),
    "hangs-at-the-end": Mutant(HangsAtTheEnd, "TOK-19", "tokens alive"),
    "abandons-a-login": Mutant(AbandonsALogin, "TOK-20", "tokens alive"),
    "logs-in-for-all-secrets": Mutant(LogsInForEveryRead, "TOK-21", "at most 1 login"),
    "keeps-its-first-ttl": Mutant(KeepsItsFirstTtl, "TOK-04", "a token is replaced before it ends"),
    "renews-what-is-capped": Mutant(RenewsWhatIsCapped, "TOK-04", "at most 4 renewals"),
    "takes-a-period-for-ever": Mutant(
        TakesAPeriodForEver, "TOK-09", "a new login within", LAZY_PROCESS, process=True
    ),
    "renews-the-dead": Mutant(
        RenewsTheDead, "TOK-09", "at most 4 renewals", LAZY_PROCESS, process=True
    ),
    "never-replaces-a-lost-child": Mutant(NeverLogsInAgain, "TOK-13", "a new login within"),
    "logs-in-twice-for-a-lost-child": Mutant(LogsInTwice, "TOK-13", "at most 1 login"),
    "trusts-the-wall-clock": Mutant(
        TrustsTheWallClock, "TOK-18", "at most 1 login", LAZY_PROCESS, process=True
    ),
    "waits-for-a-time-of-day": Mutant(
        WaitsForATimeOfDay, "TOK-18", "at most 1 login", LAZY_PROCESS, process=True
    ),
    "renews-at-a-quarter": Mutant(RenewsAtAQuarter, "TOK-01", "into a life of"),
    "logs-in-six-times": Mutant(LogsInSixTimes, "TOK-03", "at most 5 logins"),
    "logs-in-too-late": Mutant(LogsInTooLate, "TOK-11", "a new login within"),
    "tries-a-denied-renewal-five-times": Mutant(
        TriesARenewalFiveTimes, "TOK-14", "renewals of one token"
    ),
    "tries-a-refused-renewal-five-times": Mutant(
        TriesARenewalFiveTimes, "TOK-15", "at most 4 renewals"
    ),
    "renews-in-vain-twelve-times": Mutant(RenewsInVainTwelveTimes, "TOK-17", "at most 11 renewals"),
    "looks-twice-at-its-first-token": Mutant(
        LooksTwiceAtItsFirstToken, "TOK-10", "requests (lookup)"
    ),
    "uses-a-token-once": Mutant(UsesATokenOnce, "TOK-10", "logins"),
    "looks-at-two-reads-of-five": Mutant(
        LooksAtTwoReadsOfFive, "TOK-21", "requests (lookup and capabilities)"
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "renews-at-a-third": Tolerated(RenewsAtAThird, "TOK-01"),
    "renews-late": Tolerated(RenewsLate, "TOK-01"),
    "renews-late-while-its-clock-is-set": Tolerated(
        RenewsLate, "TOK-18", LAZY_PROCESS, process=True
    ),
    "logs-in-five-times": Tolerated(LogsInFiveTimes, "TOK-03"),
    "replaces-late": Tolerated(ReplacesLate, "TOK-06"),
    "logs-in-slowly": Tolerated(LogsInSlowly, "TOK-11"),
    "tries-a-denied-renewal-four-times": Tolerated(TriesARenewalFourTimes, "TOK-14"),
    "tries-a-refused-renewal-four-times": Tolerated(TriesARenewalFourTimes, "TOK-15"),
    "renews-in-vain-eleven-times": Tolerated(RenewsInVainElevenTimes, "TOK-17"),
    "looks-at-each-token": Tolerated(LooksAtEachToken, "TOK-10"),
    "uses-a-token-three-times": Tolerated(UsesATokenThreeTimes, "TOK-10"),
    "looks-at-every-fourth-read": Tolerated(LooksAtEveryFourthRead, "TOK-21"),
}
