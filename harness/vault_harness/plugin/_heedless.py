"""Output that nobody may read any more, and that ends no run: of ``| head``, on a full disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any, TextIO


class Heedless:
    """A stream to which a run is told, whether or not that can be written.

    A run takes minutes, and leaves a report: whoever had enough of what is printed must not end it
    in its midst, nor with a code that says something of the client.

    Args:
        stream: Where it is written.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's own."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write it, or lose it: at once, as others flush this stream, too, whom that would end."""
        self._try(lambda: self._stream.write(text))
        self.flush()
        return len(text)

    def flush(self) -> None:
        """Nothing is left to be written but what was written past this."""
        self._try(self._stream.flush)

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                self._lose()

    def _lose(self) -> None:
        """Lead what could not be written nowhere: the interpreter would try again at its end."""
        descriptor = self._stream.fileno()
        before, nowhere = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, descriptor)
            self._stream.flush()
        finally:
            os.dup2(before, descriptor)  # there may be room again, and others write there, too
            os.close(nowhere)
            os.close(before)
