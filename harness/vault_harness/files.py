"""Files that must never be half-written, nor readable by anybody else; and what is told of them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
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
    """What a message says of a file that somebody named and that cannot be read.

    Whoever gives a key, a token or a passphrase where its file is asked for must not find it in a
    log. So a path is told where it leads to a file or a folder, or is named as files are.

    Args:
        path: As it was given.
        otherwise: Words to say instead: which option or variable names it.
    """
    text = str(path)
    with contextlib.suppress(OSError, ValueError):  # a name that is too long to be one
        if not _LIKE_A_SECRET.search(text) and (
            _LIKE_A_FILE.fullmatch(path.name)
            or (str(path.parent) not in {".", path.anchor} and path.parent.is_dir())
        ):
            return text
        if path.exists():  # asked last: its folder may be closed to us
            return text
    return otherwise


def make_private(path: Path) -> None:
    """Make a directory that only its owner can enter (0700); one that is there keeps its mode.

    Parents that are made for it are nobody else's to write to, whatever the umask: who may write to
    one could put another folder in the place of this.
    """
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir(mode=0o755, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def private_directory(path: Path) -> Path:
    """Make a directory that only its owner can enter (0700), and return it.

    One that is there is closed to others too.
    """
    make_private(path)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def keep_from_git(directory: Path) -> None:
    """Have git take in nothing of a folder, whichever repository it is in: keys are in it.

    A file of that name that is there stays as it is.
    """
    file = directory / GITIGNORE
    with contextlib.suppress(OSError):  # a full disk keeps nobody from what he came for
        if not os.path.lexists(file):
            write_private(file, _IGNORE_ALL)


def keeps_from_git(directory: Path) -> bool:
    """Whether `keep_from_git` wrote the file that is there, and nobody since."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (directory / GITIGNORE).read_text(encoding="utf-8") == _IGNORE_ALL
    return False


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file so that after a crash there is the old content or the new, never a mixture.

    Temporary name in the same directory, mode 0600, fsync, rename, fsync of the directory.

    Raises:
        OSError: It could not be written; its name is in the error.
    """
    data = content.encode() if isinstance(content, str) else content
    with _naming(path):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise
        sync_directory(path.parent)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an error say which file it was: that of a full disk names none, or a temporary one."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def led_to(path: Path) -> Path:
    """Where what is written to a path goes, so that a link stays one.

    Whoever has a file on a disk of their own finds what becomes of it there, and not in the place
    of the link.
    """
    return path.resolve() if path.is_symlink() else path


def leads_nowhere(path: Path) -> bool:
    """Whether it is a link to what is not there: on a disk that is away, perhaps."""
    return path.is_symlink() and not path.exists()


def encodable(text: str) -> str:
    """A text that can be written: half of a character, which JSON may have, is written out.

    Clients cut their messages anywhere, and name files by bytes that are no text.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_text(path: Path, content: str) -> None:
    """Write a file that anybody may read, replaced as a whole, its folder made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path):
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(content)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def copy_directory(source: Path, target: Path) -> None:
    """Copy a directory so that the copy is there complete, or not at all; modes are kept.

    Nobody may write to it meanwhile. What an earlier run left unfinished is removed.

    Raises:
        OSError: The first file that could not be copied.
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
    """As `shutil.copytree`, which goes on after an error, and tells no reason that can be read."""
    failed: list[OSError] = []

    def copy(one: str, other: str) -> None:
        if failed:
            return  # a disk that is full
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
    """Delete a folder with all that is in it.

    Raises:
        OSError: It names the whole path of what could not be deleted.
    """

    def tell(_function: object, name: str, found: tuple[Any, Any, Any]) -> None:
        error = found[1]
        if isinstance(error, OSError):
            error.filename = name
        raise error

    shutil.rmtree(path, onerror=tell)


def sync_directory(path: Path) -> None:
    """See that a name that was just given is on the disk too.

    Some file systems refuse that of a folder, as those of a network and of a virtual machine's host
    may: names are their own matter there.
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
    """What is told of a path that is about to be removed: of a link only the link is."""
    stays = f", a link; what it leads to stays: {path.readlink()}" if path.is_symlink() else ""
    return f"{path}{stays}"


def open_to_others(directory: Path) -> list[Path]:
    """What others than its owner may look into: the directory itself, and what is directly in it.

    Symbolic links say nothing of their own, and are left out.
    """
    if not directory.is_dir():
        return []
    found = [directory, *sorted(directory.iterdir())]
    return [path for path in found if not path.is_symlink() and _is_open(path)]


def _is_open(path: Path) -> bool:
    try:
        return bool(path.lstat().st_mode & 0o077)
    except FileNotFoundError:
        return False


def tail(path: Path, lines: int | None = None) -> str:
    """The last ``lines`` lines of a text file, all of it for None, nothing if it is not there.

    Of a log that grew for months only its end is read.
    """
    try:
        with path.open("rb") as file:
            content = file.read() if lines is None else _end(file, lines)
    except FileNotFoundError:
        return ""
    text = content.decode("utf-8", "replace")
    return text if lines is None else "\n".join(text.splitlines()[-lines:])


def _end(file: BinaryIO, lines: int) -> bytes:
    """What a file has from before its last lines on."""
    at, blocks, found = file.seek(0, os.SEEK_END), deque[bytes](), 0
    while at and found <= lines:  # the last one may have no end, and the first one no beginning
        size = min(at, _BLOCK)
        at -= size
        file.seek(at)
        blocks.appendleft(file.read(size))
        found += blocks[0].count(b"\n")
    return b"".join(blocks)
