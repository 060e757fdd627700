"""Clients that keep their promises in a short look, or in calm weather, and break them later."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping

from tests.mutants.clients import Mutant
from tests.mutants.lazy_mutants import LeavesItsTokenBehind, NeverRenews
from tests.subjects.lazy_client import Credentials, LazyClient, Token, _mark
from tests.subjects.lazy_wire import (
    ClientError,
    DeletedError,
    DeniedError,
    MissingError,
    UnavailableError,
)


class _EveryNowAndThen(Credentials):
    """A refused secret-id is tried again after 4.7 s, for ever."""

    def usable(self, secret_id: str) -> bool:
        times = self._failed.get(_mark(secret_id), [])
        return not times or time.monotonic() - times[-1] >= 4.7


class TriesABadSecretIdForEver(LazyClient):
    """Few tries in a short look; the fifth, which locks the role, comes after half a minute."""

    credentials_type = _EveryNowAndThen


class _NeverAsksTheFileAgain(_EveryNowAndThen):
    def usable(self, secret_id: str) -> bool:
        del secret_id
        return True

    def _one(self, name: str) -> str:
        return self._last.get(name) or super()._one(name)


class LocksItsRoleInARotation(LazyClient):
    """Goes on with the secret-id that it read first, at every call."""

    credentials_type = _NeverAsksTheFileAgain


class _Old(str):
    """A value that the client marks as old."""

    __slots__ = ()
    stale = True


class _Remembers(LazyClient):
    """Keeps the last good value of each key."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], str] = {}

    def read(self, path: str, key: str) -> str:
        self._kept[path, key] = value = super().read(path, key)
        return value


class HidesBehindItsLastValue(_Remembers):
    """Asks at every call whatever ``Retry-After`` said, and hands out an old value, marked so."""

    def read(self, path: str, key: str) -> str:
        deadline = time.monotonic() + self._deadline * 0.95
        token = self._valid_token(deadline)
        where = f"{self._mount}/data/{path}"
        with contextlib.suppress(UnavailableError):
            reply = self._wire.send("GET", where, deadline=deadline, token=token.value)
            if reply.status != 200:
                return super().read(path, key)
            self._kept[path, key] = value = str(reply.body["data"]["data"][key])
            return value
        if (path, key) in self._kept:
            return _Old(self._kept[path, key])
        raise UnavailableError("there is no value yet")


class TriesSixTimesAtOnce(LazyClient):
    """Counts its tries, and forgets to pause between them."""

    def read(self, path: str, key: str) -> str:
        deadline = time.monotonic() + self._deadline * 0.95
        for _ in range(6):
            token = self._valid_token(deadline)
            where = f"{self._mount}/data/{path}"
            with contextlib.suppress(UnavailableError):
                reply = self._wire.send("GET", where, deadline=deadline, token=token.value)
                if reply.status != 200:
                    return super().read(path, key)
                return str(reply.body["data"]["data"][key])
            time.sleep(0.003)
        raise UnavailableError("none of six tries was answered")


class ServesTheDeadFromItsCache(_Remembers):
    """What is deleted in Vault lives on in its cache."""

    capabilities = frozenset({"read", "outcomes", "cached"})

    def read_cached(self, path: str, key: str) -> str:
        try:
            return self.read(path, key)
        except (DeletedError, MissingError):
            if (path, key) in self._kept:
                return self._kept[path, key]
            raise


class PapersOverADenial(_Remembers):
    """While it is denied it hands out what it read before, as if it were fresh."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except DeniedError:
            if (path, key) in self._kept:
                return self._kept[path, key]
            raise


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


class LeavesItsTokenAfterAnOutage(LazyClient):
    """Gives its token back in calm weather; after an outage it forgets to."""

    _shaken = False

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError:
            self._shaken = True
            raise

    def close(self) -> None:
        if self._shaken:
            self._token = None
        super().close()


class IsStaleAfterAnOutage(_Remembers):
    """Asks Vault in calm weather; after an outage it is content with what it has."""

    _shaken = False

    def read(self, path: str, key: str) -> str:
        if self._shaken and (path, key) in self._kept:
            return self._kept[path, key]
        try:
            return super().read(path, key)
        except UnavailableError:
            self._shaken = True
            raise


class SaysNothingOfItsHealth(LazyClient):
    """Well in calm weather; after an outage its health waits for what never comes."""

    capabilities = frozenset({"read", "outcomes", "health"})
    _shaken = False

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError:
            self._shaken = True
            raise

    def health(self) -> bool:
        if self._shaken:
            threading.Event().wait(30.0)
        return True


SUBTLE: dict[str, Mutant] = {
    "tries-a-bad-secret-id-for-ever": Mutant(
        TriesABadSecretIdForEver, "SID-02", "the same secret-id"
    ),
    "tries-a-bad-secret-id-until-a-new-one": Mutant(
        TriesABadSecretIdForEver, "SID-03", "the same secret-id"
    ),
    "locks-its-role-in-a-rotation": Mutant(LocksItsRoleInARotation, "OPS-01", "refused login"),
    "hides-behind-its-last-value": Mutant(HidesBehindItsLastValue, "SRV-05", "Retry-After"),
    "tries-six-times-at-once": Mutant(TriesSixTimesAtOnce, "SRV-09", "0.1 s apart"),
    "serves-the-dead-from-its-cache": Mutant(ServesTheDeadFromItsCache, "KV-03", "deleted"),
    "papers-over-a-denial": Mutant(PapersOverADenial, "POL-02", "denied"),
    "logs-in-after-the-end-of-explicit-max-ttl": Mutant(NeverRenews, "TOK-05", "before"),
    "logs-in-after-the-end-of-the-unrenewable": Mutant(NeverRenews, "TOK-06", "before"),
    "renews-twice-at-once": Mutant(RenewsTwiceAtOnce, "TOK-01", "renewal"),
    "leaves-its-token-after-an-outage": Mutant(LeavesItsTokenAfterAnOutage, "NET-01", "alive"),
    "leaves-its-token-after-a-seal": Mutant(LeavesItsTokenBehind, "SEA-01", "alive"),
    "is-stale-after-an-outage": Mutant(IsStaleAfterAnOutage, "SEA-01", "rotated secret"),
    "says-nothing-of-its-health": Mutant(SaysNothingOfItsHealth, "PRC-05", "health"),
}
"""As `tests.mutants.clients.MUTANTS`: found by clients that the suite had passed once."""
