"""Whether a file that has secrets would come into a repository with the next ``git add .``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from vault_harness.cli._console import say

_SECONDS = 10.0
_OF_A_HOOK = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE"})
"""What a hook has of the repository that somebody works in, which may be another one."""


def warn_of_git(path: Path, what: str, *, pattern: str = "") -> None:
    """Say that git would take a file in, if it would.

    Args:
        path: It has secrets, and lies where its owner wants it.
        what: It is, to follow "git would take".
        pattern: For ``.gitignore``; its name by default.
    """
    if _would_take(path):
        say(f"git would take {what} in: write {pattern or path.name} into .gitignore first")


def _would_take(path: Path) -> bool:
    """Whether it is in a repository, and git is not told to leave it out; False without git."""
    place, program = path.absolute().parent, shutil.which("git")
    if program is None or not any((each / ".git").exists() for each in (place, *place.parents)):
        return False
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    try:
        answer = subprocess.run(
            [program, "check-ignore", "--quiet", "--", path.name],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 1  # 0 is one that is ignored, 128 no repository
