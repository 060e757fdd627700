"""A client's goodbye over HTTP/2, after which it still waits for its answers."""

from __future__ import annotations

_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_HEAD = 9
_GOAWAY = 7
_LARGEST = _HEAD + (1 << 14)
"""Bytes of a frame, as long as nobody has asked for larger ones."""
_CODE = slice(_HEAD + 4, _HEAD + 8)
"""Where such a frame has its reason: after its own head and the number of a stream."""
_NO_ERROR = bytes(4)


class Goodbye:
    """Takes the goodbye without an error (GOAWAY) out of what a client sends.

    The requests under way go on after it (RFC 9113, 6.8), as they do at Vault; to h2 it is the end
    of the connection, on which nothing can be sent any more.

    Attributes:
        said: Whether it has come.
    """

    def __init__(self) -> None:
        self.said = False
        self._kept = b""
        self._passing = _PREFACE

    def without(self, data: bytes) -> bytes:
        """What h2 is to have of these bytes, and of those that were kept; heads of frames whole."""
        self._kept += data
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
        return True
