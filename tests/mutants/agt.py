"""Clients and agents that break the promises of AGT: behind a cache, and with rendered files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants import always, unasked
from tests.mutants.clients import REFERENCE, Mutant, TakesALotOfTime, Tolerated
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import DeniedError

AGENTS = Path(__file__).with_name("agents")


def agent(name: str) -> str:
    """A program in ``agents/`` as ``--subject`` takes it."""
    return f"agent:{AGENTS / name}.toml"


def _no_object(_: Mapping[str, str]) -> Any:
    raise NotImplementedError("an agent is a program")


@dataclass(frozen=True)
class AgentMutant(Mutant):
    """A program that renders files and is broken on purpose.

    Attributes:
        config: Name of its configuration in ``agents/``.
    """

    config: str = ""

    @property
    def subject(self) -> str:
        """What to give as ``--subject``."""
        return agent(self.config)


def _renders(config: str, reason: str) -> AgentMutant:
    return AgentMutant(_no_object, "AGT-02", reason, agent("whole"), config=config)


class TakesASecondRefusalForGood(LazyClient):
    """What is refused with a new token, too, it takes for denied as long as it lives."""

    _new = 0

    def read(self, path: str, key: str) -> str:
        if self._new > 1:
            raise DeniedError(f"the policy denies {path}")
        return super().read(path, key)

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        dead = super()._was_dead(where, token, deadline)
        self._new += dead
        return dead


class LogsInUntilItIsLetIn(LazyClient):
    """Logs in again and again within one call, without a pause, as long as reads are refused."""

    def read(self, path: str, key: str) -> str:
        for _ in range(9):
            try:
                return super().read(path, key)
            except DeniedError:
                self._token = None
        return super().read(path, key)


MUTANTS: dict[str, Mutant] = {
    "takes-a-second-refusal-for-good": Mutant(
        TakesASecondRefusalForGood, "AGT-01", "a good read within"
    ),
    "logs-in-until-it-is-let-in": Mutant(LogsInUntilItIsLetIn, "AGT-01", "requests (login)"),
    "looks-after-its-old-token-behind-a-cache": Mutant(
        always.LooksAfterItsOldToken, "AGT-01", "known to be dead"
    ),
    "renews-its-old-token-behind-a-cache": Mutant(
        always.RenewsItsOldToken, "AGT-01", "known to be dead"
    ),
    "renders-in-place": _renders("in-place", "no wrong value"),
    "renders-no-value": _renders("no-value", "no wrong value"),
    "renders-once": _renders("once", "the new value of"),
    "renders-an-older-version": _renders("older", "followed by an older one"),
    "lets-an-older-answer-win": Mutant(
        unasked.LetsAnOlderAnswerWin, "AGT-02", "followed by an older one", REFERENCE
    ),
    "keeps-what-comes-last": Mutant(
        unasked.KeepsWhatComesLast, "AGT-02", "followed by an older one"
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "takes-a-lot-of-time-behind-a-cache": Tolerated(TakesALotOfTime, "AGT-01"),
    "keeps-what-it-asked-for-last": Tolerated(unasked.KeepsWhatItAskedForLast, "AGT-02"),
}
