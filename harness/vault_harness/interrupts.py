"""What becomes of an interrupt: it loses nothing that Vault tells only once, and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from vault_harness.errors import HarnessError

SAME_SECONDS = 2.0
"""In which a signal that comes again is taken for the same: ``timeout`` sends it to a process and
then to its group, a closing terminal SIGHUP and then, perhaps, SIGTERM; a person types Ctrl-C until
something happens."""


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP is to end this process: on its way out everything is tidied up.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class EndedHalfWay(Ended):
    """It came where something was begun that has to be finished.

    Args:
        number: Of the signal.
        left: What that is, and what finishes it; for a person.
    """

    def __init__(self, number: int, left: str) -> None:
        super().__init__(number)
        self.left = left


@contextlib.contextmanager
def telling_what_is_left(
    left: Callable[[], str], *, but: tuple[type[HarnessError], ...] = ()
) -> Iterator[None]:
    """Let an interrupt say what it leaves to be finished: who ends a task must not have to guess.

    So must nobody whose Vault was sealed in the midst, say: an error of the harness tells it in its
    remedy.

    Args:
        left: Says what that is and what finishes it; empty if there is nothing. Called only then.
        but: Errors that say themselves what goes on.

    Raises:
        EndedHalfWay: In place of the interrupt, if it leaves something.
        HarnessError: As the block raised it, with that.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if isinstance(interrupt, EndedHalfWay) or not (what := left()):
            raise
        number = interrupt.number if isinstance(interrupt, Ended) else signal.SIGINT
        raise EndedHalfWay(number, what) from None
    except HarnessError as error:
        if not isinstance(error, but) and (what := left()):
            error.remedy = f"{error.remedy}\n    {what}".lstrip()
        raise


@contextlib.contextmanager
def until_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end a block that has no other end, as is meant; SIGTERM and SIGHUP end the task.

    Raises:
        Ended: It was one of those, of which the exit code tells.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if isinstance(interrupt, Ended):
            raise


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does.

    By itself either ends a process where it stands. What that had made for a while would stay: a
    copy of a Vault with its keys, in the machine's folder for temporary files. So would it after a
    second Ctrl-C, which ended the tidying up. Whatever somebody ignores (``nohup``) or hears in
    another way is left as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals arrive in the main thread, which this is not
        return
    came: list[float] = []

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- signal's shape
        now = time.monotonic()
        if came and now - came[-1] < SAME_SECONDS and _is_tidying_up():
            return  # or what is being tidied up would be left half done
        came.append(now)
        raise KeyboardInterrupt if number == signal.SIGINT else Ended(number)

    by_itself = {
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGINT: signal.default_int_handler,
    }
    heard = {
        number: before for number, before in by_itself.items() if signal.getsignal(number) is before
    }
    for number in heard:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, before in heard.items():
            signal.signal(number, before)


def _is_tidying_up() -> bool:
    """Whether an interrupt is on its way out: one that came within a library of C may be lost."""
    on_its_way = sys.exception()
    while on_its_way is not None:
        if isinstance(on_its_way, KeyboardInterrupt):
            return True
        on_its_way = on_its_way.__context__
    return False


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Put Ctrl-C and SIGTERM off to the end of the block.

    For the moments between Vault handing out a key or a token and its being on disk, or revoked.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals arrive in the main thread, which this is not
        return
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- signal's shape
        received.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, remember) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in received:
            os.kill(os.getpid(), late)
