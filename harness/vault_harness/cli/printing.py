"""Output of tasks: text to stdout, problems to stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from vault_harness.errors import HarnessError, SettingsError, named

_unsaid: list[OSError] = []
"""Reported at the task's end."""


def say(text: str = "") -> None:
    """Print a line for a person or for a program that reads stdout.

    A closed pipe (``head``), a full disk or a lost terminal does not stop the task half-way.
    `see_that_all_was_said` reports the last two.
    """
    try:
        say_on(text)
    except BrokenPipeError:
        swallow_output()
    except OSError as error:
        _unsaid.append(error)
        swallow_output()


def say_json(value: object) -> None:
    say(json.dumps(value, indent=2, default=str))


def see_that_all_was_said() -> None:
    """Raise `HarnessError`, at a task's end, if `say` could not print a text."""
    if not _unsaid:
        return

    error = _unsaid[0]
    _unsaid.clear()
    raise HarnessError(
        f"the output could not be printed: {error.strerror or error}",
        looked_at="standard output",
        remedy=f"make room there, or print elsewhere; the task itself is done, and "
        f"{named('status')} shows the result",
    )


def say_on(text: str) -> None:
    """Print one of many lines; a closed pipe ends the task with `BrokenPipeError`."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Print to stderr; the line is lost if it is closed."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # closed terminal
        _lead_nowhere(sys.stderr)


def table(rows: Iterable[Sequence[str]], *, indent: str = "  ") -> str:
    lines = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        (
            indent + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def confirmed(question: str) -> bool:
    """Ask a person; Ctrl-D is a no. Raise `SettingsError` without a terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise SettingsError(
            f"nobody is there to answer: {question}",
            looked_at="standard input",
            remedy="give --yes if you are sure",
        )
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        say()  # the cursor is behind the question
        return False
    return answer.strip().lower() in {"y", "yes"}


@contextlib.contextmanager
def streams() -> Iterator[None]:
    """Prepare the standard streams for a task's output.

    A closed stream leads to the null device. Characters that the encoding lacks are escaped. A
    closed pipe (``head``, ``less``) causes no message.
    """
    nowhere: list[int] = []
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            # The lowest free number, which is the closed stream's, since we go in order.
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                nowhere.append(handle)
            else:
                os.set_inheritable(handle, True)  # for a later exec, such as pytest's
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        swallow_output()
        raise SystemExit(0) from None
    except SystemExit:  # with its code, even if nobody reads the output
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            swallow_output()
        except OSError:
            pass  # a full disk, which the interpreter reports
        raise
    finally:
        for handle in nowhere:
            os.close(handle)


def swallow_output() -> None:
    """Lead stdout to the null device, since the interpreter's last flush would fail."""
    _lead_nowhere(sys.stdout)


def _lead_nowhere(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
