"""Looking for secrets where they must not be."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil

from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario.history import History
from vault_harness.scenario.verdict import Finding

PROMISE = "no secret in a log or a message"


def leaks(
    secrets: Secrets, history: History, *, logs: Iterable[Path], pid: int | None
) -> list[Finding]:
    """Where a subject let a secret out: its logs, its command lines, its messages.

    Args:
        secrets: What is looked for.
        history: Messages in it have been marked by the driver where they contain a secret.
        logs: The subject's log files.
        pid: Of the subject's process, if it has one.

    Returns:
        At most three, each with the line without its secrets, and when it came as far as is known.
    """
    findings = [
        Finding(
            PROMISE,
            f"its log has {', '.join(found)}: {secrets.redact(line.strip())[:160]}",
            harm=True,
        )
        for log in logs
        for line in log.read_text(errors="replace").splitlines()
        if (found := secrets.found_in(line))
    ][:2]
    if pid is not None and (found := secrets.found_in(_command_lines(pid))):
        findings.append(Finding(PROMISE, f"a command line has {', '.join(found)}", harm=True))
    findings += [
        Finding(PROMISE, f"a failed {o.verb} said: {o.message[-160:]}", o.began, harm=True)
        for o in history.operations
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
