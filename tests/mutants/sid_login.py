"""Clients that break SID-01 to 08 or 12: logins with secret-ids."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tests.mutants.clients import (
    AtShare,
    Mutant,
    ReadsItsSecretIdOnce,
    RetriesWithoutAPause,
    Tolerated,
    TreatsAnOutageAsAnEmptySecret,
    TriesFiveTimesInOneCall,
    TriesFourTimesInOneCall,
    TriesNowAndThen,
    by_name,
)
from tests.mutants.login_clients import (
    KeepsAndLogsInAtAThird,
    KeepsLongAndLogsInAtAThird,
    LoadsAtItsFirstRead,
    LogsInAtAThird,
    LogsInAtHalfALife,
    PollsItsSecrets,
    ReadsWithATokenThatItHasRevoked,
    RefusesToStart,
    RenewsInACallersCall,
    ReportsTheHealthOfItsLastPoll,
    StartsSlowly,
    StartsWithAToken,
    WantsVaultAtItsSlowStart,
)
from tests.mutants.reference_clients import Tweaked
from tests.subjects.lazy_client import Credentials, LazyClient, Token, _mark
from tests.subjects.lazy_wire import (
    ClientError,
    DeniedError,
    GivenUpError,
    MissingError,
    Reply,
    UnavailableError,
    Wire,
)

# SID-02


class RetriesItsSecretIdWithoutAPause(Credentials):
    """Until the role is locked for everybody."""

    def usable(self, *_: Any, **__: Any) -> bool:
        return True


class ReportsTheHealthOfItsLastLookup(ReportsTheHealthOfItsLastPoll):
    """Counts a poll without a token as failed too, and polls every 24 s."""

    every = 24.0

    def _fetch(self, path: str, deadline: float) -> Reply:
        try:
            return super()._fetch(path, deadline)
        except ClientError:
            self._well = False
            raise


class ReportsTheHealthOfItsFirstLookup(ReportsTheHealthOfItsLastLookup):
    def health(self) -> bool:
        return True


class TriesASecretIdFourTimes(Credentials):
    """One try before the lock."""

    tries = 4

    def usable(self, secret_id: str) -> bool:
        times = self._failed.get(_mark(secret_id), [])
        return len(times) < self.tries and (not times or time.monotonic() - times[-1] >= 1.0)


class _LookedAtBefore(Credentials):
    """Decides before its turn whether a secret-id is usable."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._seen = threading.local()

    def look(self) -> None:
        self._seen.good = super().usable(self.current()[1])

    def usable(self, secret_id: str) -> bool:
        del secret_id
        return bool(getattr(self._seen, "good", True))


class ChecksItsSecretIdBeforeItWaitsForTheLock(LazyClient):
    """All waiting callers saw it as good."""

    credentials_type = _LookedAtBefore

    @contextlib.contextmanager
    def _held(self, deadline: float) -> Iterator[None]:
        assert isinstance(self._credentials, _LookedAtBefore)
        self._credentials.look()
        with super()._held(deadline):
            yield


class TriesABadSecretIdInBursts(Credentials):
    """Three tries at once, and again after a pause."""

    burst, rest = 3, 20.0

    def usable(self, secret_id: str) -> bool:
        times = self._failed.get(_mark(secret_id), [])
        return len(times) % self.burst > 0 or not times or time.monotonic() - times[-1] >= self.rest


class TakesNoLoginForNoSecret(LazyClient):
    """An application that mirrors secrets deletes what is missing."""

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        except DeniedError:
            raise MissingError("there is no such secret") from None
        except UnavailableError as error:
            if "no login of this role" not in str(error):
                raise
            raise MissingError("there is no such secret") from None


class StopsAfterLongPauses(Credentials):
    """Two more tries, after 4 s and 8 s."""

    def usable(self, secret_id: str) -> bool:
        times = self._failed.get(_mark(secret_id), [])
        long_ago = not times or time.monotonic() - times[-1] >= 2.0 * 2 ** len(times)
        return len(times) < 3 and long_ago


# SID-03


class NeverTriesANewSecretId(Credentials):
    """Uses no secret-id after a refusal."""

    def usable(self, *_: Any, **__: Any) -> bool:
        return not self._failed


class DropsALivingTokenBeforeItLogsIn(LazyClient):
    """One that can no longer be renewed: callers may have nothing for the last third of a life."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        if super()._renewed(token, deadline):
            return True
        self._token = None
        return False


class DropsALivingTokenShortlyBeforeItsEnd(AtShare, DropsALivingTokenBeforeItLogsIn):
    share = 0.85


# SID-04


class TreatsALockedRoleAsABadSecretId(LazyClient):
    credentials_type = NeverTriesANewSecretId

    def _log_in(self, deadline: float) -> Token:
        secret_id = self._credentials.current()[1]
        try:
            return super()._log_in(deadline)
        except UnavailableError as error:
            if "no login of this role" in str(error):
                self._credentials.refused(secret_id)
            raise


class WaitsForeverForItsLogin(Wire):
    """Holds the lock that all others need."""

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        if path.endswith("/login"):
            deadline = time.monotonic() + 3600.0
        return super().send(method, path, deadline=deadline, token=token, body=body)


class TreatsALockedRoleAsAnEmptySecret(TreatsAnOutageAsAnEmptySecret):
    """Takes a whole secret for empty while it cannot log in."""


class TriesALockedRoleTenTimes(LazyClient):
    """Then waits for a while."""

    tries = 10
    _refused = 0
    _next = _since = 0.0

    def _log_in(self, deadline: float) -> Token:
        wait = self._next - time.monotonic()
        if time.monotonic() + wait >= deadline:
            time.sleep(max(0.0, deadline - time.monotonic() - 0.05))
            raise GivenUpError("the role is locked")
        time.sleep(max(0.0, wait))
        self._gate = self.gate_type(self._longest)  # this gate does not count its tries
        self._since = self._since or time.monotonic()
        try:
            return super()._log_in(deadline)
        except UnavailableError:
            self._refused += 1
            more = self._refused < self.tries
            self._next = time.monotonic() + 0.2 if more else self._since + 6.5
            raise


# SID-05


class NeverUsesASecretIdAfterTwoBadOnes(Credentials):
    """Tolerates one refused secret-id."""

    def usable(self, secret_id: str) -> bool:
        return len(self._failed) < 2 and super().usable(secret_id)


class _WaitsBeforeANewSecretId(Credentials):
    """Waits for a while after a refusal."""

    thinks = 3.9

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._seen: dict[str, float] = {}

    def usable(self, secret_id: str) -> bool:
        seen = self._seen.setdefault(_mark(secret_id), time.monotonic())
        if self._failed and time.monotonic() - seen < self.thinks:
            return False
        return super().usable(secret_id)


class WaitsBeforeItUsesANewSecretId(LazyClient):
    credentials_type = _WaitsBeforeANewSecretId

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "backoff_cap": 4.0}


# SID-06


class _WithOldIds(Credentials):
    """Reads its ids for a planned login only."""

    hurried = False

    def _one(self, name: str) -> str:
        return (self._last.get(name) if self.hurried else None) or super()._one(name)


class LogsInWithOldIdsAfterA403(KeepsAndLogsInAtAThird):
    """A planned login uses the ids in its files."""

    credentials_type = _WithOldIds

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        dead = super()._was_dead(where, token, deadline)
        self._credentials.hurried = dead  # type: ignore[attr-defined]  # those above
        return dead

    def _log_in(self, deadline: float) -> Token:
        try:
            return super()._log_in(deadline)
        finally:
            self._credentials.hurried = False  # type: ignore[attr-defined]  # those above


class LogsInAtAThirdAndSeesLate(LogsInAtAThird):
    """Some of its logins come before its cache shows a change."""

    capabilities = LogsInAtAThird.capabilities | {"cached"}
    keeps = 9.8

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "refresh": self.keeps + 0.2}
        self._kept: dict[tuple[str, str], tuple[float, str]] = {}

    def read_cached(self, path: str, key: str) -> str:
        """Return a value that may be ten seconds old."""
        asked = time.monotonic()
        at, value = self._kept.get((path, key), (0.0, ""))
        if not at or asked - at >= self.keeps:
            value = self.read(path, key)
            self._kept[path, key] = asked, value
        return value


# SID-07


class NeverStartsAfterAFailedStart(LazyClient):
    _failed: ClassVar[set[str]] = set()

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        vault = environ["VAULT_ADDR"]
        if vault in self._failed:
            raise UnavailableError("it could not log in when it was started before")
        try:
            self._log_in(time.monotonic() + self._deadline)
        except ClientError:
            self._failed.add(vault)
            raise


class RetriesALoginBlindly(LazyClient):
    def _log_in(self, deadline: float) -> Token:
        for _ in range(9):
            with contextlib.suppress(UnavailableError):
                return super()._log_in(deadline)
            self._gate = self.gate_type(self._longest)
        return super()._log_in(deadline)


class LogsInThreeTimesForOneAnswer(LazyClient):
    """Tolerates two lost answers."""

    lost = 2
    _tried = 0

    def _log_in(self, deadline: float) -> Token:
        while True:
            self._tried += 1
            self._gate = self.gate_type(self._longest)  # this gate does not count its tries
            try:
                return super()._log_in(deadline)
            except GivenUpError:
                raise
            except ClientError:
                # The last try comes when answers are back.
                time.sleep(0.1 if self._tried < self.lost else 0.8)


# SID-08


class ReportsHealthyBeforeItsFirstLogin(Tweaked):
    _had = False

    def read(self, path: str, key: str) -> Any:
        value = super().read(path, key)
        self._had = True
        return value

    def health(self) -> bool:
        return super().health() if self._had else True


class SendsAnEmptySecretId(Credentials):
    """Uses any content of the file as the secret-id."""

    def _one(self, name: str) -> str:
        if file := self._environ.get(f"{name}_FILE"):
            return Path(file).read_text(encoding="ascii")
        return super()._one(name)


class NeedsItsFile(LazyClient):
    """Its login thread ends if the file is missing."""

    _ended = False

    def _log_in(self, deadline: float) -> Token:
        file = self._environ.get("VAULT_SECRET_ID_FILE")
        if self._ended or (file and not Path(file).exists()):
            self._ended = True
            raise GivenUpError("nobody logs in any more")
        return super()._log_in(deadline)


class _AnyNumber(Credentials):
    """Allows every secret-id another try."""

    def usable(self, *_: Any, **__: Any) -> bool:
        return True


class CountsNoRefusedLoginsAtItsStart(StartsWithAToken):
    """Counts them after its start."""

    credentials_type: type[Credentials] = _AnyNumber

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._credentials = Credentials(environ)


class IgnoresHalfASecretId(Credentials):
    """Does not try a secret-id that is no UUID."""

    def usable(self, secret_id: str) -> bool:
        return len(secret_id) == len(str(uuid.UUID(int=0))) and super().usable(secret_id)


MUTANTS = by_name(
    Mutant(ReadsItsSecretIdOnce, "SID-01", "refused logins"),
    Mutant(ReadsWithATokenThatItHasRevoked, "SID-01", "known to be dead").called(
        "reads-with-a-token-that-it-has-revoked-after-a-rotation"
    ),
    # The fifth try, which locks the role, comes much later.
    Mutant(TriesNowAndThen, "SID-02", "the same secret-id").called("tries-a-bad-secret-id-forever"),
    Mutant(ReportsTheHealthOfItsFirstLookup, "SID-02", "health tells the truth"),
    Mutant(TriesASecretIdFourTimes, "SID-02", "the same secret-id").called(
        "tries-a-bad-secret-id-five-times", tries=5
    ),
    Mutant(ChecksItsSecretIdBeforeItWaitsForTheLock, "SID-02", "the same secret-id"),
    Mutant(TriesABadSecretIdInBursts, "SID-02", "the same secret-id"),
    Mutant(TakesNoLoginForNoSecret, "SID-02", "a failure then is").called(
        "treats-a-refused-login-as-a-missing-secret"
    ),
    Mutant(NeverTriesANewSecretId, "SID-03", "a good read within"),
    Mutant(TriesASecretIdFourTimes, "SID-03", "the same secret-id").called(
        "tries-a-late-secret-id-five-times", tries=5
    ),
    Mutant(DropsALivingTokenBeforeItLogsIn, "SID-03", "while its token lives"),
    Mutant(TreatsALockedRoleAsABadSecretId, "SID-04", "a good read within"),
    Mutant(WaitsForeverForItsLogin, "SID-04", "every call ends within"),
    Mutant(RetriesWithoutAPause, "SID-04", "requests (login)").called("floods-a-locked-role"),
    Mutant(TakesNoLoginForNoSecret, "SID-04", "a failure then is").called(
        "treats-a-locked-role-as-a-missing-secret"
    ),
    Mutant(TreatsALockedRoleAsAnEmptySecret, "SID-04", "no wrong value"),
    Mutant(ReadsItsSecretIdOnce, "SID-05", "0 refused logins").called("keeps-an-expired-secret-id"),
    Mutant(RetriesItsSecretIdWithoutAPause, "SID-05", "4 refused logins").called(
        "retries-an-expired-secret-id-without-a-pause"
    ),
    Mutant(NeverUsesASecretIdAfterTwoBadOnes, "SID-05", "a good read within"),
    Mutant(ReadsItsSecretIdOnce, "SID-06", "refused logins").called("uses-a-secret-id-twice"),
    Mutant(LogsInWithOldIdsAfterA403, "SID-06", "refused logins"),
    Mutant(NeverStartsAfterAFailedStart, "SID-07", "promised: it starts in the end"),
    Mutant(RetriesALoginBlindly, "SID-07", "logins with the same secret-id"),
    # The secret-id has three uses.
    Mutant(LogsInThreeTimesForOneAnswer, "SID-07", "logins with the same secret-id").called(
        "logs-in-four-times-for-one-answer", lost=3
    ),
    Mutant(ReportsHealthyBeforeItsFirstLogin, "SID-08", "health tells the truth"),
    Mutant(SendsAnEmptySecretId, "SID-08", "no login without a secret-id"),
    Mutant(TriesFiveTimesInOneCall, "SID-08", "the same secret-id").called(
        "tries-half-a-secret-id-five-times"
    ),
    Mutant(NeedsItsFile, "SID-08", "a good read within").called(
        "stops-logging-in-without-a-secret-id-file"
    ),
    Mutant(CountsNoRefusedLoginsAtItsStart, "SID-08", "the same secret-id"),
    Mutant(ReadsItsSecretIdOnce, "SID-08", "a good read within").called("keeps-half-a-secret-id"),
    Mutant(TreatsALockedRoleAsABadSecretId, "SID-12", "a good read within").called(
        "treats-a-missing-mount-as-a-bad-secret-id"
    ),
    Mutant(RetriesWithoutAPause, "SID-12", "requests (login)").called("floods-a-missing-mount"),
    Mutant(TakesNoLoginForNoSecret, "SID-12", "a failure then is").called(
        "treats-a-missing-mount-as-a-missing-secret"
    ),
)


TOLERATED = by_name(
    Tolerated(ReportsTheHealthOfItsLastLookup, "SID-02"),
    Tolerated(StopsAfterLongPauses, "SID-02"),
    Tolerated(TriesASecretIdFourTimes, "SID-02").called("tries-a-bad-secret-id-four-times"),
    Tolerated(TriesFourTimesInOneCall, "SID-02").called("tries-a-bad-secret-id-four-times-at-once"),
    Tolerated(RenewsInACallersCall, "SID-03").called("fails-a-read-when-its-login-is-refused"),
    Tolerated(DropsALivingTokenShortlyBeforeItsEnd, "SID-03"),
    Tolerated(TriesASecretIdFourTimes, "SID-03").called("tries-a-late-secret-id-four-times"),
    Tolerated(TriesALockedRoleTenTimes, "SID-04"),
    Tolerated(WaitsBeforeItUsesANewSecretId, "SID-05"),
    Tolerated(StartsSlowly, "SID-05").called("starts-for-longer-than-a-secret-id-lives"),
    Tolerated(KeepsAndLogsInAtAThird, "SID-06").called(
        "notices-a-lost-token-late-with-secret-ids-of-one-use"
    ),
    Tolerated(LogsInAtHalfALife, "SID-06").called("logs-in-at-half-a-life-with-each-secret-id"),
    Tolerated(LogsInAtAThirdAndSeesLate, "SID-06").called("caches-with-secret-ids-of-one-use"),
    Tolerated(LoadsAtItsFirstRead, "SID-07").called("loads-code-as-its-answer-is-lost"),
    Tolerated(WantsVaultAtItsSlowStart, "SID-07").called("exits-without-a-login-at-a-slow-start"),
    Tolerated(LogsInThreeTimesForOneAnswer, "SID-07"),
    Tolerated(LogsInAtAThirdAndSeesLate, "SID-07").called(
        "caches-with-a-secret-id-of-few-uses", keeps=29.8
    ),
    Tolerated(KeepsLongAndLogsInAtAThird, "SID-08").called(
        "notices-a-lost-token-late-with-an-empty-file"
    ),
    Tolerated(TriesFourTimesInOneCall, "SID-08").called("tries-half-a-secret-id-four-times"),
    Tolerated(StartsWithAToken, "SID-08").called("starts-when-its-secret-id-is-complete"),
    Tolerated(IgnoresHalfASecretId, "SID-08"),
    Tolerated(RefusesToStart, "SID-08").called("exits-with-half-a-secret-id"),
    Tolerated(PollsItsSecrets, "SID-08").called("polls-while-its-secret-id-is-incomplete"),
    Tolerated(TriesALockedRoleTenTimes, "SID-12").called("tries-a-missing-mount-ten-times"),
)
