"""A program that a task waits for, and that ends in its own way when the task is to end."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import IO

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_child(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: int | None = None,
    stdout: IO[bytes] | None = None,
    stderr: int | None = None,
) -> int:
    """Run a program to its end, and give its exit code.

    What is to end the task (Ctrl-C, SIGTERM, a closed terminal) is handed on once to the program,
    which undoes what it did, and is waited for. It is in a group of its own, so that a terminal's
    Ctrl-C does not reach it a second time, while it tidies up. `subprocess.run` would kill it a
    quarter of a second after a Ctrl-C.

    Args:
        command: The program and its arguments.
        env: Its environment.
        stdin: As `subprocess.Popen` takes it; so are the next two.
        stdout: Where its output goes.
        stderr: Where its errors go.

    Raises:
        SystemExit: The task was to end: 128 and the signal's number.
    """
    with _handed_on() as hands:
        child = subprocess.Popen(
            list(command), env=dict(env), stdin=stdin, stdout=stdout, stderr=stderr, process_group=0
        )
        with child:
            hands.give_to(child)
            code = child.wait()
    if hands.got:
        raise SystemExit(128 + hands.got[0])
    return code


class _Hands:
    """Signals on their way to a program that may not be there yet."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self._child: subprocess.Popen[bytes] | None = None

    def give_to(self, child: subprocess.Popen[bytes]) -> None:
        """Hand on what came before, and from now on whatever comes."""
        early = list(self.got)
        self._child = child
        for number in early:
            self._pass(child, number)

    def take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- signal's shape
        """A handler of signals."""
        self.got.append(number)
        if self._child is not None:
            self._pass(self._child, number)

    @staticmethod
    def _pass(child: subprocess.Popen[bytes], number: int) -> None:
        # Nobody tidies up after SIGHUP, since few programs listen for it.
        child.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)


@contextlib.contextmanager
def _handed_on() -> Iterator[_Hands]:
    """Take the signals that end a task; those that somebody ignores stay ignored."""
    hands = _Hands()
    before = {
        number: signal.signal(number, hands.take)
        for number in _ENDING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield hands
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
