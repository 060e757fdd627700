"""Name a task as the reader types it, so that remedies can be pasted into a shell.

``./dev``, ``vault-harness``, ``python -m vault_harness`` and ``invoke`` run the same tasks; a
message names the one in use.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

RUNNER_VARIABLE = "HARNESS_RUNNER"
"""``./dev`` sets it to its own path, for messages."""

PROGRAM = "vault-harness"
"""The console script of the installed package."""


def runner() -> str:
    """Return the command that runs a task here, quoted for a shell."""
    if given := os.environ.get(RUNNER_VARIABLE):
        # The path of dev may have blanks; any other value is a command already.
        return shlex.quote(given) if Path(given).exists() else given
    program = Path(sys.argv[0] if sys.argv else "")
    if program.name in {"invoke", "inv"} or program.parts[-2:] == ("invoke", "__main__.py"):
        return "invoke"
    if program.parts[-2:] == ("vault_harness", "__main__.py"):
        return "python -m vault_harness"
    if program.name == PROGRAM and shutil.which(PROGRAM) is None:
        return shlex.quote(str(program))  # installed outside PATH
    return PROGRAM


def named(task: str, *words: object) -> str:
    """Return the command for a task, ``rotate.secret-id``, with its arguments quoted."""
    return " ".join([runner(), task, *(shlex.quote(str(word)) for word in words)])
