"""Looking for secrets where they must not be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import psutil

from vault_harness.scenario._logs import LogLine
from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario.history import History
from vault_harness.scenario.verdict import Finding

PROMISE = "no secret in a log or a message"


class CommandLines:
    """The command lines of a subject's processes, which everybody on the machine can read.

    They go with their process, so they are noted while it lives. They are kept as they are: a
    secret may be in one before it is known for one.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def look(self, processes: Iterable[int]) -> None:
        """Note those of these processes and of all below them, for as many as there are still."""
        for process in processes:
            self._seen.update(_command_lines(process))

    def __str__(self) -> str:
        return "\n".join(sorted(self._seen))


def leaks(
    secrets: Secrets, history: History, *, log: Iterable[LogLine], commands: str
) -> list[Finding]:
    """Where a subject let a secret out: its logs, its command lines, its messages.

    Args:
        secrets: What is looked for.
        history: Messages in it have been marked by the driver where they contain a secret.
        log: What the subject logged.
        commands: The command lines of its processes (`CommandLines`); empty if it has none.

    Returns:
        At most three, each with the line without its secrets, and when it came as far as is known.
    """
    findings = _in_log(secrets, list(log))
    if found := secrets.found_in(commands):
        findings.append(Finding(PROMISE, f"a command line has {', '.join(found)}", harm=True))
    findings += [
        Finding(PROMISE, f"a failed {o.verb} said: {o.message[-160:]}", o.began, harm=True)
        for o in history.operations
        if "[contains " in o.message
    ]
    return findings[:3]


MOST = 1_000_000
"""Bytes of a file that is looked through: a token or a secret is kept in less."""

DEEP = 2
"""Folders below those that are looked into: a client makes one of its own, and one in that."""


def told_by_files(secrets: Secrets, folders: Iterable[Path], *, since: float) -> set[str]:
    """Which new files that all may read tell them a secret, in words.

    What is in a folder that others may not enter is told nobody.

    Args:
        secrets: What is looked for.
        folders: Where.
        since: From when on a file is new, seconds on the wall clock.
    """
    told = set()
    for file in {file for folder in folders for file in _new_for_all(folder, since, DEEP)}:
        with suppress(OSError):  # it is gone by now
            if found := secrets.found_in(file.read_bytes().decode("utf-8", "replace")):
                told.add(f"{secrets.redact(str(file))} has {', '.join(found)}")
    return told


def _new_for_all(folder: Path, since: float, deep: int) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if status.st_mtime < since:
                    continue
                if stat.S_ISREG(status.st_mode):
                    if status.st_mode & stat.S_IROTH and status.st_size <= MOST:
                        yield Path(entry.path)
                elif stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IXOTH and deep:
                    yield from _new_for_all(Path(entry.path), since, deep - 1)


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


def _command_lines(pid: int) -> Iterator[str]:
    """Those of a process and of all below it; one that ends meanwhile has none."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                yield "\n".join(member.cmdline())
