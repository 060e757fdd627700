"""Read the subject's log on the history's clock, and find secrets where they must not be."""

from __future__ import annotations

import os
import stat
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self

import psutil

from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import History
from vault_harness.recorder.secrets import Secrets

INTERVAL = 0.1
"""Seconds between two checks of the log files."""

_LAST_LOOK_SECONDS = 5.0


_States = dict[Path, tuple[int, int]]
"""Size of each log file in bytes, and its change time in nanoseconds."""


@dataclass(frozen=True)
class LogLine:
    """One line of a subject's log, which may contain secrets.

    `at` is when the line was first seen, on the history's clock, at most `INTERVAL` late.
    """

    at: float
    text: str


class LogWatch:
    """Notes in a thread when each log file grew, so that each line gets a time."""

    def __init__(self, files: Callable[[], list[Path]], now: Callable[[], float]) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log watch", daemon=True)
        self._files = files
        self._now = now
        self._grown: dict[Path, list[tuple[int, float]]] = {}
        self._lock = threading.Lock()
        self._read: tuple[_States, list[LogLine]] = ({}, [])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(timeout=_LAST_LOOK_SECONDS)

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            self.look()

    def look(self) -> None:
        with self._lock:
            for file in self._files():
                try:
                    size = file.stat().st_size
                except FileNotFoundError:
                    continue
                marks = self._grown.setdefault(file, [])
                if size > (marks[-1][0] if marks else 0):
                    marks.append((size, self._now()))

    def lines(self) -> list[LogLine]:
        self.look()
        with self._lock:
            grown = {file: _state(file) for file in self._grown}
            if grown != self._read[0]:
                self._read = grown, self._lines()
            return list(self._read[1])

    def _lines(self) -> list[LogLine]:
        found = []
        for file, marks in sorted(self._grown.items()):
            sizes = [size for size, _ in marks]
            position = 0
            for raw in file.read_bytes().splitlines(keepends=True):
                position += len(raw)
                mark = min(bisect_left(sizes, position), len(marks) - 1)
                text = raw.decode("utf-8", "replace").rstrip("\r\n")
                found.append(LogLine(marks[mark][1], text))
        return sorted(found, key=lambda line: line.at)


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


PROMISE = "no secret in a log or a message"


class CommandLines:
    """The command lines of a subject's processes, which every user of the machine can read.

    A secret may appear before the harness knows it, so they are kept unredacted.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def look(self, processes: Iterable[int]) -> None:
        """Include all their children."""
        for process in processes:
            self._seen.update(_command_lines(process))

    def __str__(self) -> str:
        return "\n".join(sorted(self._seen))


def leaks(
    secrets: Secrets,
    history: History,
    *,
    log: Iterable[LogLine],
    commands: str,
    carried: bool = False,
) -> list[Finding]:
    """Return at most three findings on secrets in a subject's log, command lines or messages.

    Args:
        carried: Whether a secret in an attribute of an error, which no log shows, is a finding too.
    """
    findings = _in_log(secrets, list(log))
    if found := secrets.found_in(commands):
        findings.append(Finding(PROMISE, f"a command line has {', '.join(found)}", harm=True))
    findings += [
        Finding(PROMISE, f"a failed {o.verb} said: {o.message[-160:]}", o.began, harm=True)
        for o in history.operations
        if "[contains " in o.message
    ]
    findings += [
        Finding(PROMISE, f"the error of a failed {o.verb} {o.message[-160:]}", o.began)
        for o in history.operations
        if carried and "[carries " in o.message
    ]
    return findings[:3]


MOST = 1_000_000
"""Maximum size in bytes of a file that is searched."""

DEEP = 4
"""Depth of the search: a client makes its own folders, as ``.cache/NAME/RUN/``."""

OLD = 2
"""Depth to which even unchanged folders are searched, as ``~/.cache/NAME``."""


def files_with_secrets(secrets: Secrets, folders: Iterable[Path], *, since: float) -> set[str]:
    """Return world-readable files changed after `since` that contain a secret, with its label.

    `since` is in seconds on the wall clock.
    """
    told = set()
    for file in {file for folder in folders for file in _new_for_all(folder, since, DEEP)}:
        with suppress(OSError):  # the file is gone
            if found := secrets.found_in(file.read_bytes().decode("utf-8", "replace")):
                told.add(f"{secrets.redact(str(file))} has {', '.join(found)}")
    return told


def _new_for_all(folder: Path, since: float, deep: int) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                new, mode = status.st_mtime >= since, status.st_mode
                # A new file deep in a folder does not change the folder's own time.
                entered = deep > DEEP - OLD or (new and deep > 0)
                if stat.S_ISREG(mode) and new and mode & stat.S_IROTH and status.st_size <= MOST:
                    yield Path(entry.path)
                elif stat.S_ISDIR(mode) and mode & stat.S_IXOTH and entered:
                    yield from _new_for_all(Path(entry.path), since, deep - 1)


def _in_log(secrets: Secrets, log: list[LogLine]) -> list[Finding]:
    # Most logs contain nothing, so the whole log is searched first.
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
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                yield "\n".join(member.cmdline())
