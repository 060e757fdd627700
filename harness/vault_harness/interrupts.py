"""Handle interrupts: lose nothing that Vault tells only once, and leave nothing running."""

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
"""Seconds within which a repeated signal counts as the same one.

``timeout`` signals a process and then its group. A closing terminal sends SIGHUP and then perhaps
SIGTERM. A person presses Ctrl-C several times.
"""


class Ended(KeyboardInterrupt):
    """SIGTERM or SIGHUP ends this process."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class EndedHalfWay(Ended):
    """A signal came while something was begun that must be finished; ``left`` says what and how."""

    def __init__(self, number: int, left: str) -> None:
        super().__init__(number)
        self.left = left


@contextlib.contextmanager
def telling_what_is_left(
    left: Callable[[], str], *, but: tuple[type[HarnessError], ...] = ()
) -> Iterator[None]:
    """Let an interrupt or an error report what it leaves unfinished.

    Args:
        left: Returns what is left and what finishes it, or "".
        but: Errors that already say how to go on.
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
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if isinstance(interrupt, Ended):
            raise


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block like Ctrl-C.

    By default either ends a process at once and leaves its temporary files, such as a copy of a
    Vault with its keys. A second Ctrl-C during the clean-up would do the same. Signals that are
    ignored (``nohup``) or handled elsewhere stay so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals arrive in the main thread only
        return
    came: list[float] = []

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- signal's shape
        now = time.monotonic()
        if came and now - came[-1] < SAME_SECONDS and _is_tidying_up():
            return  # otherwise the clean-up would stay half done
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
    """Return whether an interrupt is being handled; a C library may have swallowed another."""
    on_its_way = sys.exception()
    while on_its_way is not None:
        if isinstance(on_its_way, KeyboardInterrupt):
            return True
        on_its_way = on_its_way.__context__
    return False


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C, SIGTERM and SIGHUP until the end of the block.

    Use it from the moment Vault issues a key or token until it is on disk or revoked.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
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
