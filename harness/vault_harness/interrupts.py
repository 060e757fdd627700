"""Keeps an interrupt from losing what Vault tells only once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


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
