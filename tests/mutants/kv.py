"""Clients that break the promises of KV: what a secret is at the moment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

import requests

from resilient_vault_client import (
    Secret,
    VaultClient,
    VaultError,
    VaultSealed,
    VaultUnavailable,
    WriteConflict,
)
from resilient_vault_client.events import ServedStale
from tests.mutants import (
    absences,
    always,
    beside_reads,
    blind_spots,
    byways,
    edges_endings,
    edges_refusals,
    every_day,
    keys,
    letters,
    other_styles,
    outsiders,
    oversights,
    tempers,
    untried,
    wholes,
    writing,
)
from tests.mutants.clients import (
    LAZY_PROCESS,
    REFERENCE,
    CachesForTheRefreshTime,
    CachesForTooLong,
    HangsAtTheEnd,
    LogsInOnEvery403,
    LogsInOnTheFirst403,
    LogsInOnTwo403s,
    Mutant,
    Remembers,
    Tolerated,
    Tweaked,
)
from tests.mutants.prc import EndsWithACallInTime
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    DeletedError,
    MissingError,
    UnavailableError,
)


class TakesDeletedForEmpty(LazyClient):
    """Hands out the empty string for a secret whose data is null."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeletedError:
            return ""


class CachesForEver(Tweaked):
    """Never asks again for what it has once read."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._read: dict[tuple[str, str], Secret] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        if (path, key) not in self._read:
            self._read[path, key] = super().read_cached(path, key)
        return self._read[path, key]


class ServesStaleForEver(Tweaked):
    """Serves its last good value as long as the outage lasts."""

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 3600.0}


class ServesStaleForEverAtLeisure(ServesStaleForEver):
    """Does so, and says that its calls may take ten seconds."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__({**environ, "VAULT_CLIENT_TIMEOUT": "10"})


class HidesThatItIsStale(Tweaked):
    """Serves its last good value as long as the outage lasts, and as if it were fresh."""

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 3600.0}

    def read_cached(self, path: str, key: str) -> Any:
        return str(super().read_cached(path, key).value)


class ServesTheDeadFromItsCache(Remembers):
    """What is deleted in Vault lives on in its cache."""

    capabilities = frozenset({"read", "outcomes", "cached"})

    def read_cached(self, path: str, key: str) -> str:
        try:
            return self.read(path, key)
        except (DeletedError, MissingError):
            if (path, key) in self._kept:
                return self._kept[path, key]
            raise


class _Kept(str):
    """A value that the client marks as old."""

    __slots__ = ()
    stale = True


class KeepsWhatItMissed(LazyClient):
    """What it could not read in an outage is still away, it thinks, as long as Vault has none."""

    keeps = 3600.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._had: dict[tuple[str, str], str] = {}
        self._missed: dict[tuple[str, str], float] = {}

    def read(self, path: str, key: str) -> Any:
        try:
            self._had[path, key] = super().read(path, key)
        except UnavailableError:
            self._missed[path, key] = time.monotonic()
            raise
        except (DeletedError, MissingError):
            if time.monotonic() - self._missed.get((path, key), -self.keeps) >= self.keeps:
                raise
            return self._old(self._had[path, key])
        self._missed.pop((path, key), None)
        return self._had[path, key]

    def _old(self, value: str) -> Any:
        return value


class KeepsWhatItsCacheMissed(KeepsWhatItMissed):
    """Only what it holds in a cache, which it looks after when it is asked for it."""

    capabilities = frozenset({"read", "outcomes", "cached"})

    def read(self, path: str, key: str) -> str:
        return LazyClient.read(self, path, key)

    def read_cached(self, path: str, key: str) -> Any:
        return super().read(path, key)


class KeepsWhatItMissedForTooLong(KeepsWhatItMissed):
    """Marks it as old, and lets go of it at last, four seconds later than it may."""

    keeps = 12.0

    def _old(self, value: str) -> Any:
        return _Kept(value)


class KeepsWhatItMissedForAWhile(KeepsWhatItMissedForTooLong):
    """A second and a half sooner than it must: recovery may take 3 s, a refresh 5 s."""

    keeps = 6.5


class TakesAMissingKeyForEmpty(LazyClient):
    """Hands out the empty string for a key that its secret has not got."""

    def read(self, path: str, key: str) -> str:
        return self.read_all(path).get(key, "")


class TakesAMissingKeyForAnOutage(LazyClient):
    """Tells its callers to come back later for a key that its secret has not got."""

    def read(self, path: str, key: str) -> str:
        try:
            return self.read_all(path)[key]
        except KeyError:
            raise UnavailableError("Vault gave no value") from None


class RemembersWhatWasDeleted(LazyClient):
    """What was deleted stays so for nearly five seconds, removed with its metadata or not."""

    keeps = 4.5

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._gone: dict[str, tuple[float, DeletedError]] = {}

    def read(self, path: str, key: str) -> str:
        asked = time.monotonic()
        if path in self._gone and asked - self._gone[path][0] < self.keeps:
            raise self._gone[path][1]
        try:
            return super().read(path, key)
        except DeletedError as error:
            self._gone[path] = asked, error
            raise


class RemembersWhatWasDeletedForTooLong(RemembersWhatWasDeleted):
    """For longer than a value may be held."""

    keeps = 8.0


class TakesDeletedForMissingAtFirst(LazyClient):
    """For two seconds there never was what somebody has deleted."""

    lasts = 2.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._since: dict[str, float] = {}

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeletedError:
            now = time.monotonic()
            if now - self._since.setdefault(path, now) < self.lasts:
                raise MissingError(f"there is no {path}") from None
            raise


class ServesStaleForNearlyTooShort(Tweaked):
    """Has its last good value for half a second less than max_stale; it may be less by R."""

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 5.5}


class ServesStaleForTooShort(Tweaked):
    """Has nothing left when a third of max_stale is over.

    A call that fails takes up to a deadline for it, and counts from its end.
    """

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 2.0}


class ServesStaleALittleLonger(Tweaked):
    """Serves it for a bit longer than max_stale, as a call may that began before."""

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 7.4}


class ServesStaleForTooLong(Tweaked):
    """Serves it for longer than any call that began before may take."""

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 9.5}


class _KnowsWhy(Tweaked):
    """Knows why it serves an old value, or what it has would be too old for the client itself."""

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 3600.0, "backoff_cap": 1.0}
    max_stale, while_sealed, while_refused = 6.0, 6.0, 6.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client.close()
        self.declares["max_stale"] = self.max_stale
        self._why: VaultError | None = None
        self.client = VaultClient(environ=environ, on_event=self._told, **self.settings)

    def _told(self, event: object) -> None:
        if isinstance(event, ServedStale):
            self._why = event.error

    def read_cached(self, path: str, key: str) -> Secret:
        secret = super().read_cached(path, key)
        sealed = isinstance(self._why, VaultSealed)
        if secret.stale and secret.age > (self.while_sealed if sealed else self.while_refused):
            raise self._why or VaultUnavailable("Vault is away")
        return secret


class HasNothingInASeal(_KnowsWhy):
    """Has its last good value while nobody is there, and none while a Vault is there and sealed."""

    while_sealed = 0.0


class HasNothingWhenRefused(_KnowsWhy):
    """The other way round."""

    while_refused = 0.0


class ServesStaleForEverInASeal(_KnowsWhy):
    """Looks how old its last good value is where nobody is there, and not in a seal."""

    while_sealed = 3600.0


class ServesStaleForEverWhenRefused(_KnowsWhy):
    """The other way round."""

    while_refused = 3600.0


class UpdatesWithoutCas(Tweaked):
    """Writes what it has read, changed in one key, over whatever is there by now."""

    def update(self, path: str, data: Mapping[str, str]) -> None:
        self.client.put_secret(path, {**self.client.read(path).value, **data})


class OverwritesTheWhole(Tweaked):
    """Writes the keys that it changes, and nothing else: all others are gone."""

    def update(self, path: str, data: Mapping[str, str]) -> None:
        self.client.put_secret(path, data)


class HasItsChangeMerged(LazyClient):
    """Reads nothing before a change of one key: Vault merges it into the secret (PATCH)."""

    capabilities = LazyClient.capabilities | {"update"}

    def update(self, path: str, data: Mapping[str, str]) -> None:
        deadline = time.monotonic() + 0.9 * self._deadline
        where, token = f"{self._mount}/data/{path}", self._valid_token(deadline)
        answer = self._patch(where, data, token, deadline)
        if answer.status_code == HTTPStatus.FORBIDDEN and self._was_dead(where, token, deadline):
            answer = self._patch(where, data, self._valid_token(deadline), deadline)
        answer.raise_for_status()

    def _patch(
        self, where: str, data: Mapping[str, str], token: Token, deadline: float
    ) -> requests.Response:
        return requests.patch(
            f"{self._environ['VAULT_ADDR']}/v1/{where}",
            json={"data": dict(data)},
            headers={
                "X-Vault-Token": token.value,
                "Content-Type": "application/merge-patch+json",
            },
            timeout=max(0.01, deadline - time.monotonic()),
        )


class TakesAFailedReadForAnEmptySecret(Tweaked):
    """Goes on with nothing where its read fails, and writes its key alone: all others are gone."""

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 0.0}

    def update(self, path: str, data: Mapping[str, str]) -> None:
        try:
            self.client.read(path, timeout=0.8)
        except VaultUnavailable:
            self.client.put_secret(path, data, timeout=0.8)
        else:
            super().update(path, data)


class SaysThatAFailedChangeIsMade(Tweaked):
    """Takes a change whose read fails, and forgets it."""

    settings: ClassVar[Mapping[str, Any]] = {"max_stale": 0.0}

    def update(self, path: str, data: Mapping[str, str]) -> None:
        with contextlib.suppress(VaultUnavailable):
            super().update(path, data)


class ChangesNothing(Tweaked):
    """Takes a change, says that it is made, and forgets it."""

    def update(self, path: str, data: Mapping[str, str]) -> None:
        del path, data


class InsistsOnItsVersion(Tweaked):
    """Tries a refused change again with the version that was refused, four times."""

    def update(self, path: str, data: Mapping[str, str]) -> None:
        read = self.client.read(path)
        for _ in range(4):
            with contextlib.suppress(WriteConflict):
                self.client.put_secret(path, {**read.value, **data}, cas=read.version)
                return
        raise WriteConflict("somebody else wrote first", path=path)


class ChangesInThreeWrites(Tweaked):
    """Has its change refused twice before it reads what is there now."""

    refused = 2

    def update(self, path: str, data: Mapping[str, str]) -> None:
        read = self.client.read(path)
        for _ in range(self.refused):
            with contextlib.suppress(WriteConflict):
                self.client.put_secret(path, {**read.value, **data}, cas=read.version)
                return
        read = self.client.read(path)
        self.client.put_secret(path, {**read.value, **data}, cas=read.version)


class ChangesInFourWrites(ChangesInThreeWrites):
    """Three times."""

    refused = 3


class EndsLateAfterAll(EndsWithACallInTime):
    """Gives its token back, and takes its time although nothing is broken."""

    lasts = 4.4


class EndsTooLateAfterAll(EndsWithACallInTime):
    """Nearly two seconds more than it has."""

    lasts = 6.9


class ReadsKeyByKey(LazyClient):
    """Asks for the keys of a secret, and then for the value of each."""

    def read_all(self, path: str) -> dict[str, str]:
        read = super().read_all
        return {key: read(path)[key] for key in read(path)}


class KeepsTheWhole(LazyClient):
    """Hands out a whole secret that it has read for nearly five seconds."""

    keeps = 4.8

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._whole: dict[str, tuple[float, dict[str, str]]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        asked = time.monotonic()
        at, values = self._whole.get(path, (0.0, {}))
        if not at or asked - at >= self.keeps:
            values = super().read_all(path)
            self._whole[path] = asked, values
        return dict(values)  # each caller's own


class KeepsTheWholeForTooLong(KeepsTheWhole):
    """Hands it out for twice as long."""

    keeps = 9.6


class _KeptWhole(dict[str, str]):
    """A whole secret that the client marks as old."""

    stale = True


class KeepsItsFirstWhole(LazyClient):
    """Hands out the whole secret that it has read first, marked as old, for ever."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first: dict[str, dict[str, str]] = {}

    def read(self, path: str, key: str) -> str:
        return LazyClient.read_all(self, path)[key]

    def read_all(self, path: str) -> dict[str, str]:
        if path not in self._first:
            self._first[path] = super().read_all(path)
        return _KeptWhole(self._first[path])


class KeepsEachKey(LazyClient):
    """Keeps each key of a secret for a time of its own, a second longer than the one before."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], tuple[float, str]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        asked, new = time.monotonic(), super().read_all(path)
        for number, (key, value) in enumerate(sorted(new.items()), start=1):
            if asked - self._kept.get((path, key), (0.0, ""))[0] >= number:
                self._kept[path, key] = asked, value
        return {key: self._kept[path, key][1] for key in new}


MUTANTS: dict[str, Mutant] = {
    "takes-a-failed-read-for-an-empty-secret": Mutant(
        TakesAFailedReadForAnEmptySecret, "KV-04", "loses none of it", REFERENCE
    ),
    "updates-from-its-memory": Mutant(
        writing.UpdatesFromItsMemory, "KV-04", "loses none of it", REFERENCE
    ),
    "takes-a-denied-read-for-an-empty-secret": Mutant(
        writing.TakesADeniedReadForAnEmptySecret, "KV-04", "loses none of it", REFERENCE
    ),
    "updates-with-a-dead-token": Mutant(
        writing.UpdatesWithADeadToken, "KV-04", "of the loss of its token", REFERENCE
    ),
    "says-that-a-failed-change-is-made": Mutant(
        SaysThatAFailedChangeIsMade, "KV-04", "said to be made is made", REFERENCE
    ),
    "has-one-place-for-each-path": Mutant(
        keys.HasOnePlaceForEachPath,
        "KV-03",
        "read_cached of backend/pair",
        REFERENCE,
    ),
    "joins-reads-by-their-path": Mutant(
        keys.JoinsReadsByTheirPath, "KV-03", "read of backend/pair"
    ),
    "keeps-keys-that-were-removed": Mutant(
        keys.KeepsKeysThatWereRemoved, "KV-03", "read_all still gives"
    ),
    "reads-latin-1": Mutant(keys.ReadsLatin1, "KV-03", "a value that nobody ever wrote"),
    "reads-by-its-locale": Mutant(
        keys.ReadsByItsLocale,
        "KV-03",
        "a value that nobody ever wrote",
        LAZY_PROCESS,
        process=True,
    ),
    "quotes-its-paths-as-a-form": Mutant(
        keys.QuotesItsPathsAsAForm, "KV-03", "no read of backend/data/ecommerce/jobs"
    ),
    "asks-on-for-what-is-missing": Mutant(untried.AsksOnForWhatIsMissing, "KV-03", "for one call"),
    "reads-ascii-alone": Mutant(keys.ReadsAsciiAlone, "KV-03", "no read of backend/pair fails"),
    "takes-a-deleted-whole-for-empty": Mutant(
        wholes.TakesADeletedWholeForEmpty, "KV-03", "none of its keys"
    ),
    "keeps-a-deleted-whole": Mutant(wholes.KeepsADeletedWhole, "KV-03", "read_all still gives"),
    "has-nothing-in-a-seal": Mutant(
        HasNothingInASeal, "KV-02", "the last good value is served", REFERENCE
    ),
    "has-nothing-when-refused": Mutant(
        HasNothingWhenRefused, "KV-02", "the last good value is served", REFERENCE
    ),
    "serves-stale-for-ever-in-a-seal": Mutant(
        ServesStaleForEverInASeal, "KV-02", "no value is served", REFERENCE
    ),
    "serves-stale-for-ever-when-refused": Mutant(
        ServesStaleForEverWhenRefused, "KV-02", "no value is served", REFERENCE
    ),
    "serves-stale-for-ever-in-plain-reads": Mutant(
        byways.ServesStaleForEverInPlainReads, "KV-02", "read gave one", REFERENCE
    ),
    "serves-wholes-for-ever": Mutant(
        byways.ServesWholesForEver, "KV-02", "read_all gave one", REFERENCE
    ),
    "updates-without-cas": Mutant(
        UpdatesWithoutCas, "KV-04", "no change of another is lost", REFERENCE
    ),
    "overwrites-the-whole": Mutant(
        OverwritesTheWhole, "KV-04", "the keys that it does not change", REFERENCE
    ),
    "changes-by-clients-of-their-own": Mutant(
        untried.ChangesByClientsOfTheirOwn, "KV-04", "at most 2 logins", REFERENCE
    ),
    "changes-nothing": Mutant(ChangesNothing, "KV-04", "said to be", REFERENCE),
    "insists-on-its-version": Mutant(
        InsistsOnItsVersion, "KV-04", "at most 3 requests (write)", REFERENCE
    ),
    "reads-key-by-key": Mutant(ReadsKeyByKey, "KV-06", "all keys of a secret are of one version"),
    "hands-out-its-cache-itself": Mutant(
        every_day.HandsOutItsCacheItself, "KV-06", "changes it for nobody else"
    ),
    "keeps-each-key": Mutant(KeepsEachKey, "KV-06", "all keys of a secret are of one version"),
    "caches-for-ever": Mutant(CachesForEver, "KV-01", "a rotated secret is seen", REFERENCE),
    "serves-stale-for-ever": Mutant(ServesStaleForEver, "KV-02", "no value is served", REFERENCE),
    "serves-stale-for-ever-at-leisure": Mutant(
        ServesStaleForEverAtLeisure, "KV-02", "no value is served", REFERENCE
    ),
    "hides-that-it-is-stale": Mutant(HidesThatItIsStale, "KV-02", "no value is served", REFERENCE),
    "serves-the-dead-from-its-cache": Mutant(ServesTheDeadFromItsCache, "KV-03", "deleted"),
    "takes-deleted-for-empty": Mutant(TakesDeletedForEmpty, "KV-03", "reported as deleted"),
    "takes-a-missing-key-for-empty": Mutant(
        TakesAMissingKeyForEmpty, "KV-03", "a value that nobody ever wrote"
    ),
    "keeps-a-deletion-by-its-version": Mutant(
        absences.KeepsADeletionByItsVersion, "KV-03", "a secret that is undeleted is seen"
    ),
    "never-asks-for-a-deleted-secret-again": Mutant(
        absences.NeverAsksForADeletedSecretAgain, "KV-03", "a secret that is undeleted is seen"
    ),
    "remembers-what-is-missing-in-its-cache": Mutant(
        absences.RemembersWhatIsMissingInItsCache,
        "KV-03",
        "a secret that was missing is seen",
        REFERENCE,
    ),
    "takes-a-missing-key-for-an-outage": Mutant(
        TakesAMissingKeyForAnOutage, "KV-03", "it was reported as unavailable"
    ),
    "logs-in-at-a-wrong-mount": Mutant(LogsInOnEvery403, "KV-05", "at most 2 logins"),
    "caches-for-too-long": Mutant(CachesForTooLong, "KV-01", "within 5 s"),
    "logs-in-at-a-wrong-mount-twice": Mutant(LogsInOnTwo403s, "KV-05", "at most 2 logins"),
    "ends-too-late-after-all": Mutant(EndsTooLateAfterAll, "KV-03", "a clean end within"),
    "changes-in-four-writes": Mutant(
        ChangesInFourWrites, "KV-04", "at most 3 requests (write)", REFERENCE
    ),
    "repeats-its-first-read-at-a-wrong-mount-thrice": Mutant(
        edges_refusals.RepeatsItsFirstDeniedReadThrice, "KV-05", "reads for"
    ),
    "looks-thrice-at-a-wrong-mount": Mutant(
        edges_refusals.LooksThriceAtItsFirstDenial, "KV-05", "looks at the token for"
    ),
    "raises-at-its-end": Mutant(always.RaisesAtItsEnd, "KV-03", "a clean end succeeds"),
    "hangs-after-all": Mutant(HangsAtTheEnd, "KV-03", "close ends within"),
    "remembers-what-was-deleted-for-too-long": Mutant(
        RemembersWhatWasDeletedForTooLong, "KV-03", "it was reported as deleted"
    ),
    "takes-deleted-for-missing-at-first": Mutant(
        TakesDeletedForMissingAtFirst, "KV-03", "it was reported as missing"
    ),
    "keeps-what-it-missed": Mutant(KeepsWhatItMissed, "KV-07", "it is deleted"),
    "keeps-what-its-cache-missed": Mutant(KeepsWhatItsCacheMissed, "KV-07", "it is deleted"),
    "marks-no-whole-as-old": Mutant(
        wholes.MarksNoWholeAsOld, "KV-07", "read_all of backend/django gave", REFERENCE
    ),
    "answers-from-memory-in-a-long-outage": Mutant(
        tempers.AnswersFromMemory, "KV-07", "read of backend/django (SECRET_KEY) gave"
    ),
    "keeps-what-it-missed-for-too-long": Mutant(
        KeepsWhatItMissedForTooLong, "KV-07", "gone within"
    ),
    "keeps-the-deleted-for-too-long": Mutant(CachesForTooLong, "KV-03", "still gives"),
    "keeps-the-whole-for-too-long": Mutant(KeepsTheWholeForTooLong, "KV-06", "the last read gave"),
    "keeps-its-first-whole": Mutant(KeepsItsFirstWhole, "KV-06", "the last read gave"),
    "serves-stale-for-too-short": Mutant(
        ServesStaleForTooShort, "KV-02", "the last good value is served", REFERENCE
    ),
    "serves-stale-for-too-long": Mutant(
        ServesStaleForTooLong, "KV-02", "no value is served", REFERENCE
    ),
    "uses-its-old-token-for-a-while": Mutant(
        edges_endings.UsesItsOldTokenForAWhile, "KV-06", "alive after close"
    ),
    "says-ill-for-too-long-after-all": Mutant(
        edges_endings.SaysIllForTooLong, "KV-03", "health tells the truth", REFERENCE
    ),
    "caches-by-the-key-alone": Mutant(
        oversights.CachesByTheKeyAlone, "KV-03", "no wrong value", REFERENCE
    ),
    "caches-by-the-last-of-the-path": Mutant(
        oversights.CachesByTheLastOfThePath, "KV-03", "no wrong value"
    ),
    "says-too-slowly-how-it-is": Mutant(
        edges_endings.SaysTooSlowlyHowItIs, "KV-03", "health ends within", REFERENCE
    ),
    "revokes-as-an-operator-would": Mutant(
        blind_spots.RevokesAsAnOperatorWould, "KV-01", "alive after close"
    ),
    "takes-an-empty-value-for-missing": Mutant(
        blind_spots.TakesAnEmptyValueForMissing, "KV-03", "no read of backend/pair fails"
    ),
    "drops-empty-keys-of-a-whole": Mutant(
        blind_spots.DropsEmptyKeysOfAWhole, "KV-03", "none of its keys"
    ),
    "strips-its-values": Mutant(
        blind_spots.StripsItsValues, "KV-03", "a value that nobody ever wrote"
    ),
    "joins-changes-by-their-path": Mutant(
        writing.JoinsChangesByTheirPath, "KV-04", "of two changes at once", REFERENCE
    ),
    "reads-in-turn-over-a-dead-connection": Mutant(
        blind_spots.ReadsInTurnOverADeadConnection, "KV-07", "go on: 6 in a row"
    ),
    "takes-a-refused-connection-for-missing": Mutant(
        blind_spots.TakesARefusedConnectionForMissing, "KV-07", "never called missing or deleted"
    ),
    "unwraps-data-twice": Mutant(
        outsiders.UnwrapsDataTwice, "KV-03", "no read of backend/pair fails"
    ),
    "takes-a-dot-for-a-way-down": Mutant(
        outsiders.TakesADotForAWayDown, "KV-03", "no read of backend/pair fails"
    ),
    "has-keys-without-case": Mutant(
        outsiders.HasKeysWithoutCase, "KV-03", "no wrong value is ever handed out"
    ),
    "takes-digits-for-a-number": Mutant(
        outsiders.TakesDigitsForANumber, "KV-03", "a value that nobody ever wrote"
    ),
    "fills-in-variables": Mutant(
        outsiders.FillsInVariables, "KV-03", "a value that nobody ever wrote"
    ),
    "takes-a-date-for-a-deletion": Mutant(
        outsiders.TakesADateForADeletion, "KV-03", "no read of backend/pair fails"
    ),
    "takes-a-destroyed-version-for-missing": Mutant(
        outsiders.TakesADestroyedVersionForMissing, "KV-03", "it was reported as missing"
    ),
    "compares-version-numbers-alone": Mutant(
        outsiders.ComparesVersionNumbersAlone, "KV-03", "removed and written anew"
    ),
    "puts-data-behind-each-mount": Mutant(
        outsiders.PutsDataBehindEachMount, "KV-03", "no read of backend/data/ecommerce/jobs"
    ),
    "puts-its-wholes-together": Mutant(
        outsiders.PutsItsWholesTogether, "KV-03", "read_all still gives backend/pair:v2"
    ),
    "strips-what-it-changes": Mutant(
        beside_reads.StripsWhatItChanges, "KV-04", "not there as it was given: mine", REFERENCE
    ),
    "leaves-letters-escaped": Mutant(
        letters.LeavesLettersEscaped, "KV-03", "a value that nobody ever wrote"
    ),
    "has-letters-of-16-bits": Mutant(
        letters.HasLettersOf16Bits, "KV-03", "a value that nobody ever wrote"
    ),
    "encodes-blanks-alone": Mutant(letters.EncodesBlanksAlone, "KV-03", "read of backend/odd?x"),
    "takes-its-paths-for-encoded": Mutant(
        letters.TakesItsPathsForEncoded, "KV-03", "read of backend/odd%3Fx"
    ),
    "takes-a-plus-for-a-blank": Mutant(
        letters.TakesAPlusForABlank, "KV-03", "read of backend/odd+x"
    ),
    "has-ascii-in-its-paths": Mutant(
        letters.HasAsciiInItsPaths, "KV-03", "no read of backend/odd-\u00fc fails"
    ),
    "keeps-paths-without-case": Mutant(
        letters.KeepsPathsWithoutCase, "KV-03", "read_cached of backend/Odd", REFERENCE
    ),
    "drops-empty-keys-in-a-change": Mutant(
        outsiders.DropsEmptyKeysInAChange, "KV-04", "the keys that it does not change", REFERENCE
    ),
    "joins-lines-in-a-change": Mutant(
        outsiders.JoinsLinesInAChange, "KV-04", "the keys that it does not change", REFERENCE
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "updates-from-its-memory-by-its-version": Tolerated(
        writing.UpdatesFromItsMemoryByItsVersion, "KV-04", REFERENCE
    ),
    "has-its-change-merged": Tolerated(HasItsChangeMerged, "KV-04"),
    "caches-for-the-refresh-time": Tolerated(CachesForTheRefreshTime, "KV-01"),
    "keeps-a-deleted-whole-for-the-refresh-time": Tolerated(KeepsTheWhole, "KV-03"),
    "keeps-the-whole-for-the-refresh-time": Tolerated(KeepsTheWhole, "KV-06"),
    "logs-in-at-a-wrong-mount-once": Tolerated(LogsInOnTheFirst403, "KV-05"),
    "asks-twice-for-what-is-missing": Tolerated(untried.AsksTwiceForWhatIsMissing, "KV-03"),
    "ends-late-after-all": Tolerated(EndsLateAfterAll, "KV-03"),
    "refuses-odd-paths": Tolerated(letters.RefusesOddPaths, "KV-03"),
    "changes-in-three-writes": Tolerated(ChangesInThreeWrites, "KV-04", REFERENCE),
    "repeats-each-read-at-a-wrong-mount": Tolerated(edges_refusals.RepeatsEachDeniedRead, "KV-05"),
    "asks-which-mounts-there-are": Tolerated(other_styles.AsksWhichMountsThereAre, "KV-05"),
    "is-slow-at-its-first-request": Tolerated(tempers.IsSlowAtItsFirstRequest, "KV-05"),
    "looks-every-second-at-a-wrong-mount": Tolerated(other_styles.LooksEverySecond, "KV-05"),
    "starts-with-no-mount-that-it-may-not-see": Tolerated(
        other_styles.StartsWithNoMountThatItMayNotSee, "KV-05"
    ),
    "looks-twice-at-a-wrong-mount": Tolerated(edges_refusals.LooksTwiceAtItsFirstDenial, "KV-05"),
    "remembers-what-was-deleted": Tolerated(RemembersWhatWasDeleted, "KV-03"),
    "keeps-what-it-missed-for-a-while": Tolerated(KeepsWhatItMissedForAWhile, "KV-07"),
    "keeps-the-deleted-for-the-refresh-time": Tolerated(CachesForTheRefreshTime, "KV-03"),
    "serves-stale-for-nearly-too-short": Tolerated(
        ServesStaleForNearlyTooShort, "KV-02", REFERENCE
    ),
    "serves-stale-a-little-longer": Tolerated(ServesStaleALittleLonger, "KV-02", REFERENCE),
    "uses-its-old-token-for-a-moment": Tolerated(edges_endings.UsesItsOldTokenForAMoment, "KV-06"),
    "says-ill-for-a-while-after-all": Tolerated(edges_endings.SaysIllForAWhile, "KV-03", REFERENCE),
    "says-slowly-how-it-is": Tolerated(edges_endings.SaysSlowlyHowItIs, "KV-03", REFERENCE),
}
