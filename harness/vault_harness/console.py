"""How tasks talk to a person: text to stdout, errors to stderr, an exit code, no traceback."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec, TypeVar

from vault_harness.commands import runner

P = ParamSpec("P")
R = TypeVar("R")

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""


def _named(text: str) -> str:
    return text if runner() == "invoke" else _INVOKE.sub(f"{runner()} ", text)


_INVOKE = re.compile(r"\binvoke (?=[a-z])")


def say(text: str = "") -> None:
    """A line for a person, or for a program that reads stdout."""
    sys.stdout.write(f"{_named(text)}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A line about what went wrong."""
    sys.stderr.write(f"{_named(text)}\n")
    sys.stderr.flush()


def table(rows: Iterable[Sequence[str]], *, indent: str = "  ") -> str:
    """Rows with aligned columns."""
    lines = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        (
            indent + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


_HELP = frozenset({"--help", "-h"})


def _is_word(value: object) -> bool:
    return isinstance(value, str)


def _show_help() -> None:
    """Show the help of a task that took ``--help`` for its argument, as invoke lets it.

    ``invoke TASK --help`` means help to everybody; for a task with a positional argument invoke
    passes it on as that argument.
    """
    at = next(index for index, word in enumerate(sys.argv) if word in _HELP)
    core, task = sys.argv[1 : at - 1], sys.argv[at - 1]
    command = [sys.executable, sys.argv[0], *core, "--help", task]
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def guarded(body: Callable[P, R]) -> Callable[P, R]:
    """Wrap a task's body: a `HarnessError` becomes its text and exit code, Ctrl-C becomes 130."""

    @functools.wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        from vault_harness.errors import HarnessError  # tasks are listed without importing anything

        if not _HELP.isdisjoint(value for value in (*args, *kwargs.values()) if _is_word(value)):
            _show_help()
        try:
            return body(*args, **kwargs)
        except HarnessError as error:
            complain(str(error))
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:
            complain("interrupted; nothing is half-written: invoke status says how far it came")
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            # Whoever read our output (head, less) has seen enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        except OSError as error:
            # A full disk, a folder of somebody else: for a person to mend, not to debug.
            complain(f"{error.strerror or error}: {error.filename or 'no file named'}")
            raise SystemExit(1) from None

    return run
