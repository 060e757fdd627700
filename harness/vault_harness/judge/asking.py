"""What a scenario asks: its conditions, its oracles and its own findings."""

from __future__ import annotations

from vault_harness.judge import conditions
from vault_harness.judge.conditions import Condition
from vault_harness.judge.oracles import Oracle
from vault_harness.judge.running import Running
from vault_harness.judge.verdict import Finding


class Asking(Running):
    """A running scenario that collects what its verdict rests on."""

    def require(self, name: str, condition: Condition) -> None:
        """Add a condition: what must have happened for the verdict to mean anything.

        If it was not met, the scenario is ``not exercised``, unless the subject broke a promise
        that does not depend on it.

        Args:
            name: In plain words: ``a renewal seen``.
            condition: Takes the history; returns a `Sighting`, the evidence as a text, or a bool.
        """
        self._conditions.append((name, condition))

    def must_have(
        self,
        *,
        renewals: int = 0,
        logins: int = 0,
        refused_reads: int = 0,
        refused_readers: int = 0,
        versions: int = 0,
        calls_each: int = 0,
        callers: int | None = None,
        since: float = 0.0,
        until: float | None = None,
    ) -> None:
        """`require` the usual conditions. Each number is a minimum, and 0 asks for nothing.

        Args:
            refused_reads: Reads that Vault refused (400, 403).
            refused_readers: Different callers that had a read refused with 403.
            versions: Different values of one secret; the whole history counts.
            calls_each: Reads by each caller.
            callers: Number of callers, for `calls_each`.
        """
        wanted = {
            "renewal": (renewals, conditions.renewals),
            "login": (logins, conditions.logins),
            "refused read": (refused_reads, conditions.refused),
            "refused reader": (refused_readers, conditions.readers_refused),
        }
        for what, (number, condition) in wanted.items():
            if number:
                self.require(_count(number, what), condition(number, since=since, until=until))
        if versions:
            self.require(_count(versions, "version"), conditions.versions_served(versions))
        if calls_each:
            self.require(
                f"{_count(calls_each, 'call')} by each caller",
                conditions.calls_by_each_caller(
                    calls_each, callers=callers, since=since, until=until
                ),
            )

    def judge_later(self, *asked: Oracle) -> None:
        """Ask these oracles too at the end of the scenario."""
        self._asked.extend(asked)

    def note(self, *found: Finding) -> None:
        """Add findings of the scenario itself."""
        self._findings.extend(found)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
