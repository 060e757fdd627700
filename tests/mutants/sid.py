"""Clients that break the promises of SID: what becomes of a secret-id."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from resilient_vault_client import VaultClient, VaultError, VaultUnavailable
from resilient_vault_client._approle import AppRole
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._wrapped import WrappedSecretId
from tests.mutants import (
    always,
    companions,
    edges_hangs,
    edges_logins,
    edges_refusals,
    first_ids,
    ids,
    later_on,
    loading,
    other_styles,
    own_pace,
    tempers,
    turnovers,
    unanswered_logins,
    waylaid_unwraps,
)
from tests.mutants.clients import (
    REFERENCE,
    AlwaysSaysWell,
    Mutant,
    ReadsItsSecretIdOnce,
    RetriesWithoutAPause,
    Tolerated,
    TriesNowAndThen,
)
from tests.mutants.tls import RefusesToStart
from tests.subjects.lazy_client import Credentials, LazyClient, Token, _mark
from tests.subjects.lazy_wire import (
    ClientError,
    GivenUpError,
    UnavailableError,
)
from vault_harness.subjects.reference import ReferenceSubject


class _Unrestrained(Credentials):
    """Every secret-id is good for another try."""

    def usable(self, *_: Any, **__: Any) -> bool:
        return True


class HammersItsSecretId(LazyClient):
    """Tries a refused secret-id again at every call, until the role is locked for everybody."""

    credentials_type = _Unrestrained


class _Offended(Credentials):
    """One refusal is enough for all."""

    def usable(self, *_: Any, **__: Any) -> bool:
        return not self._failed


class NeverTriesANewSecretId(LazyClient):
    """Once refused, it takes no other secret-id either."""

    credentials_type = _Offended


class _ThinksAboutANewSecretId(Credentials):
    """After a refusal a new secret-id is looked at for a while before it is used."""

    thinks = 3.9

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._seen: dict[str, float] = {}

    def usable(self, secret_id: str) -> bool:
        seen = self._seen.setdefault(_mark(secret_id), time.monotonic())
        if self._failed and time.monotonic() - seen < self.thinks:
            return False
        return super().usable(secret_id)


class ThinksAboutANewSecretId(LazyClient):
    """Has the pause that it declares between a refused secret-id and the next one."""

    credentials_type = _ThinksAboutANewSecretId

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "backoff_cap": 4.0}


class TakesALockForABadSecretId(LazyClient):
    """Waits for another secret-id when the role is locked."""

    credentials_type = _Offended

    def _log_in(self, deadline: float) -> Token:
        secret_id = self._credentials.current()[1]
        try:
            return super()._log_in(deadline)
        except UnavailableError as error:
            if "no login of this role" in str(error):
                self._credentials.refused(secret_id)
            raise


class RetriesALoginBlindly(LazyClient):
    """Takes a login for something that can be repeated."""

    def _log_in(self, deadline: float) -> Token:
        for _ in range(9):
            with contextlib.suppress(UnavailableError):
                return super()._log_in(deadline)
            self._gate = self.gate_type(self._longest)
        return super()._log_in(deadline)


class _Verbatim(Credentials):
    """What is in the file is the secret-id, whatever it is."""

    def _one(self, name: str) -> str:
        if file := self._environ.get(f"{name}_FILE"):
            return Path(file).read_text(encoding="ascii")
        return super()._one(name)


class SendsAnEmptySecretId(LazyClient):
    """Logs in with what the file holds, and be it nothing."""

    credentials_type = _Verbatim


class PollsWithAnEmptySecretId(own_pace.PollsItsSecrets, SendsAnEmptySecretId):
    """Answers from memory, and needs a login at its next poll only."""

    every = 5.0


class TriesABadSecretIdForEver(LazyClient):
    """Few tries in a short look; the fifth, which locks the role, comes after half a minute."""

    credentials_type = TriesNowAndThen


class _FourTimes(Credentials):
    """A refused secret-id is tried four times in all."""

    tries = 4

    def usable(self, secret_id: str) -> bool:
        times = self._failed.get(_mark(secret_id), [])
        return len(times) < self.tries and (not times or time.monotonic() - times[-1] >= 1.0)


class _FiveTimes(_FourTimes):
    tries = 5


class TriesASecretIdFourTimes(LazyClient):
    """Stops one short of the lock."""

    credentials_type = _FourTimes


class TriesASecretIdFiveTimes(LazyClient):
    """The fifth failure locks the role for everybody."""

    credentials_type = _FiveTimes


class TriesALockedRoleTenTimes(LazyClient):
    """Logs in ten times while its role is locked, and then waits for a while."""

    tries = 10
    _refused = 0
    _next = _since = 0.0

    def _log_in(self, deadline: float) -> Token:
        wait = self._next - time.monotonic()
        if time.monotonic() + wait >= deadline:
            time.sleep(max(0.0, deadline - time.monotonic() - 0.05))
            raise GivenUpError("the role is locked")
        time.sleep(max(0.0, wait))
        self._gate = self.gate_type(self._longest)  # another one than this counts its tries
        self._since = self._since or time.monotonic()
        try:
            return super()._log_in(deadline)
        except UnavailableError:
            self._refused += 1
            more = self._refused < self.tries
            self._next = time.monotonic() + 0.2 if more else self._since + 6.5
            raise


class TriesALockedRoleThirteenTimes(TriesALockedRoleTenTimes):
    """A few times too often."""

    tries = 13


class _Opens(WrappedSecretId):
    """Opens whatever is in the file, again and again."""

    def _open(self, wrapping: str, deadline: Deadline, patience: float) -> str:
        del patience
        for _ in range(3):
            with contextlib.suppress(VaultError):
                answer = self._api.unwrap(wrapping, deadline)
                return str(answer["data"].get("secret_id", ""))
        return ""


class OpensAnyWrappingToken(ReferenceSubject):
    """Does not ask who made a wrapping token, and takes a spent one for a hiccup."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))
        method = self.client._session().authenticator._method
        assert isinstance(method, AppRole)
        assert method._wrapped is not None
        method._wrapped.__class__ = _Opens


class _OpensTwice(WrappedSecretId):
    """Tries a wrapping token that is spent a second time, and no more."""

    tries = 2

    def _open(self, wrapping: str, deadline: Deadline, patience: float) -> str:
        del patience
        away: VaultUnavailable | None = None
        for _ in range(self.tries):
            try:
                answer = self._api.unwrap(wrapping, deadline)
            except VaultUnavailable as error:
                away = error
            except VaultError:
                away = None
            else:
                return str(answer["data"].get("secret_id", ""))
        if away is not None:  # nobody has said that it is spent
            raise away
        return ""


class _OpensThrice(_OpensTwice):
    tries = 3


class OpensAWrappingTokenTwice(ids.UnwrapsBy):
    """Tries a spent wrapping token once more before it waits for another one."""

    wrapped_type: type[WrappedSecretId] = _OpensTwice


class OpensAWrappingTokenThrice(OpensAWrappingTokenTwice):
    """Twice more."""

    wrapped_type = _OpensThrice


class _RestsAfterALoss(WrappedSecretId):
    """Nobody knows what a lost answer has done: it rests, and tries the token once more.

    Until Vault has refused that, it says that Vault did not answer, and not that it is denied.
    """

    rests = 0.8
    _lost: tuple[str, float] = "", 0.0

    def _open(self, wrapping: str, deadline: Deadline, patience: float) -> str:
        del patience
        lost, at = self._lost
        if lost == wrapping and time.monotonic() < at + self.rests:
            raise VaultUnavailable("the answer to an unwrap was lost a moment ago")
        try:
            answer = self._api.unwrap(wrapping, deadline)
        except VaultUnavailable:
            self._lost = wrapping, time.monotonic()
            raise
        except VaultError:
            return ""
        return str(answer["data"].get("secret_id", ""))


class RestsAfterALostUnwrap(OpensAWrappingTokenTwice):
    """Has a pause between the answer that was lost and its second try, over several calls."""

    wrapped_type = _RestsAfterALoss


class _NeverKnows(_RestsAfterALoss):
    """Vault has said that the token is spent, and it takes that for an outage."""

    _spent = ""

    def _open(self, wrapping: str, deadline: Deadline, patience: float) -> str:
        if wrapping != self._spent:
            if opened := super()._open(wrapping, deadline, patience):
                return opened
            self._spent = wrapping
        raise VaultUnavailable("nothing came out of the wrapping token")


class TakesASpentWrappingTokenForAnOutage(OpensAWrappingTokenTwice):
    """Waits for Vault, where a new wrapping token is what it needs."""

    wrapped_type = _NeverKnows


class LooksAtItsWrappingTokenOnce(ReferenceSubject):
    """What is in the file when it starts is what it tries, and nothing else."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        file = Path(environ["VAULT_WRAPPED_SECRET_ID_FILE"])
        kept = file.with_name("kept-wrapping")
        kept.write_text(file.read_text(encoding="ascii"), encoding="ascii")
        environ = {**environ, "VAULT_WRAPPED_SECRET_ID_FILE": str(kept)}
        super().__init__(VaultClient(environ=environ))


class LogsInWithoutASecretId(OpensAnyWrappingToken):
    """Logs in with what a spent wrapping token gives: nothing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        method = self.client._session().authenticator._method
        assert isinstance(method, AppRole)
        wrapped = method._wrapped
        assert wrapped is not None
        load = wrapped.load

        def whatever(deadline: Deadline, patience: float) -> str:
            with contextlib.suppress(VaultError):
                return load(deadline, patience)
            return ""

        wrapped.load = whatever  # type: ignore[method-assign]  # that is its fault


class RefusesToStartForGood(LazyClient):
    """Logs in when it starts; where that has failed once no start of it comes to anything."""

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


MUTANTS: dict[str, Mutant] = {
    "refuses-to-start-for-good": Mutant(
        RefusesToStartForGood, "SID-07", "promised: it starts in the end"
    ),
    "reads-its-secret-id-once": Mutant(ReadsItsSecretIdOnce, "SID-01", "refused logins"),
    "tries-a-bad-secret-id-for-ever": Mutant(
        TriesABadSecretIdForEver, "SID-02", "the same secret-id"
    ),
    "hammers-its-secret-id": Mutant(HammersItsSecretId, "SID-02", "the same secret-id"),
    "always-says-well": Mutant(AlwaysSaysWell, "SID-02", "health tells the truth", REFERENCE),
    "says-how-its-first-look-went": Mutant(
        own_pace.SaysHowItsFirstLookWent, "SID-02", "health tells the truth"
    ),
    "tries-a-bad-secret-id-until-a-new-one": Mutant(
        TriesABadSecretIdForEver, "SID-03", "the same secret-id"
    ),
    "never-tries-a-new-secret-id": Mutant(NeverTriesANewSecretId, "SID-03", "a good read within"),
    "takes-a-lock-for-a-bad-secret-id": Mutant(
        TakesALockForABadSecretId, "SID-04", "a good read within"
    ),
    "waits-for-its-login": Mutant(
        unanswered_logins.WaitsForItsLogin, "SID-04", "every call ends within"
    ),
    "logs-in-behind-its-callers": Mutant(
        unanswered_logins.LogsInBehindItsCallers, "SID-04", "a good read within"
    ),
    "storms-a-locked-role": Mutant(RetriesWithoutAPause, "SID-04", "requests (login)"),
    "uses-a-secret-id-twice": Mutant(ReadsItsSecretIdOnce, "SID-06", "refused logins"),
    "logs-in-by-heart-once-it-is-refused": Mutant(
        own_pace.LogsInByHeartOnceItIsRefused, "SID-06", "refused logins"
    ),
    "retries-a-login-blindly": Mutant(
        RetriesALoginBlindly, "SID-07", "logins with the same secret-id"
    ),
    "sends-an-empty-secret-id": Mutant(
        SendsAnEmptySecretId, "SID-08", "no login without a secret-id"
    ),
    "polls-with-an-empty-secret-id": Mutant(
        PollsWithAnEmptySecretId, "SID-08", "no login without a secret-id"
    ),
    "keeps-an-expired-secret-id": Mutant(ReadsItsSecretIdOnce, "SID-05", "0 refused logins"),
    "hammers-an-expired-secret-id": Mutant(HammersItsSecretId, "SID-05", "4 refused logins"),
    "never-gets-over-an-expired-secret-id": Mutant(
        NeverTriesANewSecretId, "SID-05", "a good read within"
    ),
    "takes-a-missing-mount-for-a-bad-secret-id": Mutant(
        TakesALockForABadSecretId, "SID-12", "a good read within"
    ),
    "opens-any-wrapping-token": Mutant(
        OpensAnyWrappingToken, "SID-10", "neither opened nor used", REFERENCE
    ),
    "never-looks-for-another-wrapping-token": Mutant(
        LooksAtItsWrappingTokenOnce, "SID-10", "a good read within", REFERENCE
    ),
    "hammers-a-spent-wrapping-token": Mutant(
        OpensAnyWrappingToken, "SID-11", "requests (unwrap)", REFERENCE
    ),
    "logs-in-without-a-secret-id": Mutant(
        LogsInWithoutASecretId, "SID-11", "requests (login)", REFERENCE
    ),
    "starts-once-with-its-wrapping-token": Mutant(
        LooksAtItsWrappingTokenOnce, "SID-11", "a good read within", REFERENCE
    ),
    "storms-a-missing-mount": Mutant(RetriesWithoutAPause, "SID-12", "requests (login)"),
    "opens-a-spent-wrapping-token-again": Mutant(
        OpensAnyWrappingToken, "SID-09", "requests (unwrap)", REFERENCE
    ),
    "logs-in-with-what-was-lost": Mutant(
        LogsInWithoutASecretId, "SID-09", "requests (login)", REFERENCE
    ),
    "tries-a-bad-secret-id-five-times": Mutant(
        TriesASecretIdFiveTimes, "SID-02", "the same secret-id"
    ),
    "tries-a-locked-role-thirteen-times": Mutant(
        TriesALockedRoleThirteenTimes, "SID-04", "requests (login)"
    ),
    "tries-a-late-secret-id-five-times": Mutant(
        TriesASecretIdFiveTimes, "SID-03", "the same secret-id"
    ),
    "tries-half-a-secret-id-five-times": Mutant(
        edges_refusals.TriesFiveTimesInOneCall, "SID-08", "the same secret-id"
    ),
    "logs-in-four-times-for-one-answer": Mutant(
        edges_refusals.LogsInFourTimesForOneAnswer, "SID-07", "logins with the same secret-id"
    ),
    "tries-a-missing-mount-thirteen-times": Mutant(
        TriesALockedRoleThirteenTimes, "SID-12", "requests (login)"
    ),
    "tries-a-lost-wrapping-token-thrice": Mutant(
        OpensAWrappingTokenThrice, "SID-09", "requests (unwrap)", REFERENCE
    ),
    "takes-a-spent-wrapping-token-for-an-outage": Mutant(
        TakesASpentWrappingTokenForAnOutage, "SID-09", "a read fails as denied", REFERENCE
    ),
    "tries-a-spent-wrapping-token-thrice": Mutant(
        OpensAWrappingTokenThrice, "SID-11", "requests (unwrap)", REFERENCE
    ),
    "goes-on-with-the-token-of-an-old-secret-id": Mutant(
        always.GoesOnWithWhatItGaveBack, "SID-01", "known to be dead"
    ),
    "looks-before-its-turn": Mutant(companions.LooksBeforeItsTurn, "SID-02", "the same secret-id"),
    "tries-a-bad-secret-id-in-bursts": Mutant(ids.TriesInBursts, "SID-02", "the same secret-id"),
    "tries-a-late-secret-id-in-pairs": Mutant(ids.TriesInPairs, "SID-03", "the same secret-id"),
    "needs-its-secret-id-file": Mutant(ids.NeedsItsFile, "SID-08", "a good read within"),
    "polls-and-needs-its-secret-id-file": Mutant(
        own_pace.PollsAndNeedsItsFile, "SID-08", "a good read within"
    ),
    "takes-an-outage-for-a-spent-token": Mutant(
        ids.TakesAnOutageForASpentToken, "SID-09", "a good read within", REFERENCE
    ),
    "takes-a-quota-for-a-spent-wrapping-token": Mutant(
        waylaid_unwraps.TakesAQuotaForASpentToken, "SID-09", "a good read within", REFERENCE
    ),
    "takes-a-gateway-for-a-spent-wrapping-token": Mutant(
        waylaid_unwraps.TakesAGatewayForASpentToken, "SID-09", "a good read within", REFERENCE
    ),
    "takes-no-secret-id-for-a-spent-wrapping-token": Mutant(
        waylaid_unwraps.TakesNoSecretIdForASpentToken, "SID-09", "a good read within", REFERENCE
    ),
    "opens-its-wrapping-token-at-each-login": Mutant(
        ids.OpensAtEachLogin, "SID-11", "a good read within", REFERENCE
    ),
    "knocks-with-a-spent-token-at-each-login": Mutant(
        ids.KnocksAtEachLogin, "SID-11", "at most 0 requests (unwrap)", REFERENCE
    ),
    "throws-its-token-away-first": Mutant(
        later_on.ThrowsItsTokenAwayFirst, "SID-03", "while its token lives"
    ),
    "keeps-its-first-opened-secret-id": Mutant(
        later_on.KeepsItsFirstOpenedSecretId, "SID-11", "a good read within", REFERENCE
    ),
    "opens-anew-once-it-is-refused": Mutant(
        later_on.OpensAnewOnceItIsRefused, "SID-11", "a good read within", REFERENCE
    ),
    "trusts-later-wrapping-tokens": Mutant(
        later_on.TrustsLaterWrappingTokens, "SID-10", "neither opened nor used", REFERENCE
    ),
    "trusts-any-wrapping-token-once-it-is-refused": Mutant(
        later_on.TrustsAnyOnceItIsRefused, "SID-10", "neither opened nor used", REFERENCE
    ),
    "takes-a-refused-login-for-no-secret": Mutant(
        turnovers.TakesNoLoginForNoSecret, "SID-02", "a failure then is"
    ),
    "takes-a-locked-role-for-no-secret": Mutant(
        turnovers.TakesNoLoginForNoSecret, "SID-04", "a failure then is"
    ),
    "takes-a-locked-role-for-an-empty-whole": Mutant(
        turnovers.TakesNoLoginForAnEmptyWhole, "SID-04", "no wrong value"
    ),
    "takes-a-missing-mount-for-no-secret": Mutant(
        turnovers.TakesNoLoginForNoSecret, "SID-12", "a failure then is"
    ),
    "gets-over-one-bad-secret-id": Mutant(
        turnovers.GetsOverOneBadSecretId, "SID-05", "a good read within"
    ),
    "insists-on-its-secret-id-at-its-start": Mutant(
        first_ids.InsistsAtItsStart, "SID-08", "the same secret-id"
    ),
    "hammers-half-a-secret-id-at-its-start": Mutant(
        HammersItsSecretId, "SID-08", "the same secret-id"
    ),
    "keeps-half-a-secret-id-from-its-start": Mutant(
        ReadsItsSecretIdOnce, "SID-08", "a good read within"
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "meets-its-second-loss-by-an-empty-file": Tolerated(
        own_pace.KeepsLongAndLogsInAtAThird, "SID-08"
    ),
    "meets-its-third-loss-by-an-empty-file": Tolerated(
        own_pace.KeepsLongerAndLogsInAtAThird, "SID-08"
    ),
    "meets-its-second-loss-by-a-foreign-token": Tolerated(
        later_on.KeepsAndUnwraps, "SID-10", REFERENCE
    ),
    "meets-a-later-loss-with-ids-of-one-use": Tolerated(own_pace.KeepsAndLogsInAtAThird, "SID-06"),
    "is-refused-in-a-callers-call": Tolerated(edges_hangs.RenewsInACallersCall, "SID-03"),
    "throws-its-token-away-at-last": Tolerated(later_on.ThrowsItsTokenAwayAtLast, "SID-03"),
    "says-how-its-last-look-went": Tolerated(own_pace.SaysHowItsLastLookWent, "SID-02"),
    "stops-after-long-pauses": Tolerated(other_styles.StopsAfterLongPauses, "SID-02"),
    "tries-a-bad-secret-id-four-times": Tolerated(TriesASecretIdFourTimes, "SID-02"),
    "logs-in-behind-its-callers-for-a-while": Tolerated(
        unanswered_logins.LogsInBehindItsCallersForAWhile, "SID-04"
    ),
    "tries-a-locked-role-ten-times": Tolerated(TriesALockedRoleTenTimes, "SID-04"),
    "tries-a-late-secret-id-four-times": Tolerated(TriesASecretIdFourTimes, "SID-03"),
    "tries-half-a-secret-id-four-times": Tolerated(
        edges_refusals.TriesFourTimesInOneCall, "SID-08"
    ),
    "waits-with-its-start-for-a-whole-secret-id": Tolerated(tempers.StartsWithAToken, "SID-08"),
    "sees-half-a-secret-id": Tolerated(first_ids.SeesHalfASecretId, "SID-08"),
    "refuses-to-start-with-half-a-secret-id": Tolerated(RefusesToStart, "SID-08"),
    "sees-half-a-secret-id-and-refuses-to-start": Tolerated(
        first_ids.SeesHalfASecretIdAndRefusesToStart, "SID-08"
    ),
    "polls-with-its-secret-id-in-the-making": Tolerated(own_pace.PollsItsSecrets, "SID-08"),
    "thinks-about-a-new-secret-id": Tolerated(ThinksAboutANewSecretId, "SID-05"),
    "outlives-a-secret-id-at-its-start": Tolerated(other_styles.StartsSlowly, "SID-05"),
    "loads-as-its-answer-is-lost": Tolerated(other_styles.LoadsAtItsFirstRead, "SID-07"),
    "loads-with-a-lost-wrapping-token": Tolerated(loading.LoadsInEachWay, "SID-09", REFERENCE),
    "wants-its-answer-at-a-slow-start": Tolerated(other_styles.WantsVaultAtItsSlowStart, "SID-07"),
    "logs-in-three-times-for-one-answer": Tolerated(
        edges_refusals.LogsInThreeTimesForOneAnswer, "SID-07"
    ),
    "logs-in-at-half-a-life-with-each-secret-id": Tolerated(
        edges_logins.LogsInAtHalfALife, "SID-06"
    ),
    "sees-late-with-secret-ids-of-one-use": Tolerated(
        edges_logins.LogsInAtAThirdAndSeesLate, "SID-06"
    ),
    "sees-late-with-a-secret-id-of-few-uses": Tolerated(
        edges_logins.LogsInAtAThirdAndSeesLater, "SID-07"
    ),
    "tries-a-missing-mount-ten-times": Tolerated(TriesALockedRoleTenTimes, "SID-12"),
    "tries-a-lost-wrapping-token-twice": Tolerated(OpensAWrappingTokenTwice, "SID-09", REFERENCE),
    "rests-after-a-lost-unwrap": Tolerated(RestsAfterALostUnwrap, "SID-09", REFERENCE),
    "tries-a-spent-wrapping-token-twice": Tolerated(OpensAWrappingTokenTwice, "SID-11", REFERENCE),
    "tries-a-bad-secret-id-four-times-at-once": Tolerated(
        edges_refusals.TriesFourTimesInOneCall, "SID-02"
    ),
}
