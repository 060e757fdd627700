"""Clients and agents that break AGT."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resilient_vault_client._memory import Memory, Remembered
from tests.mutants.clients import (
    HasATenSecondDeadline,
    Mutant,
    Tolerated,
    by_name,
)
from tests.mutants.login_clients import LooksUpItsOldToken
from tests.mutants.reference_clients import Tweaked
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import DeniedError

# AGT-01


class NeverReadsAgainAfterTwo403s(LazyClient):
    """Takes a path as denied for ever."""

    _new = 0

    def read(self, path: str, key: str) -> str:
        if self._new > 1:
            raise DeniedError(f"the policy denies {path}")
        return super().read(path, key)

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        dead = super()._was_dead(where, token, deadline)
        self._new += dead
        return dead


class LogsInInALoopWhileReadsAreDenied(LazyClient):
    """Logs in without a pause within one call."""

    def read(self, path: str, key: str) -> str:
        for _ in range(9):
            try:
                return super().read(path, key)
            except DeniedError:
                self._token = None
        return super().read(path, key)


# AGT-02


AGENTS = Path(__file__).with_name("agents")


def agent(name: str) -> str:
    """Return a program in ``agents/`` as a ``--subject``."""
    return f"agent:{AGENTS / name}.toml"


@dataclass(frozen=True)
class AgentMutant(Mutant):
    """A broken program that renders files, configured in ``agents/``."""

    config: str = ""

    @property
    def subject(self) -> str:
        return agent(self.config)


def _no_object(_: Mapping[str, str]) -> Any:
    raise NotImplementedError("an agent is a program")


def _renders(config: str, reason: str, *, name: str) -> AgentMutant:
    return AgentMutant(
        _no_object, "AGT-02", reason, deviates_from=agent("whole"), config=config, name=name
    )


class _LastCome(Memory):
    def keep(self, entry: Remembered) -> None:
        with self._lock:
            self.entries[entry.path] = entry


class KeepsTheAnswerThatArrivesLast(Tweaked):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().memory.__class__ = _LastCome


class KeepsTheAnswerThatArrivesLastInItsCache(LazyClient):
    """Plain reads ignore that cache."""

    capabilities = LazyClient.capabilities | {"cached"}
    keeps = 1.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[tuple[str, str], tuple[float, str]] = {}

    def read_cached(self, path: str, key: str) -> str:
        asked = time.monotonic()
        at, value = self._kept.get((path, key), (-self.keeps, ""))
        if asked - at >= self.keeps:
            value = self.read(path, key)
            self._keep((path, key), asked, value)
        return value

    def _keep(self, one: tuple[str, str], asked: float, value: str) -> None:
        del asked
        self._kept[one] = time.monotonic(), value


class KeepsTheAnswerToItsLastRequest(KeepsTheAnswerThatArrivesLastInItsCache):
    """Drops an older request's answer if it has a newer one.

    A caller waits a moment for a request in flight: Vault may answer two simultaneous requests in
    any order.
    """

    waits = 0.25

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._asking = threading.Lock()

    def read_cached(self, path: str, key: str) -> str:
        held = self._asking.acquire(timeout=self.waits)
        try:
            return super().read_cached(path, key)
        finally:
            if held:
                self._asking.release()

    def _keep(self, one: tuple[str, str], asked: float, value: str) -> None:
        if asked >= self._kept.get(one, (0.0, ""))[0]:
            self._kept[one] = asked, value


MUTANTS = by_name(
    Mutant(NeverReadsAgainAfterTwo403s, "AGT-01", "a good read within"),
    Mutant(LogsInInALoopWhileReadsAreDenied, "AGT-01", "requests (login)"),
    Mutant(LooksUpItsOldToken, "AGT-01", "known to be dead").called(
        "looks-up-its-old-token-behind-a-cache"
    ),
    _renders("in-place", "no wrong value", name="renders-in-place"),
    _renders("no-value", "no wrong value", name="renders-no-value"),
    _renders("once", "the new value of", name="renders-once"),
    _renders("older", "followed by an older one", name="renders-an-older-version"),
    Mutant(KeepsTheAnswerThatArrivesLast, "AGT-02", "followed by an older one"),
)


TOLERATED = by_name(
    Tolerated(HasATenSecondDeadline, "AGT-01").called(
        "has-a-long-deadline-behind-a-cache", within=30.0
    ),
    Tolerated(KeepsTheAnswerToItsLastRequest, "AGT-02"),
)
