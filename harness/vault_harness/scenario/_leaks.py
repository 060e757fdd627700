"""Looking for secrets where they must not be."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil

from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario.history import Operation
from vault_harness.scenario.verdict import Finding

PROMISE = "no secret in a log or a message"


def leaks(
    secrets: Secrets, *, logs: Iterable[Path], pid: int | None, operations: Iterable[Operation]
) -> list[Finding]:
    """Where a subject let a secret out: its logs, its command lines, its messages.

    Args:
        secrets: What is looked for.
        logs: The subject's log files.
        pid: Of the subject's process, if it has one.
        operations: Their messages have been marked by the driver where they contain a secret.
    """
    findings = [
        Finding(PROMISE, f"its log contains {', '.join(found)}", harm=True)
        for log in logs
        if (found := secrets.found_in(log.read_text(errors="replace")))
    ]
    if pid is not None and (found := secrets.found_in(_command_lines(pid))):
        findings.append(Finding(PROMISE, f"a command line has {', '.join(found)}", harm=True))
    findings += [
        Finding(PROMISE, f"a failed {o.verb} said: {o.message[-120:]}", o.began, harm=True)
        for o in operations
        if "[contains " in o.message
    ]
    return findings[:3]


def _command_lines(pid: int) -> str:
    """Those of a process and its children, which everybody on the machine can read."""
    try:
        process = psutil.Process(pid)
        family = (process, *process.children(recursive=True))
        return "\n".join(line for member in family for line in member.cmdline())
    except psutil.Error:
        return ""  # it has ended
