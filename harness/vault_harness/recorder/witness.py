"""Watch when the machine stood still, and how many programs wanted its cores.

The witness is a separate process, so that a busy client or harness does not slow it down.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from vault_harness.recorder import beats
from vault_harness.recorder.observations import Stall

NOTED = 0.005
"""Lateness in seconds from which a stall is noted; an idle machine has 0.1 ms."""


@dataclass(frozen=True)
class Machine:
    """The witness's observations in a period.

    `wanted` is the average of programs that wanted to run, for each core; 0 if unknown.
    """

    stalls: list[Stall] = field(default_factory=list)
    wanted: float = 0.0


class Witness:
    """Watches the machine until the block ends; forked processes can ask it too."""

    def __init__(self) -> None:
        descriptor, name = tempfile.mkstemp(prefix="vault-witness-")
        os.close(descriptor)
        self._file = Path(name)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", beats.__file__, str(self._file), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C goes to the run, which ends the witness
        )
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._file.unlink(missing_ok=True)

    def seen(self, since: float, until: float, *, clock: float = 0.0) -> Machine:
        """Return the observations in ``[since, until]``; their stalls count from `clock`."""
        try:
            written = self._file.read_bytes()
        except OSError:  # such as an emptied temporary folder
            return Machine()
        whole = len(written) - len(written) % beats.ENTRY.size
        entries = sorted(beats.ENTRY.iter_unpack(written[:whole]))
        inside = [one for one in entries if one[0] >= since and one[0] - beats.LOOK <= until]
        stalls = [
            Stall(at - clock, length)
            for _, at, length, _ in inside
            if length > NOTED and at + length >= since and at <= until
        ]
        wanted = sum(one[3] for one in inside) / len(inside) if inside else 0.0
        return Machine(stalls, wanted / (os.cpu_count() or 1))
