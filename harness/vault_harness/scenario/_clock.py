"""The wall clock of a client's process, set while it runs: libfaketime, by a file that it reads."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vault_harness.errors import ProgramMissing
from vault_harness.faults import Fault, Signature, process_tree
from vault_harness.files import write_private
from vault_harness.programs import find_faketime
from vault_harness.scenario.history import History
from vault_harness.scenario.verdict import NotClaimed

PROC = Path("/proc")

_GO = b"\xff Go buildinf:"
"""In every program of Go, which asks the kernel for the time and no library."""

_SERVED = "vault_harness.subjects"
"""In the command line of a Python client that the harness runs as a program."""


class ClientClock:
    """Sets the wall clock of the processes that are started with its `environ`.

    Their monotonic clock goes on as it is, as on a machine whose time is set.

    Args:
        directory: For its file.
        history: Where faults are noted.

    Raises:
        NotClaimed: There is no libfaketime here.
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
        """What a process needs to have its clock set."""
        others = os.environ.get("LD_PRELOAD")
        return {
            "LD_PRELOAD": f"{self._library}:{others}" if others else str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Its mend for waits by a faked monotonic clock ends those by a true one at once: the
            # threads of a virtual machine of Java spin then, and its requests take seconds.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }

    def look(self, pid: int) -> str:
        """That a client's processes take their time from the library, in words.

        Raises:
            NotClaimed: They do not, or not whole.
        """
        names = []
        for process in process_tree(pid):
            name = process.name()
            if not self._loaded(process.pid):
                continue
            if _is_of_go(process.pid):
                raise NotClaimed(f"{name} is a program of Go, whose clock cannot be set for it")
            if name.startswith("python") and _SERVED not in process.cmdline():
                raise NotClaimed(
                    "libfaketime breaks time.sleep of Python 3.11 and newer, so a program that "
                    f"Python runs cannot be asked; a client that is a Python object can: python -m "
                    f"{_SERVED} python:MODULE:FACTORY mends it"
                )
            names.append(name)
        if not names:
            raise NotClaimed("its process loads no libfaketime: is it linked statically?")
        return f"{', '.join(names)}: {self._library.name} is loaded"

    @contextmanager
    def set(self, by: int) -> Iterator[Fault]:
        """The clock set forward by so many seconds, or back, and right again afterwards."""
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
    except (OSError, ValueError):  # gone, or empty
        return False
