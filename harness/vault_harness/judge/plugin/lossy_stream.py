"""Let output fail without ending the run: into ``| head``, or on a full disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, TextIO


class LossyStream:
    """A stream that drops what cannot be written.

    A run takes minutes and leaves a report. A closed pipe must neither end it nor change its exit
    code.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write and flush at once, or drop the text: a later flush by other code would raise."""
        self._try(lambda: self._stream.write(text))
        self.flush()
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                self._lose()

    def _lose(self) -> None:
        """Send the unwritten rest to the null device, or the interpreter would retry at exit."""
        descriptor = self._stream.fileno()
        before, nowhere = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, descriptor)
            self._stream.flush()
        finally:
            os.dup2(before, descriptor)  # the original may work again, and other code writes to it
            os.close(nowhere)
            os.close(before)
