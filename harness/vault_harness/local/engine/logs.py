"""Read and follow log files."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from vault_harness import files

_FOLLOW_POLL_SECONDS = 0.1


def lines(path: Path, *, tail: int | None = None) -> Iterator[str]:
    """Yield the lines of a log, or its last `tail` lines; none if it is missing."""
    if tail is not None:
        yield from files.tail(path, tail).splitlines()
        return
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:  # line by line: the log may be larger than memory
            yield line.decode("utf-8", "replace").rstrip("\r\n")


def follow(path: Path) -> Iterator[str]:
    """Yield new lines for ever. Waits for a log that does not exist yet."""
    while not path.exists():
        time.sleep(_FOLLOW_POLL_SECONDS)  # ends by Ctrl-C
    with path.open(errors="replace") as file:
        file.seek(0, 2)
        while True:
            line = file.readline()
            if line:
                yield line.rstrip("\n")
            else:
                time.sleep(_FOLLOW_POLL_SECONDS)  # ends by Ctrl-C
