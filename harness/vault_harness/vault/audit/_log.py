"""The file of an audit device: read, read from its end, and followed through rotations."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from vault_harness.commands import named
from vault_harness.errors import HarnessError
from vault_harness.vault.audit._entry import AuditEntry, Filter, entries, parse_line

_BLOCK = 64 * 1024
_LOOK = 4 * 1024 * 1024


def read_lines(path: Path) -> Iterator[str]:
    """Every line that is there now.

    Raises:
        HarnessError: The log cannot be read here.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from file
    except OSError as error:
        raise unreadable(path, error) from error


def last_entries(
    path: Path, count: int, wanted: Filter | None = None, *, roles: Mapping[str, str] | None = None
) -> list[AuditEntry]:
    """The last ``count`` entries that pass the filter, in the log's order.

    The log is read from its end, as far as it takes: that of a busy Vault is large.

    Raises:
        HarnessError: The log cannot be read here.
    """
    try:
        with path.open("rb") as file:
            return _last_before(file, file.seek(0, os.SEEK_END), count, wanted, roles)
    except OSError as error:
        raise unreadable(path, error) from error


def follow_entries(
    path: Path,
    wanted: Filter | None = None,
    *,
    last: int = 0,
    roles: Mapping[str, str] | None = None,
    stop: Callable[[], bool] = lambda: False,
    interval: float = 0.2,
) -> Iterator[AuditEntry]:
    """The last entries that pass the filter, then those that are written, for ever.

    Survives a rotation (rename or truncation) of the log.

    Args:
        path: The log.
        wanted: Which entries.
        last: How many of those that are already there come first.
        roles: As for `parse_line`.
        stop: Asked whenever nothing new is there; True ends it.
        interval: Seconds between two looks.

    Raises:
        HarnessError: The log cannot be read here.
    """
    with contextlib.closing(Tail(path)) as tail:
        tail.skip()
        yield from tail.before(last, wanted, roles)
        yield from entries(_follow_lines(tail, stop, interval), wanted, roles=roles)


class Tail:
    """What is written to a log, over rotations.

    The file is kept open until another one has taken its name and has been written to: whoever
    renames a log goes on writing to it until it opens the new one, and some make the new one first.
    To be closed.

    Args:
        path: The log; it may not be there yet.

    Attributes:
        more: Whether the last look left something for the next one.

    Raises:
        HarnessError: The log cannot be read here.
    """

    def __init__(self, path: Path) -> None:
        self.more = False
        self._path = path
        self._file: BinaryIO | None = None
        self._position = 0
        self._pending = b""
        self._open()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def skip(self) -> int:
        """Pass over the whole lines that are there; where they end."""
        if self._file is not None:
            self._position = end_of_lines(self._file)
        return self._position

    def before(
        self, count: int, wanted: Filter | None, roles: Mapping[str, str] | None
    ) -> list[AuditEntry]:
        """The last entries that pass the filter of what was passed over."""
        if self._file is None:
            return []
        return _last_before(self._file, self._position, count, wanted, roles)

    def lines(self) -> list[str]:
        """Whole lines that are new, some MiB of them at most.

        Raises:
            HarnessError: The log cannot be read here.
        """
        try:
            # In this order: all that the old file gets is in it before the new one has anything.
            followed = self._is_followed()
            data = self._read()
            if followed and not data:
                self._open()
                data = self._read()
        except OSError as error:
            raise unreadable(self._path, error) from error
        self.more = bool(data)
        *whole, self._pending = (self._pending + data).split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def _is_followed(self) -> bool:
        """Whether another file has the name now, and something in it."""
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False  # between a rotation's rename and the new file, or its node is gone
        return found.st_size > 0 and not (
            self._file is not None and os.path.samestat(found, os.fstat(self._file.fileno()))
        )

    def _open(self) -> None:
        """Take the file that has the name, if there is one, from its beginning."""
        try:
            found = self._path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise unreadable(self._path, error) from error
        self.close()
        self._file, self._position, self._pending = found, 0, b""

    def _read(self) -> bytes:
        if self._file is None:
            return b""
        if os.fstat(self._file.fileno()).st_size < self._position:  # it was truncated
            self._position, self._pending = 0, b""
        self._file.seek(self._position)
        data = self._file.read(_LOOK)
        self._position += len(data)
        return data


def _follow_lines(tail: Tail, stop: Callable[[], bool], interval: float) -> Iterator[str]:
    while True:
        yield from tail.lines()
        if not tail.more:
            if stop():
                return
            time.sleep(interval)


def _last_before(
    file: BinaryIO,
    end: int,
    count: int,
    wanted: Filter | None,
    roles: Mapping[str, str] | None,
) -> list[AuditEntry]:
    found: list[AuditEntry] = []
    for line in backwards(file, end) if count > 0 else ():
        entry = parse_line(line, roles=roles)
        if entry is not None and (wanted is None or wanted.wants(entry)):
            found.append(entry)
            if len(found) == count:
                break
    return found[::-1]


def end_of_lines(file: BinaryIO) -> int:
    """Where the last whole line ends: what follows is still being written."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        at = file.read(end - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def backwards(file: BinaryIO, end: int) -> Iterator[str]:
    """Lines before a position, the last one first."""
    rest = b""
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        rest = file.read(end - start) + rest
        end = start
        first, *lines = rest.split(b"\n")
        for line in reversed(lines):
            yield line.decode(errors="replace")
        rest = first
    yield rest.decode(errors="replace")


def unreadable(path: Path, error: OSError) -> HarnessError:
    return HarnessError(
        f"the audit log cannot be read: {error.strerror}",
        looked_at=str(path),
        remedy=f"Run `{named('up')}` first; for a Vault elsewhere give its log with --file.",
    )
