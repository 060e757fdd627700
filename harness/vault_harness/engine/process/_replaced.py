"""Whether a server that runs still has the data that is in its folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_DATABASES = "*.db"
"""A server with raft storage has them open from its start to its end, sealed or not."""


def data_was_replaced(pid: int, data: Path) -> bool:
    """Whether other files took the place of those that a server has open, such as an older copy's.

    It goes on with its own, which no name leads to any more: whatever it holds is lost when it
    ends, and at its next start it has what is in the folder now.

    Args:
        pid: The server.
        data: The folder of its data.

    Returns:
        False also where it has none of them open, where there is nothing in the folder, and where
        nobody may tell: only Linux shows which files a process has, and not of everybody's.
    """
    here = {each for file in data.rglob(_DATABASES) if (each := _identity(file)) is not None}
    if not here:
        return False
    found = False
    with contextlib.suppress(OSError):  # it has ended, or is not ours to look at
        for file in Path(f"/proc/{pid}/fd").iterdir():
            if _identity(file) in here:
                return False
            with contextlib.suppress(OSError):  # closed meanwhile
                found |= str(file.readlink()).removesuffix(" (deleted)").endswith(".db")
    return found


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells a file from every other, whatever leads to it; None if it is gone."""
    try:
        state = os.stat(file)  # noqa: PTH116 -- of the file that is open, which has no name perhaps
    except OSError:
        return None
    return state.st_dev, state.st_ino
