"""How tasks talk to a person: text to stdout, what went wrong to stderr.

What is printed is printed as it is: commands in it were made by `vault_harness.commands.named`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from vault_harness.commands import named

_unsaid: list[OSError] = []
"""Why something was not printed: what a task does goes on, and its end tells of it."""


def say(text: str = "") -> None:
    """A line for a person, or for a program that reads stdout.

    Whoever had enough of it (``head``) ends nothing: a task that stopped there would leave half of
    its work undone, and its exit code would not tell how it went. Nor does a full disk, or a
    terminal that is gone: see `see_that_all_was_said`.
    """
    try:
        say_on(text)
    except BrokenPipeError:
        swallow_output()
    except OSError as error:
        _unsaid.append(error)
        swallow_output()


def see_that_all_was_said() -> None:
    """See that all that `say` was given was printed; for the end of a task that went well.

    Raises:
        HarnessError: It was not.
    """
    if not _unsaid:
        return
    from vault_harness.errors import HarnessError

    error = _unsaid[0]
    _unsaid.clear()
    raise HarnessError(
        f"what this says could not be printed: {error.strerror or error}",
        looked_at="standard output",
        remedy=f"make room there, or let it be printed elsewhere; it went on to its end, and "
        f"{named('status')} shows how things are",
    )


def say_on(text: str) -> None:
    """One line of many, or of many without end: whoever had enough of them ends the task.

    Raises:
        BrokenPipeError: Nobody reads any more.
    """
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A line about what went wrong; lost if nobody listens to stderr."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # a terminal that was closed
        _lead_nowhere(sys.stderr)


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


def plural(count: int, noun: str) -> str:
    """``1 secret``, ``2 secrets``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def confirmed(question: str) -> bool:
    """Whether a person says yes; Ctrl-D is a no.

    Raises:
        SettingsError: Nobody is there to ask.
    """
    from vault_harness.errors import SettingsError

    if sys.stdin is None or not sys.stdin.isatty():
        raise SettingsError(
            f"nobody is there to answer: {question}",
            looked_at="standard input",
            remedy="give --yes if you are sure",
        )
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        say()  # the cursor is behind the question still
        return False
    return answer.strip().lower() in {"y", "yes"}


@contextlib.contextmanager
def streams() -> Iterator[None]:
    """Make the standard streams good for whatever a task prints, until the block ends.

    A stream that was closed by the caller leads nowhere. Letters that the terminal's encoding
    lacks are escaped. Whoever read our output and had enough (``head``, ``less``) is not complained
    about.
    """
    nowhere: list[int] = []
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            # The lowest number that is free: the one that was closed, as long as we go in order.
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                nowhere.append(handle)
            else:
                os.set_inheritable(handle, True)  # by pytest, say, which this process becomes
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
    except SystemExit:  # its code is kept; what was said before it may be read by nobody any more
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            swallow_output()
        except OSError:
            pass  # a full disk: the interpreter tells of it
        raise
    finally:
        for handle in nowhere:
            os.close(handle)


def swallow_output() -> None:
    """Lead stdout nowhere: the interpreter flushes it at its end, and would complain."""
    _lead_nowhere(sys.stdout)


def _lead_nowhere(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
