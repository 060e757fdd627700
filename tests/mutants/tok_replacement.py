"""Clients that break TOK-03, 05 to 07, 09, 10 or 17: replacement of a token that ends."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping

from tests.mutants.clients import (
    AtShare,
    LogsInThreeTimes,
    Mutant,
    Tolerated,
    TriesFiveTimesInOneCall,
    TriesFourTimesInOneCall,
    _Four,
    by_name,
)
from tests.mutants.login_clients import (
    AsksOnceItIsOld,
    DropsItsTokenOnError,
    LogsInAtAThird,
    LogsInFourSecondsAfterASleep,
    LooksBeforeEachRead,
    PollsItsSecrets,
    ProbesItselfNowAndThen,
    RenewsInACallersCall,
    RenewsItsOldToken,
)
from tests.mutants.reference_clients import ReportsUnhealthyLate
from tests.mutants.tok_renewal import (
    FindsOutByARefusal,
    LogsInBesideRenewing,
    NeverRenews,
)
from tests.subjects.lazy_client import Credentials, LazyClient, Token
from tests.subjects.lazy_wire import ClientError, DeniedError, GivenUpError, Reply, UnavailableError


class RenewsEachTokenOnce(LazyClient):
    """Learns by asking that a token cannot be renewed."""

    at_the_first, later = 1, 1
    _tokens = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._tokens += 1
        for _ in range(self.at_the_first if self._tokens == 1 else self.later):
            self._ask("POST", "auth/token/renew-self", deadline, token, {})
        return token


class HasNoneWhileItLogsIn(LazyClient):
    """Drops its token before it asks for another, so that reads meanwhile fail.

    A login takes milliseconds, so that hardly any read fails while Vault is idle.
    """

    _between = False

    def _log_in(self, deadline: float) -> Token:
        self._between = self._token is not None
        self._token = None
        try:
            return super()._log_in(deadline)
        finally:
            self._between = False

    def _valid_token(self, deadline: float) -> Token:
        if self._between:
            raise DeniedError("it is not logged in")
        return super()._valid_token(deadline)


# TOK-03


class IgnoresMaxTtl(LazyClient):
    """Keeps renewing while the TTL shrinks; a caller is the first to notice the end."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        token.first_ttl = 0.0
        super()._renewed(token, deadline)
        return True

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        super()._was_dead(where, token, deadline)
        return False

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            self._token.since = time.monotonic()  # its own clock must not notice it
        return super()._valid_token(deadline)


class KeepsThreeTokens(AtShare):
    """Replaces each token in time, and the old one expires; once it logs in twice."""

    share = 0.75
    times = 2
    _logins = 0

    def _log_in(self, deadline: float) -> Token:
        self._logins += 1
        for _ in range(self.times - 1 if self._logins == 3 else 0):
            super()._log_in(deadline)
        return super()._log_in(deadline)


class RevokesItsOldTokenAfterALogin(LazyClient):
    """Revokes its token as soon as it has another; a read with the old one is repeated.

    Such a read is rare. Here a caller always has one, delayed for a moment after it took the old
    token.
    """

    late = 0.1

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._old: Token | None = None
        self._taken, self._given_back = threading.Event(), threading.Event()

    def _log_in(self, deadline: float) -> Token:
        old = self._token
        if old is not None:
            self._taken.clear()
            self._given_back.clear()
            self._old = old
            self._taken.wait(1.0)
        token = super()._log_in(deadline)
        if old is not None:
            with contextlib.suppress(ClientError):
                self._ask("POST", "auth/token/revoke-self", deadline, old)
            self._given_back.set()
        return token

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        if method == "GET" and token is self._old and not self._taken.is_set():
            self._taken.set()
            self._given_back.wait(1.0)
            time.sleep(self.late)
        return super()._ask(method, path, deadline, token, body)


class ReadsWithoutATokenAtItsStart(LazyClient):
    """Sends one request without a token at its start, to see whether there is a secret."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        deadline = time.monotonic() + self._deadline
        self._wire.send("GET", f"{self._mount}/data/backend/django", deadline=deadline)


# TOK-06


class ChecksItsTokenUnderTheLockOfALogin(LazyClient):
    """Checks its token under the lock of a login, even if the token has not ended.

    A renewal delays no caller, since it is no login.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._logging_in = threading.RLock()

    def _log_in(self, deadline: float) -> Token:
        with self._logging_in:
            return super()._log_in(deadline)

    def _valid_token(self, deadline: float) -> Token:
        if not self._logging_in.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise GivenUpError("another thread still waits for Vault")
        self._logging_in.release()
        return super()._valid_token(deadline)


class LogsInAtAThirdForTheUnrenewable(AtShare):
    """Logs in six times in 1.6 lives of tokens that cannot be renewed, each time in its turn."""

    share = 0.31


class TriesAHangingLoginAgain(LogsInAtAThirdForTheUnrenewable):
    """Makes another login after a second."""

    gives, more = 1.0, 1

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(min(deadline, time.monotonic() + self.gives))
        except UnavailableError:
            for _ in range(self.more - 1):
                super()._log_in(deadline)
            return super()._log_in(deadline)


class RevokesItsTokenBeforeItLogsIn(LazyClient):
    """Reads meanwhile use a dead one."""

    def _log_in(self, deadline: float) -> Token:
        if (old := self._token) is not None:
            with contextlib.suppress(ClientError):
                self._ask("POST", "auth/token/revoke-self", deadline, old, {})
        return super()._log_in(deadline)


# TOK-07


NO_JSON, NO_AUTH = "none of Vault's", "login was answered with 200"
"""The correct client's words for a page, and for JSON without a token."""


class _AtALogin(LazyClient):
    """Reacts in its own way if a login fails with `word` in the error."""

    word = NO_JSON

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except UnavailableError as error:
            if self.word not in str(error):
                raise
            return self._met(error)

    def _met(self, error: UnavailableError) -> Token:
        raise error


class TreatsAGatewayPageAsALogin(_AtALogin):
    """Looks only at the status, and then has no token for ever."""

    def _met(self, error: UnavailableError) -> Token:
        del error
        self._token = Token("", first_ttl=0.0, ttl=0.0, renewable=False, batch=True, uses=0)
        return self._token


class _HearsOfItsEnd(LazyClient):
    """Learns the end from a refused read: Vault counts whole seconds, so any clock may differ."""

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            self._token.since = time.monotonic()
        return super()._valid_token(deadline)


class StopsReplacingTokensAfterAGatewayPage(_HearsOfItsEnd, _AtALogin):
    _ended = False

    def _met(self, error: UnavailableError) -> Token:
        self._ended = True
        raise error

    def _arm(self, seconds: float) -> None:
        if not self._ended:
            super()._arm(seconds)


class ExitsAfterAGatewayPageForALogin(_AtALogin):
    """Its own thread cannot read it."""

    def _met(self, error: UnavailableError) -> Token:
        del error
        os._exit(1)


class PausesAfterAFailedLogin(LazyClient):
    """Retries in time, without declaring it."""

    rest = 2.5

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {"deadline": self._deadline}

    def _arm(self, seconds: float) -> None:
        super()._arm(self.rest if seconds < 2 * self._longest else seconds)


class PausesForTooLongAfterAFailedLogin(_HearsOfItsEnd, PausesAfterAFailedLogin):
    """Waits until after the token's end."""

    rest = 6.5


class RevokesOneBatchToken(LazyClient):
    """Tries once to revoke its batch token at its end, which Vault refuses."""

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


class FailsAReadWhenItsLoginFails(RenewsInACallersCall):
    """Logs in within a caller's call, which fails if the login fails."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._call = threading.local()

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except ClientError:
            self._call.failed = True
            raise

    def _valid_token(self, deadline: float) -> Token:
        self._call.failed = False
        token = super()._valid_token(deadline)
        if self._call.failed:
            raise GivenUpError("a login that was due has failed")
        return token


class RevokesEachBatchTokenOnce(LazyClient):
    """Accepts Vault's 400."""

    times = 1

    def _log_in(self, deadline: float) -> Token:
        old = self._token
        token = super()._log_in(deadline)
        for _ in range(self.times if old is not None else 0):
            assert old is not None
            self._ask("POST", "auth/token/revoke-self", deadline, old, {})
        return token


# TOK-09


class TreatsAPeriodicTokenAsEndless(LazyClient):
    """Takes every 403 for a policy."""

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            self._token.since = time.monotonic()
        return super()._valid_token(deadline)

    def _renewed(self, token: Token, deadline: float) -> bool:
        super()._renewed(token, deadline)
        return True

    def _was_dead(self, *_: object, **__: object) -> bool:
        return False


class RenewsAnEndedToken(LazyClient):
    """Tries hard when it wakes up."""

    tries = 8

    def _valid_token(self, deadline: float) -> Token:
        token = self._token
        if token is not None and token.left <= 0:
            for _ in range(self.tries):
                self._ask("POST", "auth/token/renew-self", deadline, token, {})
                time.sleep(0.05)
        return super()._valid_token(deadline)


# TOK-10


class FailsAReadWhenUsesRunOut(LazyClient):
    """It does not count its token's uses."""

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        token.uses = 0
        return token

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        super()._was_dead(where, token, deadline)
        return False


class LooksUpEachTokenOnce(LazyClient):
    """Spends one use of each token on a look-up."""

    at_the_first = 1
    _tokens = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._tokens += 1
        for _ in range(self.at_the_first if self._tokens == 1 else 1):
            self._ask("GET", "auth/token/lookup-self", deadline, token)
        return token


class UsesATokenThreeTimes(LazyClient):
    """Uses its first token up, and half of each later one."""

    later = 3
    _tokens = 0

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._tokens += 1
        if self._tokens > 1 and token.uses:
            token.uses = self.later
        return token

    def close(self) -> None:
        """Revoke it even if it seems used up; Vault still counts it."""
        if self._token is not None and self._tokens > 1 and self._token.uses < 0:
            self._token.uses = 0
        super().close()


# TOK-17


class ReadsItsRoleIdOnce(Credentials):
    """Reads a new secret-id at each login, and its role-id only once.

    A role that is created again has another role-id.
    """

    def _one(self, name: str) -> str:
        known = self._last.get(name) if name == "VAULT_ROLE_ID" else None
        return known or super()._one(name)


class BlocksAllCallsAfterAFailedRenewal(AtShare):
    """Drops a token after one failed renewal, and has each call wait for another one.

    Each call tries a login, and is refused: four in all, which is allowed. The token still lives,
    but its callers cannot use it.
    """

    share = 0.3
    credentials_type = _Four

    def _renewed(self, token: Token, deadline: float) -> bool:
        with contextlib.suppress(UnavailableError):
            if super()._renewed(token, deadline):
                return True
        self._token = None
        return False

    def _valid_token(self, deadline: float) -> Token:
        if self._token is not None:
            return super()._valid_token(deadline)
        time.sleep(0.6)
        try:
            return super()._valid_token(deadline)
        except DeniedError:
            time.sleep(max(0.0, deadline - time.monotonic()))
            raise


class RenewsInVainElevenTimes(LazyClient):
    """Tries a failing renewal eleven times, and then waits for its token's end."""

    tries, pause = 11, 0.2
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
            time.sleep(self.pause)
        raise UnavailableError("it cannot be renewed now")


class FailsAReadWhenItsRoleIsGone(RenewsInACallersCall):
    """It never renews. The next calls use its token."""

    def _renewed(self, *_: object) -> bool:
        return False

    def _valid_token(self, deadline: float) -> Token:
        before = self._refusals()
        token = super()._valid_token(deadline)
        if self._refusals() > before:
            raise DeniedError("Vault refused a login that was due")
        return token

    def _refusals(self) -> int:
        return sum(map(len, self._credentials._failed.values()))


MUTANTS = by_name(
    Mutant(IgnoresMaxTtl, "TOK-03", "no read fails"),
    Mutant(KeepsThreeTokens, "TOK-03", "tokens alive at once").called("keeps-four-tokens", times=3),
    Mutant(RevokesItsOldTokenAfterALogin, "TOK-03", "a token that has ended").called(
        "reads-much-later-with-a-token-that-it-has-revoked", late=0.7
    ),
    Mutant(IgnoresMaxTtl, "TOK-05", "no read fails").called("ignores-explicit-max-ttl"),
    Mutant(NeverRenews, "TOK-05", "before").called("logs-in-after-the-end-of-explicit-max-ttl"),
    Mutant(NeverRenews, "TOK-06", "before").called("logs-in-after-the-end-of-the-unrenewable"),
    Mutant(ChecksItsTokenUnderTheLockOfALogin, "TOK-06", "a login that hangs holds up no read"),
    Mutant(AtShare, "TOK-06", "at most 1 login").called(
        "logs-in-at-a-quarter-for-the-unrenewable", share=0.27
    ),
    Mutant(TriesAHangingLoginAgain, "TOK-06", "at most 1 login").called(
        "tries-a-hanging-login-three-times-more", more=3
    ),
    Mutant(RenewsEachTokenOnce, "TOK-06", "renewal").called(
        "renews-its-first-token-twice", at_the_first=2
    ),
    Mutant(FindsOutByARefusal, "TOK-06", "a token that has ended").called(
        "replaces-an-unrenewable-token-only-after-a-403"
    ),
    Mutant(HasNoneWhileItLogsIn, "TOK-06", "no read fails").called(
        "drops-a-living-token-before-each-login"
    ),
    Mutant(RevokesItsTokenBeforeItLogsIn, "TOK-06", "a token that has ended"),
    Mutant(TreatsAGatewayPageAsALogin, "TOK-07", "a token that has ended"),
    Mutant(StopsReplacingTokensAfterAGatewayPage, "TOK-07", "a token that has ended"),
    Mutant(ExitsAfterAGatewayPageForALogin, "TOK-07", "the client stays alive", process=True),
    Mutant(PausesForTooLongAfterAFailedLogin, "TOK-07", "a token that has ended"),
    Mutant(RenewsEachTokenOnce, "TOK-07", "at most 1 renewal").called(
        "renews-a-batch-token-twice", later=0, at_the_first=2
    ),
    Mutant(RevokesOneBatchToken, "TOK-07", "revocations of one token").called(
        "revokes-a-batch-token-twice", times=2
    ),
    Mutant(TreatsAPeriodicTokenAsEndless, "TOK-09", "a new login within", process=True),
    Mutant(RenewsAnEndedToken, "TOK-09", "at most 4 renewals", process=True).called(
        "renews-an-ended-token-five-times", tries=5
    ),
    Mutant(LogsInFourSecondsAfterASleep, "TOK-09", "a new login within", process=True).called(
        "logs-in-six-seconds-after-a-freeze", after=5.7
    ),
    Mutant(LogsInThreeTimes, "TOK-09", "at most 1 login", process=True).called(
        "logs-in-three-times-after-a-freeze"
    ),
    Mutant(RenewsItsOldToken, "TOK-09", "known to be dead", process=True),
    Mutant(FailsAReadWhenUsesRunOut, "TOK-10", "no read fails"),
    Mutant(LooksUpEachTokenOnce, "TOK-10", "requests (lookup)").called(
        "looks-up-its-first-token-twice", at_the_first=2
    ),
    Mutant(UsesATokenThreeTimes, "TOK-10", "logins").called("uses-a-token-once", later=1),
    Mutant(ReadsItsRoleIdOnce, "TOK-17", "a good read within"),
    Mutant(BlocksAllCallsAfterAFailedRenewal, "TOK-17", "no reader of backend/django waits longer"),
    Mutant(DropsItsTokenOnError, "TOK-17", "no read fails"),
    Mutant(RenewsInVainElevenTimes, "TOK-17", "renewals").called(
        "renews-in-vain-a-hundred-times", tries=100, pause=0.01
    ),
    Mutant(TriesFiveTimesInOneCall, "TOK-17", "the same secret-id").called(
        "tries-a-lost-secret-id-five-times"
    ),
    Mutant(ReportsUnhealthyLate, "TOK-17", "health says not well").called(
        "reports-unhealthy-too-late-after-its-tokens-end", after=9.0
    ),
)


TOLERATED = by_name(
    Tolerated(LooksBeforeEachRead, "TOK-03").called(
        "looks-up-its-token-before-each-read-to-a-max-ttl"
    ),
    Tolerated(ReadsWithoutATokenAtItsStart, "TOK-03"),
    Tolerated(LogsInBesideRenewing, "TOK-03").called("logs-in-five-times"),
    Tolerated(LogsInAtAThird, "TOK-03").called("logs-in-at-a-third-at-a-max-ttl"),
    Tolerated(RevokesItsOldTokenAfterALogin, "TOK-03"),
    Tolerated(KeepsThreeTokens, "TOK-03"),
    Tolerated(AtShare, "TOK-06").called("replaces-late", share=0.95),
    Tolerated(TriesAHangingLoginAgain, "TOK-06"),
    Tolerated(LogsInAtAThirdForTheUnrenewable, "TOK-06"),
    Tolerated(RenewsEachTokenOnce, "TOK-06"),
    Tolerated(RenewsEachTokenOnce, "TOK-07").called("renews-a-batch-token-once", later=0),
    Tolerated(RevokesOneBatchToken, "TOK-07").called("revokes-a-batch-token-once"),
    Tolerated(PausesAfterAFailedLogin, "TOK-07"),
    Tolerated(FailsAReadWhenItsLoginFails, "TOK-07"),
    Tolerated(LogsInAtAThird, "TOK-07").called("logs-in-at-a-third-behind-a-gateway"),
    Tolerated(RevokesEachBatchTokenOnce, "TOK-07"),
    Tolerated(RenewsAnEndedToken, "TOK-09", process=True).called(
        "renews-an-ended-token-four-times", tries=4
    ),
    Tolerated(LogsInFourSecondsAfterASleep, "TOK-09", process=True).called(
        "logs-in-four-seconds-after-a-freeze"
    ),
    Tolerated(LooksUpEachTokenOnce, "TOK-10"),
    Tolerated(UsesATokenThreeTimes, "TOK-10"),
    Tolerated(PollsItsSecrets, "TOK-10"),
    Tolerated(AsksOnceItIsOld, "TOK-10").called("needs-a-token-at-its-next-read"),
    Tolerated(FailsAReadWhenItsRoleIsGone, "TOK-17"),
    Tolerated(RenewsInVainElevenTimes, "TOK-17"),
    Tolerated(TriesFourTimesInOneCall, "TOK-17").called("tries-a-lost-secret-id-four-times"),
    Tolerated(ReportsUnhealthyLate, "TOK-17").called("reports-unhealthy-late-after-its-tokens-end"),
    Tolerated(ProbesItselfNowAndThen, "TOK-17").called(
        "reports-the-health-of-its-last-own-probe-without-a-token"
    ),
)
