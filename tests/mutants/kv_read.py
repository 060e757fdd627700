"""Clients that break KV-03, 05 or 06: what a read returns."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from resilient_vault_client import Secret, SecretNotFound
from tests.mutants.clients import (
    CachesForTheRefreshTime,
    CachesForTooLong,
    LogsInOnTheFirst403,
    LooksAtEachDenial,
    Mutant,
    Remembers,
    RepeatsEachDeniedRead,
    Tolerated,
    _KeyByKeyAsEver,
    by_name,
)
from tests.mutants.login_clients import LooksEverySecond
from tests.mutants.reference_clients import (
    ReportsUnhealthyForAWhile,
    SaysSlowlyHowItIs,
    Tweaked,
)
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    ClientError,
    DeletedError,
    MissingError,
    Reply,
    UnavailableError,
)

# KV-03


class CachesOneValueForEachPath(Tweaked):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first: dict[str, str] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        found = super().read_cached(path, key)
        first = self._first.setdefault(path, key)
        return found if first == key else super().read_cached(path, first)


class KeepsKeysThatWereRemoved(LazyClient):
    """Merges each answer into what it has of a secret."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._known: dict[str, dict[str, str]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        found = {**self._known.get(path, {}), **super().read_all(path)}
        self._known[path] = found
        return dict(found)


class DecodesAsLatin1(LazyClient):
    """Decodes answers as ISO 8859-1, as many HTTP libraries do by default."""

    def read_all(self, path: str) -> dict[str, str]:
        def read(text: str) -> str:
            return text.encode().decode("latin-1")

        return {read(key): read(value) for key, value in super().read_all(path).items()}


class EncodesSpacesInPathsAsPlus(LazyClient):
    """Writes a plus for each space of a path, which is right only in a query."""

    def read_all(self, path: str) -> dict[str, str]:
        return super().read_all(path.replace(" ", "+"))


class RetriesA404WithinTheCall(LazyClient):
    """Takes every answer but 200 for temporary."""

    tries = 99

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        for _ in range(self.tries - 1):
            if reply.status != 404 or time.monotonic() + 0.4 > deadline:
                break
            time.sleep(0.3)
            reply = super()._fetch(path, deadline)
        return reply


class ConvertsLineEndsInReads(LazyClient):
    def read_all(self, path: str) -> dict[str, str]:
        return {key: text.replace("\r\n", "\n") for key, text in super().read_all(path).items()}


class CutsValuesAtANul(LazyClient):
    """Passes its values to a C library."""

    def read_all(self, path: str) -> dict[str, str]:
        return {key: text.partition("\0")[0] for key, text in super().read_all(path).items()}


class ServesADeletedSecretFromItsCache(Remembers):
    capabilities = frozenset({"read", "outcomes", "cached"})

    def read_cached(self, path: str, key: str) -> str:
        try:
            return self.read(path, key)
        except (DeletedError, MissingError):
            if (path, key) in self._kept:
                return self._kept[path, key]
            raise


class TreatsADeletedSecretAsEmpty(LazyClient):
    """Returns the empty string for a secret whose data is null."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeletedError:
            return ""


class TreatsAMissingKeyAsEmpty(LazyClient):
    def read(self, path: str, key: str) -> str:
        return self.read_all(path).get(key, "")


class NeverRereadsADeletedVersion(LazyClient):
    """Takes it as deleted for ever."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._gone: dict[str, int] = {}

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        inner = reply.body.get("data") or {}
        version = (inner.get("metadata") or {}).get("version")
        if reply.status == 404 and version:
            self._gone[path] = version
        elif version and self._gone.get(path) == version:
            raise DeletedError(f"version {version} of {path} is deleted")
        return reply


class CachesA404Forever(Tweaked):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._missing: dict[tuple[str, str], SecretNotFound] = {}

    def read_cached(self, path: str, key: str) -> Any:
        if (path, key) in self._missing:
            raise SecretNotFound(f"there is no {key} in {path}", path=path)
        try:
            return super().read_cached(path, key)
        except SecretNotFound as error:
            self._missing[path, key] = error
            raise


class TreatsAMissingKeyAsAnOutage(LazyClient):
    """Tells its callers to come back later."""

    def read(self, path: str, key: str) -> str:
        try:
            return self.read_all(path)[key]
        except KeyError:
            raise UnavailableError("Vault gave no value") from None


class CachesADeletionForTheRefreshTime(LazyClient):
    """Calls a deleted secret deleted for nearly five seconds, even without its metadata."""

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


class TreatsADeletedSecretAsMissingForTwoSeconds(LazyClient):
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


class CachesByTheLastPartOfThePath(CachesForTheRefreshTime):
    keeps = 1.0

    def read(self, path: str, key: str) -> str:
        asked, name = time.monotonic(), (path.rpartition("/")[2], key)
        at, value = self._values.get(name, (0.0, ""))
        if not at or asked - at >= self.keeps:
            value = LazyClient.read(self, path, key)
            self._values[name] = asked, value
        return value


class DropsEmptyKeysOfAWholeSecret(_KeyByKeyAsEver):
    def read_all(self, path: str) -> dict[str, str]:
        return {key: value for key, value in super().read_all(path).items() if value}


class StripsItsValues(LazyClient):
    def read_all(self, path: str) -> dict[str, str]:
        return {key: value.strip() for key, value in super().read_all(path).items()}


class DescendsIntoAKeyNamedData(LazyClient):
    """Descends as long as there is `data`, to support both versions of KV."""

    def read_all(self, path: str) -> dict[str, str]:
        inner: Any = super().read_all(path)
        while "data" in inner:
            inner = inner["data"]
        return dict(inner)


class SplitsAKeyAtItsDots(LazyClient):
    """Takes the name of a key for a path into the secret: `tls.crt` is not found."""

    def read(self, path: str, key: str) -> str:
        inner: Any = self.read_all(path)
        for part in key.split("."):
            inner = inner.get(part) if isinstance(inner, dict) else None
        if inner is None:
            raise MissingError(f"there is no {key} in {path}")
        return str(inner)


class LowercasesKeys(LazyClient):
    """Keeps the keys of a secret in lower case, as libraries for settings do."""

    def read(self, path: str, key: str) -> str:
        found = {name.lower(): value for name, value in self.read_all(path).items()}
        if key.lower() not in found:
            raise MissingError(f"there is no {key} in {path}")
        return found[key.lower()]


class ParsesDigitsAsANumber(LazyClient):
    """Parses values like YAML, and returns the shortest form of a number: a PIN loses its zeros."""

    def read_all(self, path: str) -> dict[str, str]:
        found = super().read_all(path)
        return {key: str(int(one)) if one.isdigit() else one for key, one in found.items()}


class ExpandsVariablesInValues(LazyClient):
    """Expands environment variables in values, as it does in its settings."""

    def read_all(self, path: str) -> dict[str, str]:
        return {key: os.path.expandvars(one) for key, one in super().read_all(path).items()}


def _metadata(reply: Reply) -> dict[str, Any]:
    """Return what an answer says of its version."""
    return dict((reply.body.get("data") or {}).get("metadata") or {})


class TreatsAFutureDeletionTimeAsDeleted(LazyClient):
    """Takes a version with a `deletion_time` for deleted, even if that is in an hour."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        if _metadata(reply).get("deletion_time"):
            raise DeletedError(f"{path} is deleted")
        return reply


class TreatsADestroyedVersionAsMissing(LazyClient):
    """Recognises a deleted version by its `deletion_time`, which a destroyed one lacks."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        known = _metadata(reply)
        if known and reply.status != 200 and not known.get("deletion_time"):
            raise MissingError(f"there is no {path}")
        return reply


class KeepsAValueWhileTheVersionNumberIsEqual(LazyClient):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[str, tuple[int, Reply]] = {}

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        if reply.status != 200:
            self._kept.pop(path, None)
            return reply
        version = int(_metadata(reply).get("version") or 0)
        known, kept = self._kept.get(path, (0, reply))
        if version == known:
            return kept
        self._kept[path] = version, reply
        return reply


class InsertsDataAfterEachFolderNamedLikeTheMount(LazyClient):
    """Makes `MOUNT/data/` of each `MOUNT/` in a path, also of a folder with the mount's name."""

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        mount = f"{self._mount}/"
        if path.startswith(mount):
            path = path.replace(f"{mount}data/", mount, 1).replace(mount, f"{mount}data/")
        return super()._ask(method, path, deadline, token, body)


class LeavesUnicodeEscapesInValues(LazyClient):
    """Decodes JSON by itself, without Unicode escapes."""

    def read_all(self, path: str) -> dict[str, str]:
        def read(text: str) -> str:
            return re.sub(r"[<>&]", lambda letter: f"\\u{ord(letter[0]):04x}", text)

        return {key: read(value) for key, value in super().read_all(path).items()}


class ReplacesCharactersBeyond16Bits(LazyClient):
    def read_all(self, path: str) -> dict[str, str]:
        def read(text: str) -> str:
            return re.sub(r"[\U00010000-\U0010ffff]", "?", text)

        return {key: read(value) for key, value in super().read_all(path).items()}


class EncodesOnlySpacesInPaths(LazyClient):
    """Puts paths into URLs unencoded: what follows a `?` is lost."""

    def read_all(self, path: str) -> dict[str, str]:
        return super().read_all(unquote(re.split("[?#]", path)[0]))


class TreatsPathsAsAlreadyEncoded(LazyClient):
    """`%3F` in a path is taken for an encoded character."""

    def read_all(self, path: str) -> dict[str, str]:
        return super().read_all(unquote(path))


class DecodesAPlusInAPathAsASpace(LazyClient):
    def read_all(self, path: str) -> dict[str, str]:
        return super().read_all(path.replace("+", " "))


class ReplacesNonAsciiCharactersInPaths(LazyClient):
    """Writes question marks instead."""

    def read_all(self, path: str) -> dict[str, str]:
        return super().read_all(path.encode("ascii", "replace").decode())


class LowercasesPathsInItsCache(Tweaked):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first: dict[str, str] = {}

    def read_cached(self, path: str, key: str) -> Secret:
        return super().read_cached(self._first.setdefault(path.lower(), path), key)


class KeepsTheWholeSecret(LazyClient):
    """Keeps it for nearly five seconds."""

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
        return dict(values)  # a copy for each caller


class RefusesPathsWithSpecialCharacters(LazyClient):
    """Refuses those that are special in a URL."""

    def read_all(self, path: str) -> dict[str, str]:
        if re.search("[?#%]", path):
            raise ClientError(f"{path} is no path of a secret")
        return super().read_all(path)


# KV-05


class LooksUpItsMountBeforeItReads(LazyClient):
    """Looks up its mount before it reads, and its token if the mount is denied."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        token = self._valid_token(deadline)
        where = f"sys/internal/ui/mounts/{self._mount}"
        if self._ask("GET", where, deadline, token).status == 403:
            self._ask("GET", "auth/token/lookup-self", deadline, token)
            raise MissingError(f"there is no mount {self._mount}")
        return super()._fetch(path, deadline)


class SendsItsFirstRequestLate(LogsInOnTheFirst403):
    """Is ready at once. So is a virtual machine that loads its code for TLS and JSON later."""

    _warm = False

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        if not self._warm:
            self._warm = True
            time.sleep(max(0.0, deadline - time.monotonic()))
            self._token = None
            raise UnavailableError("the first login took too long")
        return token


class GivesUpAtItsStartOnADeniedMount(LazyClient):
    """Asks for its mount with two tokens, and gives up."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        deadline = time.monotonic() + self._deadline
        where = f"sys/internal/ui/mounts/{self._mount}"
        for _ in range(2):
            token = self._valid_token(deadline)
            if self._ask("GET", where, deadline, token).status == 200:
                return
            self._token = None
            self._ask("POST", "auth/token/revoke-self", deadline, token)
        self.close()
        raise MissingError(f"there is no mount {self._mount}")


# KV-06


class ReadsAWholeSecretKeyByKey(LazyClient):
    def read_all(self, path: str) -> dict[str, str]:
        read = super().read_all
        return {key: read(path)[key] for key in read(path)}


class ReturnsTheCachedObjectItself(LazyClient):
    """Returns whole secrets from a cache for a second, as the cached object itself.

    So does `functools.cache` around a function that returns a dictionary. An application that
    removes a key, or fills in a template, changes it for all.
    """

    keeps = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._wholes: dict[str, tuple[float, dict[str, str]]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        asked = time.monotonic()
        at, whole = self._wholes.get(path, (-self.keeps, {}))
        if asked - at >= self.keeps:
            whole = super().read_all(path)
            self._wholes[path] = asked, whole
        return whole


class CachesEachKeySeparately(LazyClient):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], tuple[float, str]] = {}

    def read_all(self, path: str) -> dict[str, str]:
        asked, new = time.monotonic(), super().read_all(path)
        for number, (key, value) in enumerate(sorted(new.items()), start=1):
            if asked - self._kept.get((path, key), (0.0, ""))[0] >= number:
                self._kept[path, key] = asked, value
        return {key: self._kept[path, key][1] for key in new}


MUTANTS = by_name(
    Mutant(CachesOneValueForEachPath, "KV-03", "read_cached of backend/pair"),
    Mutant(KeepsKeysThatWereRemoved, "KV-03", "read_all still gives"),
    Mutant(DecodesAsLatin1, "KV-03", "a value that nobody ever wrote"),
    Mutant(EncodesSpacesInPathsAsPlus, "KV-03", "no read of backend/data/ecommerce/jobs"),
    Mutant(RetriesA404WithinTheCall, "KV-03", "for one call"),
    Mutant(ConvertsLineEndsInReads, "KV-03", "a value that nobody ever wrote"),
    Mutant(CutsValuesAtANul, "KV-03", "a value that nobody ever wrote"),
    Mutant(ServesADeletedSecretFromItsCache, "KV-03", "deleted"),
    Mutant(TreatsADeletedSecretAsEmpty, "KV-03", "reported as deleted"),
    Mutant(TreatsAMissingKeyAsEmpty, "KV-03", "a value that nobody ever wrote"),
    Mutant(NeverRereadsADeletedVersion, "KV-03", "a secret that is undeleted is seen"),
    Mutant(CachesA404Forever, "KV-03", "a secret that was missing is seen"),
    Mutant(TreatsAMissingKeyAsAnOutage, "KV-03", "it was reported as unavailable"),
    Mutant(CachesADeletionForTheRefreshTime, "KV-03", "it was reported as deleted").called(
        "caches-a-deletion-for-too-long", keeps=8.0
    ),
    Mutant(TreatsADeletedSecretAsMissingForTwoSeconds, "KV-03", "it was reported as missing"),
    Mutant(CachesForTooLong, "KV-03", "still gives").called("serves-a-deleted-secret-for-too-long"),
    Mutant(ReportsUnhealthyForAWhile, "KV-03", "health tells the truth").called(
        "reports-unhealthy-longer-than-declared", after=6.0
    ),
    Mutant(CachesByTheLastPartOfThePath, "KV-03", "no wrong value"),
    Mutant(SaysSlowlyHowItIs, "KV-03", "health ends within").called(
        "answers-a-health-question-too-late", lasts=3.0
    ),
    Mutant(DropsEmptyKeysOfAWholeSecret, "KV-03", "none of its keys"),
    Mutant(StripsItsValues, "KV-03", "a value that nobody ever wrote"),
    Mutant(DescendsIntoAKeyNamedData, "KV-03", "no read of backend/pair fails"),
    Mutant(SplitsAKeyAtItsDots, "KV-03", "no read of backend/pair fails"),
    Mutant(LowercasesKeys, "KV-03", "no wrong value is ever handed out"),
    Mutant(ParsesDigitsAsANumber, "KV-03", "a value that nobody ever wrote"),
    Mutant(ExpandsVariablesInValues, "KV-03", "a value that nobody ever wrote"),
    Mutant(TreatsAFutureDeletionTimeAsDeleted, "KV-03", "no read of backend/pair fails"),
    Mutant(TreatsADestroyedVersionAsMissing, "KV-03", "it was reported as missing"),
    Mutant(KeepsAValueWhileTheVersionNumberIsEqual, "KV-03", "removed and written again"),
    Mutant(
        InsertsDataAfterEachFolderNamedLikeTheMount,
        "KV-03",
        "no read of backend/data/ecommerce/jobs",
    ),
    Mutant(LeavesUnicodeEscapesInValues, "KV-03", "a value that nobody ever wrote"),
    Mutant(ReplacesCharactersBeyond16Bits, "KV-03", "a value that nobody ever wrote"),
    Mutant(EncodesOnlySpacesInPaths, "KV-03", "read of backend/odd?x"),
    Mutant(TreatsPathsAsAlreadyEncoded, "KV-03", "read of backend/odd%3Fx"),
    Mutant(DecodesAPlusInAPathAsASpace, "KV-03", "read of backend/odd+x"),
    Mutant(ReplacesNonAsciiCharactersInPaths, "KV-03", "no read of backend/odd-\u00fc fails"),
    Mutant(LowercasesPathsInItsCache, "KV-03", "read_cached of backend/Odd"),
    Mutant(LogsInOnTheFirst403, "KV-05", "at most 2 logins").called(
        "logs-in-at-a-wrong-mount-twice", times=2
    ),
    Mutant(RepeatsEachDeniedRead, "KV-05", "reads for").called(
        "repeats-its-first-read-at-a-wrong-mount-three-times", at_the_first=3
    ),
    Mutant(LooksAtEachDenial, "KV-05", "looks at the token for").called(
        "looks-up-its-token-three-times-at-a-wrong-mount", at_the_first=3
    ),
    Mutant(ReadsAWholeSecretKeyByKey, "KV-06", "all keys of a secret are of one version"),
    Mutant(ReturnsTheCachedObjectItself, "KV-06", "changes it for nobody else"),
    Mutant(CachesEachKeySeparately, "KV-06", "all keys of a secret are of one version"),
    Mutant(KeepsTheWholeSecret, "KV-06", "the last read gave").called(
        "keeps-the-whole-secret-for-too-long", keeps=9.6
    ),
)


TOLERATED = by_name(
    Tolerated(KeepsTheWholeSecret, "KV-03").called(
        "keeps-a-deleted-whole-secret-for-the-refresh-time"
    ),
    Tolerated(RetriesA404WithinTheCall, "KV-03").called("retries-a-404-once", tries=2),
    Tolerated(RefusesPathsWithSpecialCharacters, "KV-03"),
    Tolerated(CachesADeletionForTheRefreshTime, "KV-03"),
    Tolerated(CachesForTheRefreshTime, "KV-03").called(
        "serves-a-deleted-secret-for-the-refresh-time"
    ),
    Tolerated(ReportsUnhealthyForAWhile, "KV-03").called(
        "reports-unhealthy-for-the-declared-pause"
    ),
    Tolerated(SaysSlowlyHowItIs, "KV-03").called("answers-a-health-question-at-its-deadline"),
    Tolerated(LogsInOnTheFirst403, "KV-05").called("logs-in-at-a-wrong-mount-once"),
    Tolerated(RepeatsEachDeniedRead, "KV-05").called("repeats-each-read-at-a-wrong-mount"),
    Tolerated(LooksUpItsMountBeforeItReads, "KV-05"),
    Tolerated(SendsItsFirstRequestLate, "KV-05"),
    Tolerated(LooksEverySecond, "KV-05").called("looks-up-its-token-every-second-at-a-wrong-mount"),
    Tolerated(GivesUpAtItsStartOnADeniedMount, "KV-05"),
    Tolerated(LooksAtEachDenial, "KV-05").called(
        "looks-up-its-token-twice-at-a-wrong-mount", at_the_first=2
    ),
    Tolerated(KeepsTheWholeSecret, "KV-06").called("keeps-the-whole-secret-for-the-refresh-time"),
)
