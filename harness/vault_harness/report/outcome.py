"""What a run came to as a whole: the exit code that a CI job sees."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from enum import IntEnum

from vault_harness.report._lines import Line


class Outcome(IntEnum):
    """Exit codes of a run of scenarios."""

    KEPT = 0
    """Every promise that was asked was kept, or is known not to be."""

    BROKEN = 1
    """A promise was broken, a secret came out, or what is known to fail does not."""

    NOT_EXERCISED = 2
    """Nothing was broken, but some scenario proved nothing, or none asked anything at all."""

    CRASHED = 3
    """The harness or a scenario broke down, or the run did not come to its end."""

    USAGE = 4
    """The command line, a setting or a file makes no sense; nothing was begun."""

    INTERRUPTED = 130
    """Ctrl-C: 128 and the number of SIGINT, as shells have it."""

    TERMINATED = 143
    """SIGTERM, which a CI job is ended with: likewise."""

    HUNG_UP = 129
    """SIGHUP, of a terminal or a runner that goes away: likewise."""


ENDED = frozenset({Outcome.INTERRUPTED, Outcome.TERMINATED, Outcome.HUNG_UP})
"""Of runs that somebody ended."""


def outcome(
    lines: Iterable[Line],
    *,
    complete: bool = True,
    interrupted: bool = False,
    by: int = signal.SIGINT,
    crashed: bool = False,
    allow_not_exercised: bool = False,
    leaks_known: bool = False,
    part: bool = False,
) -> Outcome:
    """What a run came to.

    A broken promise is told before anything but an interruption: whatever else went wrong, it is
    broken. A pass needs a run that came to its end.

    Args:
        lines: Of the scenarios that were run; what is known of them is on them.
        complete: Whether every scenario that was chosen has one.
        interrupted: Whether somebody ended the run.
        by: The signal by which that was done.
        crashed: Whether something broke down that has no line.
        allow_not_exercised: Whether a scenario that proves nothing lets the run succeed.
        leaks_known: Whether the row about leaks is known to fail, be it in this part of the run or
            in another one.
        part: Whether it is one part of a run, of which another one may have asked something.
    """
    lines = list(lines)
    words = {line.counts_as for line in lines}
    if interrupted:
        return Outcome(128 + by)
    if "broken" in words or leaks_count(lines, leaks_known=leaks_known):
        return Outcome.BROKEN
    if crashed or not complete or "error" in words:
        return Outcome.CRASHED
    unasked = words <= {"skipped"} and not part
    if ("not exercised" in words or unasked) and not allow_not_exercised:
        return Outcome.NOT_EXERCISED
    return Outcome.KEPT


def leaks_count(lines: Iterable[Line], *, leaks_known: bool = False) -> bool:
    """Whether secrets came out, and the row that is about them is not known to fail.

    Args:
        lines: Of the scenarios that were run.
        leaks_known: Whether that row is known to fail, be it among these or not.
    """
    lines = list(lines)
    known = leaks_known or any(line.about_leaks and line.known for line in lines)
    return not known and any(line.leaks for line in lines)
