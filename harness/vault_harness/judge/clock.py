"""Set the wall clock of a running client, through libfaketime and a file that it reads."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vault_harness.errors import ProgramMissing
from vault_harness.files import write_private
from vault_harness.judge.faults import process_tree
from vault_harness.judge.verdict import NotClaimed
from vault_harness.local.programs import find_faketime
from vault_harness.recorder.fault import Fault, Signature
from vault_harness.recorder.history import History

PROC = Path("/proc")

_GO = b"\xff Go buildinf:"
"""Bytes in every Go program. Go asks the kernel for the time, so libfaketime has no effect."""

_SERVED = "vault_harness.judge.subjects"
"""Part of the command line of a Python client that the harness runs as a program."""


class ClientClock:
    """The wall clock of all processes that are started with its `environ`.

    Their monotonic clock is unchanged, as on a real machine whose time is set.
    """

    def __init__(self, directory: Path, history: History) -> None:
        self._history = history
        self._file = directory / "clock"
        try:
            self._library = find_faketime()
        except ProgramMissing as missing:
            raise NotClaimed(f"{missing.cause} (looked at: {missing.looked_at})") from None
        self._write(0)

    def environ(self) -> dict[str, str]:
        """Return the environment variables that let a process's clock be set."""
        others = os.environ.get("LD_PRELOAD")
        return {
            "LD_PRELOAD": f"{self._library}:{others}" if others else str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # This fix is for waits on a faked monotonic clock. It makes waits on a true one return
            # at once: threads of a Java VM then spin, and its requests take seconds.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }

    def look(self, pid: int) -> str:
        """Return evidence that libfaketime controls all of a client's processes."""
        names = []
        for process in process_tree(pid):
            name = process.name()
            if not self._loaded(process.pid):
                continue
            if _is_of_go(process.pid):
                raise NotClaimed(f"{name} is a program of Go, whose clock cannot be set for it")
            if name.startswith("python") and _SERVED not in process.cmdline():
                raise NotClaimed(
                    "libfaketime breaks time.sleep of Python 3.11 and newer, so a Python program "
                    "cannot be asked. A client that is a Python object can be asked: "
                    f"run python -m {_SERVED} python:MODULE:FACTORY"
                )
            names.append(name)
        if not names:
            raise NotClaimed("its process loads no libfaketime: is it linked statically?")
        return f"{', '.join(names)}: {self._library.name} is loaded"

    @contextmanager
    def set(self, by: int) -> Iterator[Fault]:
        """Shift the clock by `by` seconds, and reset it afterwards."""
        fault = self._history.begin_fault(
            f"client's clock set by {by:+d} s", Signature(), {"by": by}, optional=True
        )
        self._write(by)
        try:
            yield fault
        finally:
            self._write(0)
            self._history.end_fault(fault)

    def _write(self, by: int) -> None:
        write_private(self._file, f"{by:+d}\n")

    def _loaded(self, pid: int) -> bool:
        try:
            return self._library.name in (PROC / str(pid) / "maps").read_text(errors="replace")
        except OSError:
            return False


def _is_of_go(pid: int) -> bool:
    try:
        with (
            (PROC / str(pid) / "exe").open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return content.find(_GO) >= 0
    except (OSError, ValueError):  # the process is gone
        return False
