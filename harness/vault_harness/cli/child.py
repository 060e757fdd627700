"""Run a program for a task, and pass signals on."""

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
    """Run a program to its end, and return its exit code.

    A signal that ends the task (Ctrl-C, SIGTERM, a closed terminal) is passed once to the program,
    which cleans up first; then `SystemExit` has 128 plus its number. In a process group of its own,
    the program does not get a terminal's Ctrl-C a second time. `subprocess.run` would kill it a
    quarter of a second after a Ctrl-C.
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
    """Passes signals to a program that may not have started yet."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self._child: subprocess.Popen[bytes] | None = None

    def give_to(self, child: subprocess.Popen[bytes]) -> None:
        early = list(self.got)
        self._child = child
        for number in early:
            self._pass(child, number)

    def take(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- signal's shape
        self.got.append(number)
        if self._child is not None:
            self._pass(self._child, number)

    @staticmethod
    def _pass(child: subprocess.Popen[bytes], number: int) -> None:
        # Few programs clean up after SIGHUP.
        child.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)


@contextlib.contextmanager
def _handed_on() -> Iterator[_Hands]:
    """Take the signals that end a task, except ignored ones."""
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
