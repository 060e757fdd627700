"""Decide on the result of a run as a whole: the exit code that a CI job sees."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from vault_harness.judge.report.lines import Line


class Outcome(IntEnum):
    """Exit codes of a run of scenarios."""

    KEPT = 0
    """Every checked promise was kept, or is known to be broken."""

    BROKEN = 1
    """A promise was broken, a secret leaked, or a known failure passes."""

    NOT_EXERCISED = 2
    """Nothing was broken, but a scenario proved nothing, or all were skipped."""

    CRASHED = 3
    """The harness or a scenario failed with an error, or the run did not end."""

    USAGE = 4
    """The command line, a setting or a file is wrong. Nothing was started."""

    INTERRUPTED = 130
    """Ctrl-C: 128 plus the number of SIGINT, as in a shell."""

    TERMINATED = 143
    """SIGTERM, with which CI ends a job."""

    HUNG_UP = 129
    """SIGHUP, from a terminal or runner that closes."""


FEW = 3
"""Scenarios that a reason names. The rest is counted."""

ENDED = frozenset({Outcome.INTERRUPTED, Outcome.TERMINATED, Outcome.HUNG_UP})


def interrupted(by: int) -> Outcome:
    return Outcome(128 + by)


def outcome(
    lines: Iterable[Line],
    *,
    complete: bool = True,
    allow_not_exercised: bool = False,
    leaks_known: bool = False,
    part: bool = False,
) -> Outcome:
    """Return the outcome of a run. A broken promise takes precedence.

    Args:
        leaks_known: Whether the scenario about leaks, run or not, is known to fail.
        part: Whether this is one part of a run, which may have no scenario to ask.
    """
    lines = list(lines)
    words = {line.counts_as for line in lines}
    if "broken" in words or leaks_count(lines, leaks_known=leaks_known):
        return Outcome.BROKEN
    if not complete or "error" in words:
        return Outcome.CRASHED
    unasked = words <= {"skipped"} and not part
    if ("not exercised" in words or unasked) and not allow_not_exercised:
        return Outcome.NOT_EXERCISED
    return Outcome.KEPT


def leaks_count(lines: Iterable[Line], *, leaks_known: bool = False) -> bool:
    """Return whether secrets leaked and the scenario about leaks is not known to fail."""
    lines = list(lines)
    known = leaks_known or any(line.about_leaks and line.known for line in lines)
    return not known and any(line.leaks for line in lines)


def reason(
    code: int, lines: Iterable[Line], *, complete: bool = True, leaks_known: bool = False
) -> str:
    lines = list(lines)
    if code == Outcome.KEPT:
        return _why_kept(lines)
    if code == Outcome.BROKEN:
        return _why_broken(lines, leaks_known=leaks_known)
    unproved = sum(line.counts_as == "not exercised" for line in lines)
    if code == Outcome.NOT_EXERCISED and unproved:
        return f"nothing is broken, but {_scenarios(unproved)} proved nothing"
    if code == Outcome.NOT_EXERCISED:
        return "no scenario asked anything: all were skipped"
    if code in ENDED:
        return "the run was interrupted"
    errors = sorted(line.id for line in lines if line.counts_as == "error")
    if errors:
        return f"the harness or the scenario broke down in {_named(errors)}"
    return "the run broke down" if complete else "the run did not come to its end"


def _why_kept(lines: list[Line]) -> str:
    known = sorted(line.id for line in lines if line.is_excused)
    should = sorted(line.id for line in lines if line.forgiven)
    text = "every promise that was asked was kept"
    text += f", or is known not to be ({_named(known)})" if known else ""
    text += f"; a broken SHOULD counts only with --strict ({_named(should)})" if should else ""
    return text


def _why_broken(lines: list[Line], *, leaks_known: bool) -> str:
    why = []
    broken = [line for line in lines if line.counts_as == "broken"]
    leaked = leaks_count(lines, leaks_known=leaks_known)
    missed = [line for line in broken if not (line.is_news or line.did_new_harm)]
    if missed := [line for line in missed if not (leaked and line.about_leaks)]:
        known = "is" if len(missed) == 1 else "are"
        why.append(f"{_scenarios(len(missed))} failed and {known} not known to fail")
    if harm := sorted(line.id for line in broken if line.did_new_harm):
        why.append(f"{_named(harm)} is known to fail, but not to do harm")
    if news := sorted(line.id for line in broken if line.is_news):
        why.append(f"{_named(news)} is known to fail, and passes")
    if leaked:
        leaking = sum(bool(line.leaks) for line in lines)
        rows = "".join(
            f", and {line.id} is not known to fail" for line in lines if line.about_leaks
        )
        why.append(f"a secret came out in {_scenarios(leaking)}{rows}")
    return "; ".join(why) or "a promise was broken"


def _scenarios(number: int) -> str:
    return f"{number} scenario{'s' * (number != 1)}"


def _named(ids: list[str]) -> str:
    few = ids[:FEW]
    return ", ".join(few) + (f" and {len(ids) - FEW} more" if len(ids) > FEW else "")
