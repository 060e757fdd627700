"""Warn if the next ``git add .`` would add a file with secrets."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from vault_harness.cli.printing import say

_SECONDS = 10.0
_OF_A_HOOK = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE"})
"""A hook's, for a repository that may be another one."""


def warn_of_git(path: Path, what: str, *, pattern: str = "") -> None:
    """Warn if git would take a file with secrets.

    ``what`` follows "git would take". ``pattern`` is for ``.gitignore``, by default the file's
    name.
    """
    if _would_take(path):
        say(f"git would take {what} in: write {pattern or path.name} into .gitignore first")


def _would_take(path: Path) -> bool:
    """Return whether a file is in a repository and not ignored."""
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
    return answer.returncode == 1  # 0: ignored, 128: no repository
