"""Write private files as a whole, and name files in messages."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

_LIKE_A_SECRET = re.compile(r"AGE-SECRET-KEY-|-----BEGIN|^(?:hv[sbr]|[sbr])\.|^eyJ", re.IGNORECASE)
_NOT_FOR_FOLDERS = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS})
_BLOCK = 64 * 1024
GITIGNORE = ".gitignore"
_IGNORE_ALL = "# By vault-harness: there are keys and tokens in here.\n*\n"
_LIKE_A_FILE = re.compile(r"\.env[\w.-]{0,20}|[\w+-]{0,40}\.(?:age|crt|env|json|key|pem|pub|txt)")


def told(path: Path, otherwise: str) -> str:
    """Name an unreadable file in a message, unless its name may be a secret.

    A user may give a key, a token or a passphrase instead of its file, and must not find it in a
    log. So only a path that exists or looks like a file name is shown. ``otherwise`` says which
    option or variable names the file.
    """
    text = str(path)
    with contextlib.suppress(OSError, ValueError):  # too long for a file name
        if not _LIKE_A_SECRET.search(text) and (
            _LIKE_A_FILE.fullmatch(path.name)
            or (str(path.parent) not in {".", path.anchor} and path.parent.is_dir())
        ):
            return text
        if path.exists():  # last, since its folder may be closed to us
            return text
    return otherwise


def make_private(path: Path) -> None:
    """Make a directory that only its owner can enter; keep the mode of an existing one.

    New parents are writable for the owner only, whatever the umask: who can write to one could
    replace this directory.
    """
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir(mode=0o755, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def private_directory(path: Path) -> Path:
    """Make a directory that only its owner can enter, or close an existing one to others."""
    make_private(path)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def keep_from_git(directory: Path) -> None:
    """Make git ignore a folder that holds keys; keep an existing file."""
    file = directory / GITIGNORE
    with contextlib.suppress(OSError):  # a full disk must not stop the task
        if not os.path.lexists(file):
            write_private(file, _IGNORE_ALL)


def keeps_from_git(directory: Path) -> bool:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (directory / GITIGNORE).read_text(encoding="utf-8") == _IGNORE_ALL
    return False


def write_private(path: Path, content: str | bytes) -> None:
    """Write a private file so that a crash leaves the old content or the new, never a mixture.

    An `OSError` names the file.
    """
    data = content.encode() if isinstance(content, str) else content
    with _naming(path):
        with _replacing(path) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a private file that takes the place of another one at the end of the block."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name into an error: a full disk's has none, or a temporary one."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def check_room(directory: Path, size: int = 1024 * 1024) -> None:
    with _naming(directory), tempfile.TemporaryFile(dir=directory) as file:
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())


def led_to(path: Path) -> Path:
    """Return where a write to a path goes, so that a link to another disk stays one."""
    return path.resolve() if path.is_symlink() else path


def leads_nowhere(path: Path) -> bool:
    """Return whether it is a link to a missing file, perhaps on an unmounted disk."""
    return path.is_symlink() and not path.exists()


def encodable(text: str) -> str:
    """Escape half characters, which JSON allows and UTF-8 cannot encode.

    Clients cut their messages anywhere, and file names may be bytes that are no text.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path), _replacing(path) as file:
        file.write(content.encode("utf-8", "backslashreplace"))
        os.fchmod(file.fileno(), 0o644)


def copy_directory(source: Path, target: Path) -> None:
    """Copy a directory completely or not at all, and keep the modes.

    Nobody may write to the source meanwhile. An `OSError` names the first file that could not be
    copied.
    """
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _copy_tree(source, unfinished)
        for path in (unfinished, *unfinished.rglob("*")):
            if path.is_dir():
                sync_directory(path)
                continue
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    unfinished.rename(target)
    sync_directory(target.parent)


def _copy_tree(source: Path, target: Path) -> None:
    """Copy like `shutil.copytree`, but stop at the first error."""
    failed: list[OSError] = []

    def copy(one: str, other: str) -> None:
        if failed:
            return  # a full disk
        try:
            with _naming(Path(other)):
                shutil.copy2(one, other)
        except OSError as error:
            failed.append(error)
            raise

    try:
        shutil.copytree(source, target, copy_function=copy)
    except shutil.Error:
        raise (failed or [OSError(errno.EIO, os.strerror(errno.EIO), str(source))])[0] from None


def remove_directory(path: Path) -> None:
    """Delete a folder; an `OSError` has the full path of the obstacle."""

    def tell(_function: object, name: str, found: tuple[Any, Any, Any]) -> None:
        error = found[1]
        if isinstance(error, OSError):
            error.filename = name
        raise error

    shutil.rmtree(path, onerror=tell)


def sync_directory(path: Path) -> None:
    """Sync a directory, so that a new name in it is on the disk too.

    Some file systems refuse this (network, or shared by a virtual machine's host) and keep names by
    themselves.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FOR_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def as_removed(path: Path) -> str:
    """Name a path that is about to be removed; a link's target stays."""
    stays = f", a link; what it leads to stays: {path.readlink()}" if path.is_symlink() else ""
    return f"{path}{stays}"


def closed_to_owner(path: Path) -> str:
    """Return what the mode of a file or a directory denies its owner, or "".

    A file need not be writable, since it is replaced as a whole.
    """
    with contextlib.suppress(FileNotFoundError):
        status = path.stat()
        wanted = _OF_A_FOLDER if stat.S_ISDIR(status.st_mode) else _OF_A_FILE
        return " and ".join(what for bit, what in wanted.items() if not status.st_mode & bit)
    return ""


_OF_A_FILE = {stat.S_IRUSR: "read it"}
_OF_A_FOLDER = {stat.S_IRUSR: "read it", stat.S_IXUSR: "enter it", stat.S_IWUSR: "write to it"}


def tail(path: Path, lines: int | None = None) -> str:
    """Return the last lines of a text file, or all for None; "" if it is missing."""
    try:
        with path.open("rb") as file:
            content = file.read() if lines is None else _end(file, lines)
    except FileNotFoundError:
        return ""
    text = content.decode("utf-8", "replace")
    return text if lines is None else "\n".join(text.splitlines()[-lines:])


def _end(file: BinaryIO, lines: int) -> bytes:
    at, blocks, found = file.seek(0, os.SEEK_END), deque[bytes](), 0
    while at and found <= lines:  # the first one may be cut
        size = min(at, _BLOCK)
        at -= size
        file.seek(at)
        blocks.appendleft(file.read(size))
        found += blocks[0].count(b"\n")
    return b"".join(blocks)
