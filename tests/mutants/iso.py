"""Clients that break the promises of ISO: what is wrong with one secret holds up the others."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future

from tests.mutants import beside_reads, every_day, unasked
from tests.mutants.clients import Mutant, Tolerated
from tests.subjects.lazy_client import LazyClient, _secret
from tests.subjects.lazy_wire import ClientError, UnavailableError


class RestsAfterAnyFailure(LazyClient):
    """After any failed read it gives Vault a rest, whoever asks for what."""

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


class TakesOneFailureForAll(RestsAfterAnyFailure):
    """Rests for longer than its callers can wait."""

    rest = 7.0


class GivesUpOnAllWithOne(LazyClient):
    """Reads the first four that were ever asked for before it answers, and fails if one does."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._asked: dict[tuple[str, str], None] = {}

    def read(self, path: str, key: str) -> str:
        self._asked[path, key] = None
        wanted = [*list(self._asked)[:4], (path, key)]
        found = {one: super(GivesUpOnAllWithOne, self).read(*one) for one in wanted}
        return found[path, key]


class JoinsReadsByTheirKey(LazyClient):
    """Who asks while another asks for a key of that name is given that one's answer."""

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


class BreaksOffItsRound(LazyClient):
    """Keeps what was asked for fresh in rounds, and breaks one off where Vault fails at a secret.

    What comes after that in the round is never looked at again, and nothing marks it as old.
    """

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
                break  # all that come after it wait for this one
            except ClientError:
                continue


class LooksAtAllInACall(BreaksOffItsRound):
    """Makes each round in the call of whoever comes, and gives each secret the time of a call."""

    def _look_at_all(self) -> None:
        until = time.monotonic() + 0.9 * self._deadline
        for path, key in list(self._kept):
            with contextlib.suppress(ClientError):
                self._kept[path, key] = _secret(self._fetch(path, until), path)[key]


MUTANTS: dict[str, Mutant] = {
    "takes-one-failure-for-all": Mutant(TakesOneFailureForAll, "ISO-01", "no reader of"),
    "joins-reads-by-their-key": Mutant(JoinsReadsByTheirKey, "ISO-01", "no wrong value"),
    "gives-up-on-all-with-one": Mutant(GivesUpOnAllWithOne, "ISO-01", "no reader of"),
    "breaks-off-its-round": Mutant(BreaksOffItsRound, "ISO-01", "no wrong value"),
    "looks-at-all-in-a-call": Mutant(LooksAtAllInACall, "ISO-01", "for a slow one"),
    "asks-for-one-thing-at-a-time": Mutant(
        unasked.AsksForOneThingAtATime, "ISO-01", "for a slow one"
    ),
    "closes-its-pool-at-a-timeout": Mutant(
        beside_reads.ClosesItsPoolAtATimeout, "ISO-01", "beside one of backend/celery"
    ),
    "has-two-connections": Mutant(every_day.HasTwoConnections, "ISO-01", "for a slow one"),
}

TOLERATED: dict[str, Tolerated] = {
    "rests-after-any-failure": Tolerated(RestsAfterAnyFailure, "ISO-01"),
    "has-four-connections": Tolerated(every_day.HasFourConnections, "ISO-01"),
    "asks-for-one-thing-for-a-moment": Tolerated(unasked.AsksForOneThingForAMoment, "ISO-01"),
}
