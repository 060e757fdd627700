"""The file of an audit device: read, read from its end, and followed through rotations."""

from __future__ import annotations

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
    inode, position = None, 0
    try:
        with path.open("rb") as file:
            inode, position = os.fstat(file.fileno()).st_ino, end_of_lines(file)
            yield from _last_before(file, position, last, wanted, roles)
    except FileNotFoundError:
        pass  # it may come; nothing of it is there yet
    except OSError as error:
        raise unreadable(path, error) from error
    lines = _follow_lines(path, inode, position, stop, interval)
    yield from entries(lines, wanted, roles=roles)


class Tail:
    """What is written to a log from a position on, over rotations.

    Args:
        path: The log; it may not be there yet.
        inode: Of the file that the position is in; None for none.
        position: Bytes of it that are known.

    Attributes:
        more: Whether the last look left something for the next one.
    """

    def __init__(self, path: Path, inode: int | None = None, position: int = 0) -> None:
        self.more = False
        self._path = path
        self._inode = inode
        self._position = position
        self._pending = b""

    def lines(self) -> list[str]:
        """Whole lines that are new, some MiB of them at most.

        Raises:
            HarnessError: The log cannot be read here.
        """
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._inode or found.st_size < self._position:
                    self._inode, self._position, self._pending = found.st_ino, 0, b""
                file.seek(self._position)
                data = file.read(_LOOK)
        except (FileNotFoundError, NotADirectoryError):
            data = b""  # between a rotation's rename and the new file, or its node is gone
        except OSError as error:
            raise unreadable(self._path, error) from error
        self._position += len(data)
        self.more = bool(data)
        *whole, self._pending = (self._pending + data).split(b"\n")
        return [line.decode(errors="replace") for line in whole]


def _follow_lines(
    path: Path, inode: int | None, position: int, stop: Callable[[], bool], interval: float
) -> Iterator[str]:
    tail = Tail(path, inode, position)
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
