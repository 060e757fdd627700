"""What a scenario asks: conditions that must have been met, oracles for the verdict, findings."""

from __future__ import annotations

from vault_harness.scenario import conditions
from vault_harness.scenario._running import Running
from vault_harness.scenario.conditions import Condition
from vault_harness.scenario.oracles import Oracle
from vault_harness.scenario.verdict import Finding


class Asking(Running):
    """A scenario under way that collects what its verdict will rest on."""

    # What must have happened

    def require(self, name: str, condition: Condition) -> None:
        """Name something that must have happened for the verdict to mean anything.

        It is looked at when it comes to the verdict. If it did not happen the scenario is
        ``not exercised``, unless the subject broke a promise that does not rest on it.

        Args:
            name: What that is, as a person would say it: ``a renewal seen``.
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
        """`require` the usual things: each is a least number, and 0 asks for nothing.

        Args:
            renewals: Renewals that Vault granted.
            logins: Logins that Vault accepted.
            refused_reads: Reads that Vault refused (400, 403).
            refused_readers: Different callers that had a read refused with 403.
            versions: Different values of one secret that callers were given.
            calls_each: Reads that each caller made.
            callers: How many callers there must be, for `calls_each`.
            since: When to begin to look; not for `versions`.
            until: When to end; not for `versions`.
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
        """Ask these oracles too when it comes to the verdict."""
        self._asked.extend(asked)

    def note(self, *found: Finding) -> None:
        """Add findings that a scenario made by itself."""
        self._findings.extend(found)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
