"""Read the file of an audit device: all of it, from its end, or as it grows and rotates."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from vault_harness.errors import HarnessError, named
from vault_harness.operator.audit.entry import AuditEntry, Filter, entries

_BLOCK = 64 * 1024
_LOOK = 4 * 1024 * 1024


def read_lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from file
    except OSError as error:
        raise unreadable(path, error) from error


def last_entries(
    path: Path, count: int, wanted: Filter | None = None, *, roles: Mapping[str, str] | None = None
) -> list[AuditEntry]:
    try:
        with path.open("rb") as file:
            return _last_before(file, file.seek(0, os.SEEK_END), count, wanted, roles)
    except OSError as error:
        raise unreadable(path, error) from error


def wait_a_moment() -> bool:
    """Return True: nothing ends the following."""
    time.sleep(0.2)
    return True


def follow_entries(
    path: Path,
    wanted: Filter | None = None,
    *,
    last: int = 0,
    roles: Mapping[str, str] | None = None,
    pause: Callable[[], bool] = wait_a_moment,
) -> Iterator[AuditEntry]:
    """Yield the last entries that pass the filter, then new ones, forever.

    Args:
        pause: Waits a moment if there is nothing new. False ends the following.
    """
    with contextlib.closing(Tail(path)) as tail:
        tail.skip()
        yield from tail.before(last, wanted, roles)
        yield from entries(_follow_lines(tail, pause), wanted, roles=roles)


class Tail:
    """Reads what is written to a log, across rotations. The caller closes it.

    After a rename, the writer still writes to the old file until it opens the new one, and some
    create the new one first. So the old file stays open until the new one has content. With `more`
    the last look left something.
    """

    def __init__(self, path: Path) -> None:
        self.more = False
        self._path = path
        self._file: BinaryIO | None = None
        self._position = 0
        self._pending = b""
        self._open()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def skip(self) -> int:
        if self._file is not None:
            self._position = end_of_lines(self._file)
        return self._position

    def before(
        self, count: int, wanted: Filter | None, roles: Mapping[str, str] | None
    ) -> list[AuditEntry]:
        if self._file is None:
            return []
        return _last_before(self._file, self._position, count, wanted, roles)

    def lines(self) -> list[str]:
        """Return the new whole lines, some MiB at most."""
        try:
            # The old file is complete before the new one has any content.
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
        """Return whether another file has the name now, and has content."""
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False  # no new file yet, or the node left
        return found.st_size > 0 and not (
            self._file is not None and os.path.samestat(found, os.fstat(self._file.fileno()))
        )

    def _open(self) -> None:
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
        if os.fstat(self._file.fileno()).st_size < self._position:  # truncated
            self._position, self._pending = 0, b""
        self._file.seek(self._position)
        data = self._file.read(_LOOK)
        self._position += len(data)
        return data


def _follow_lines(tail: Tail, pause: Callable[[], bool]) -> Iterator[str]:
    while True:
        yield from tail.lines()
        if not tail.more and not pause():
            return


def _last_before(
    file: BinaryIO,
    end: int,
    count: int,
    wanted: Filter | None,
    roles: Mapping[str, str] | None,
) -> list[AuditEntry]:
    found = entries(backwards(file, end), wanted, roles=roles)
    return list(itertools.islice(found, max(count, 0)))[::-1]


def end_of_lines(file: BinaryIO) -> int:
    """Return where the last whole line ends. The text after it is still being written."""
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
    """Yield the lines before a position, last one first."""
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
