"""Following a log that is a file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

_FOLLOW_POLL_SECONDS = 0.1


def follow(path: Path) -> Iterator[str]:
    """New lines as they are written, for ever; a log that is not there yet is awaited."""
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
