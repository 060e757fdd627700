"""Clients that break ISO: a problem with one secret delays the others."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, ClassVar

from tests.mutants.clients import Mutant, Tolerated, by_name
from tests.subjects.lazy_client import LazyClient, Token, _secret
from tests.subjects.lazy_wire import ClientError, Reply, UnavailableError, Wire, _left

# ISO-01


class PausesAllReadsAfterAFailure(LazyClient):
    rest = 0.5

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._rests_until = 0.0

    def read(self, path: str, key: str) -> str:
        if time.monotonic() < self._rests_until:
            raise UnavailableError("Vault has just failed, and is given a rest")
        try:
            return super().read(path, key)
        except UnavailableError:
            self._rests_until = time.monotonic() + self.rest
            raise


class SharesOneReadOfAllPathsWithAKey(LazyClient):
    """Answers a caller with another's read of a key with the same name."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._under_way: dict[str, Future[str]] = {}
        self._joining = threading.Lock()

    def read(self, path: str, key: str) -> str:
        with self._joining:
            there = self._under_way.get(key)
            mine = self._under_way[key] = there or Future()
        if there is not None:
            return there.result(timeout=0.9 * self._deadline)
        try:
            mine.set_result(super().read(path, key))
        except ClientError as error:
            mine.set_exception(error)
        finally:
            with self._joining:
                del self._under_way[key]
        return mine.result()


class FailsAllReadsIfOneFails(LazyClient):
    """Reads the first four secrets ever asked for, and fails if one fails."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._asked: dict[tuple[str, str], None] = {}

    def read(self, path: str, key: str) -> str:
        self._asked[path, key] = None
        wanted = [*list(self._asked)[:4], (path, key)]
        found = {one: super(FailsAllReadsIfOneFails, self).read(*one) for one in wanted}
        return found[path, key]


class StopsARefreshRoundAtTheFirstFailure(LazyClient):
    """Secrets later in the round are never refreshed again, and not marked as old."""

    capabilities = LazyClient.capabilities | {"cached"}
    every = 0.5

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], str] = {}
        self._turn = threading.Lock()
        self._due = 0.0

    def read_cached(self, path: str, key: str) -> str:
        one = path, key
        if time.monotonic() >= self._due and self._turn.acquire(blocking=False):
            try:
                self._look_at_all()
            finally:
                self._due = time.monotonic() + self.every
                self._turn.release()
        if one not in self._kept:
            self._kept[one] = self.read(path, key)
        return self._kept[one]

    def _look_at_all(self) -> None:
        for path, key in list(self._kept):
            try:
                reply = self._fetch(path, time.monotonic() + 0.3 * self._deadline)
                self._kept[path, key] = _secret(reply, path)[key]
            except UnavailableError:
                break  # all later secrets wait for this one
            except ClientError:
                continue


class RefreshesAllSecretsInOneCall(StopsARefreshRoundAtTheFirstFailure):
    """Makes each round in a caller's call, and gives each secret the time of a call."""

    def _look_at_all(self) -> None:
        until = time.monotonic() + 0.9 * self._deadline
        for path, key in list(self._kept):
            with contextlib.suppress(ClientError):
                self._kept[path, key] = _secret(self._fetch(path, until), path)[key]


class SendsOneRequestAtATime(Wire):
    """One request at a time, waiting at most some seconds."""

    patience = 60.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._one = threading.Lock()

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        left = max(0.0, deadline - time.monotonic())
        held = self._one.acquire(timeout=min(self.patience, left))
        try:
            return super().send(method, path, deadline=deadline, token=token, body=body)
        finally:
            if held:
                self._one.release()


class ClosesItsPoolAtATimeout(LazyClient):
    """Also closes the connections of other callers."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._gone: Future[None] = Future()
        self._at_work = ThreadPoolExecutor(32)

    def read(self, path: str, key: str) -> str:
        until, gone = time.monotonic() + 0.9 * self._deadline, self._gone
        mine = self._at_work.submit(super().read, path, key)
        either: list[Future[Any]] = [mine, gone]
        wait(either, return_when=FIRST_COMPLETED)
        if not mine.done():
            raise UnavailableError("its connection was closed")
        try:
            return mine.result()
        except UnavailableError:
            if time.monotonic() > until and not gone.done():
                self._gone = Future()
                gone.set_result(None)
            raise

    def close(self) -> None:
        super().close()
        self._at_work.shutdown(wait=False)


class HasTwoConnections(Wire):
    """For a host, the default of Apache's HttpClient."""

    most = 2

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._free = threading.BoundedSemaphore(self.most)

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        if not self._free.acquire(timeout=_left(deadline)):
            raise TimeoutError
        try:
            return super()._exchange(request, deadline)
        finally:
            self._free.release()


# ISO-02


class SharesItsCache(LazyClient):
    """Between all clients of its process, by path and key."""

    _kept: ClassVar[dict[tuple[str, str], tuple[float, str]]] = {}

    def read(self, path: str, key: str) -> str:
        at, value = self._kept.get((path, key), (0.0, ""))
        if value and time.monotonic() < at + 1.0:
            return value
        value = super().read(path, key)
        self._kept[path, key] = time.monotonic(), value
        return value


class SharesItsToken(LazyClient):
    """One login for each address, for all roles."""

    _of_all: ClassVar[dict[str, Token]] = {}

    def _valid_token(self, deadline: float) -> Token:
        address = self._environ["VAULT_ADDR"]
        if address not in self._of_all:
            self._of_all[address] = super()._valid_token(deadline)
        self._token = self._of_all[address]
        return self._token


class ClosesAllClientsWithOne(LazyClient):
    _ended: ClassVar[set[str]] = set()

    def _fetch(self, path: str, deadline: float) -> Reply:
        if self._environ["VAULT_ADDR"] in self._ended:
            raise UnavailableError("the client is closed")
        return super()._fetch(path, deadline)

    def close(self) -> None:
        self._ended.add(self._environ["VAULT_ADDR"])
        super().close()


MUTANTS = by_name(
    Mutant(PausesAllReadsAfterAFailure, "ISO-01", "no reader of").called(
        "pauses-all-reads-for-too-long-after-one-failure", rest=7.0
    ),
    Mutant(SharesOneReadOfAllPathsWithAKey, "ISO-01", "no wrong value"),
    Mutant(FailsAllReadsIfOneFails, "ISO-01", "no reader of"),
    Mutant(StopsARefreshRoundAtTheFirstFailure, "ISO-01", "no wrong value"),
    Mutant(RefreshesAllSecretsInOneCall, "ISO-01", "for a slow one"),
    Mutant(SendsOneRequestAtATime, "ISO-01", "for a slow one"),
    Mutant(ClosesItsPoolAtATimeout, "ISO-01", "beside one of backend/celery"),
    Mutant(HasTwoConnections, "ISO-01", "for a slow one"),
    Mutant(SharesItsCache, "ISO-02", "no value crosses"),
    Mutant(SharesItsToken, "ISO-02", "each client reads what its own"),
    Mutant(ClosesAllClientsWithOne, "ISO-02", "the end of one client"),
)


TOLERATED = by_name(
    Tolerated(PausesAllReadsAfterAFailure, "ISO-01"),
    Tolerated(HasTwoConnections, "ISO-01").called("has-four-connections", most=4),
    Tolerated(SendsOneRequestAtATime, "ISO-01").called(
        "sends-another-request-after-a-moment", patience=0.3
    ),
)
