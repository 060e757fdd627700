"""How a task is typed here: remedies and next steps name a command that the reader can paste.

The same tasks are reached by ``./dev``, by ``vault-harness``, by ``python -m vault_harness`` and by
``invoke``; a message names the one that its reader used.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

RUNNER_VARIABLE = "HARNESS_RUNNER"
"""Set by ``./dev`` to itself, so that messages name it."""

PROGRAM = "vault-harness"
"""The console script of the installed package."""


def runner() -> str:
    """The command that runs a task here, ready to be pasted into a shell."""
    if given := os.environ.get(RUNNER_VARIABLE):
        # The path of dev may have blanks; anything else is a command already.
        return shlex.quote(given) if Path(given).exists() else given
    program = Path(sys.argv[0] if sys.argv else "")
    if program.name in {"invoke", "inv"} or program.parts[-2:] == ("invoke", "__main__.py"):
        return "invoke"
    if program.parts[-2:] == ("vault_harness", "__main__.py"):
        return "python -m vault_harness"
    if program.name == PROGRAM and shutil.which(PROGRAM) is None:
        return shlex.quote(str(program))  # installed where PATH does not lead
    return PROGRAM


def named(task: str, *words: object) -> str:
    """A task with its arguments, as it is typed here: blanks and quotes in them are quoted.

    Args:
        task: Full name of a task, ``rotate.secret-id``.
        words: Its arguments in order; paths and numbers are taken as they print.
    """
    return " ".join([runner(), task, *(shlex.quote(str(word)) for word in words)])
