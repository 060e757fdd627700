"""Looking for secrets where they must not be."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import psutil

from vault_harness.scenario._logs import LogLine
from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario.history import History
from vault_harness.scenario.verdict import Finding

PROMISE = "no secret in a log or a message"


def leaks(
    secrets: Secrets, history: History, *, log: Iterable[LogLine], pid: int | None
) -> list[Finding]:
    """Where a subject let a secret out: its logs, its command lines, its messages.

    Args:
        secrets: What is looked for.
        history: Messages in it have been marked by the driver where they contain a secret.
        log: What the subject logged.
        pid: Of the subject's process, if it has one.

    Returns:
        At most three, each with the line without its secrets, and when it came as far as is known.
    """
    findings = _in_log(secrets, list(log))
    if pid is not None and (found := secrets.found_in(_command_lines(pid))):
        findings.append(Finding(PROMISE, f"a command line has {', '.join(found)}", harm=True))
    findings += [
        Finding(PROMISE, f"a failed {o.verb} said: {o.message[-160:]}", o.began, harm=True)
        for o in history.operations
        if "[contains " in o.message
    ]
    return findings[:3]


def _in_log(secrets: Secrets, log: list[LogLine]) -> list[Finding]:
    """At most two, of the lines that have one; or one, of a secret that goes over several lines."""
    # What is in a line is in the whole, which is looked through once, and mostly has nothing.
    everywhere = secrets.found_in("\n".join(line.text for line in log))
    if not everywhere:
        return []
    lines = (
        Finding(PROMISE, _said(found, secrets.redact(line.text.strip())), line.at, harm=True)
        for line in log
        if (found := secrets.found_in(line.text))
    )
    return list(islice(lines, 2)) or [
        Finding(PROMISE, _said(everywhere, "over several lines"), harm=True)
    ]


def _said(found: list[str], line: str) -> str:
    return f"its log has {', '.join(found)}: {line[:160]}"


def _command_lines(pid: int) -> str:
    """Those of a process and its children, which everybody on the machine can read."""
    try:
        process = psutil.Process(pid)
        family = (process, *process.children(recursive=True))
        return "\n".join(line for member in family for line in member.cmdline())
    except psutil.Error:
        return ""  # it has ended
