"""Goodbyes: a client's over HTTP/2, after which it still waits for its answers, and our own."""

from __future__ import annotations

import struct

_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_HEAD = 9
_GOAWAY = 7
_TELLING = frozenset({2, 3, 4, _GOAWAY, 8})
"""Frames that wait for no answer: of priority, a stream's end, settings, a goodbye, a window."""
_LARGEST = _HEAD + (1 << 14)
"""Bytes of a frame, as long as nobody has asked for larger ones."""
_CODE = slice(_HEAD + 4, _HEAD + 8)
"""Where such a frame has its reason: after its own head and the number of a stream."""
_NO_ERROR = bytes(4)

HEARD_OUT_SECONDS = 5.0
"""How long a connection stays that was said to end, if its client does not end it: nginx hears
out what still comes for as long (``lingering_timeout``).
"""

ON_ITS_WAY_SECONDS = 0.3
"""How long requests are heard that a client may have sent before it had heard our goodbye."""

ALL = (1 << 31) - 1
"""In our first goodbye, for the last stream that is heard: nobody knows yet which that will be."""


def closing(answer: bytes) -> bytes:
    """An answer of HTTP/1.1 that says that its connection ends."""
    line, ending, rest = answer.partition(b"\r\n")
    return line + ending + b"Connection: close\r\n" + rest


def goaway(last: int) -> bytes:
    """A goodbye over HTTP/2, without an error.

    h2 would send one only when nothing follows it, and answers to what is under way do.

    Args:
        last: The last stream that is heard.
    """
    return struct.pack(">I", 8)[1:] + bytes([_GOAWAY, 0]) + struct.pack(">II", 0, last) + _NO_ERROR


class Goodbye:
    """Takes the goodbye without an error (GOAWAY) out of what a client sends.

    The requests under way go on after it (RFC 9113, 6.8), as they do at Vault; to h2 it is the end
    of the connection, on which nothing can be sent any more.

    Attributes:
        said: Whether it has come.
        asks: Whether there is something in what passed last for which a client waits.
    """

    def __init__(self) -> None:
        self.said = False
        self.asks = False
        self._asking = True
        self._kept = b""
        self._passing = _PREFACE

    def without(self, data: bytes) -> bytes:
        """What h2 is to have of these bytes, and of those that were kept; heads of frames whole."""
        self._kept += data
        self.asks = bool(self._passing) and self._asking
        passed = b""
        while self._kept:
            if not self._passing and not self._looked_at():
                break
            part, self._kept = self._kept[: self._passing], self._kept[self._passing :]
            self._passing -= len(part)
            passed += part
        return passed

    def _looked_at(self) -> bool:
        """Say how much of the next frame passes; whether enough of it is there for that."""
        if len(self._kept) < _HEAD:
            return False
        length = _HEAD + int.from_bytes(self._kept[:3])
        if self._kept[3] == _GOAWAY and length <= _LARGEST:
            if len(self._kept) < length:
                return False
            if self._kept[:length][_CODE] == _NO_ERROR:
                self.said = True
                self._kept = self._kept[length:]
                return True
        self._passing = length
        self._asking = self._kept[3] not in _TELLING
        self.asks = self.asks or self._asking
        return True
