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


def read_lines(path: Path) -> Iterator[str]:
    """Every line that is there now.

    Raises:
        HarnessError: The log cannot be read here.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from file
    except OSError as error:
        raise _unreadable(path, error) from error


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
        raise _unreadable(path, error) from error


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
            inode, position = os.fstat(file.fileno()).st_ino, _end_of_lines(file)
            yield from _last_before(file, position, last, wanted, roles)
    except FileNotFoundError:
        pass  # it may come; nothing of it is there yet
    except OSError as error:
        raise _unreadable(path, error) from error
    lines = _follow_lines(path, inode, position, stop, interval)
    yield from entries(lines, wanted, roles=roles)


def _follow_lines(
    path: Path, inode: int | None, position: int, stop: Callable[[], bool], interval: float
) -> Iterator[str]:
    pending = b""
    while True:
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != inode or found.st_size < position:
                    inode, position, pending = found.st_ino, 0, b""
                file.seek(position)
                data = file.read()
        except FileNotFoundError:
            data = b""  # between a rotation's rename and the new file
        except OSError as error:
            raise _unreadable(path, error) from error
        position += len(data)
        *whole, pending = (pending + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
        if not data:
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
    for line in _backwards(file, end) if count > 0 else ():
        entry = parse_line(line, roles=roles)
        if entry is not None and (wanted is None or wanted.wants(entry)):
            found.append(entry)
            if len(found) == count:
                break
    return found[::-1]


def _end_of_lines(file: BinaryIO) -> int:
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


def _backwards(file: BinaryIO, end: int) -> Iterator[str]:
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


def _unreadable(path: Path, error: OSError) -> HarnessError:
    return HarnessError(
        f"the audit log cannot be read: {error.strerror}",
        looked_at=str(path),
        remedy=f"Run `{named('up')}` first; for a Vault elsewhere give its log with --file.",
    )
