"""Files are written whole where a file system takes no order to sync a folder, too."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vault_harness import files
from vault_harness.vault import Keyring
from vault_harness.vault.backup import Lock, new_identity, write_backup


def refusing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A file system that refuses that of folders, as a network's or a virtual machine's may."""
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a folder that refuses it, for real")
def test_a_real_one_that_refuses() -> None:
    """Nothing can be synced there."""
    files.sync_directory(Path("/proc"))


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_all_that_is_kept_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The keyring, the copy of data, a backup: each task ended, after it had written the file."""
    refusing(monkeypatch, number)
    Keyring(("a2V5",), 1, "t").save(tmp_path / "init.json")
    assert Keyring.load(tmp_path / "init.json").root_token == "t"
    (tmp_path / "data" / "raft").mkdir(parents=True)
    (tmp_path / "data" / "raft" / "raft.db").write_text("whole")
    files.copy_directory(tmp_path / "data", tmp_path / "copy")
    assert (tmp_path / "copy" / "raft" / "raft.db").read_text() == "whole"
    lock = Lock(recipients=(new_identity()[1],))
    made = write_backup(
        tmp_path / "backups", "one", lock, product="", version="", snapshot=None, keys=None
    )
    assert made.directory == tmp_path / "backups" / "one"


def test_a_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no order which is not known."""
    refusing(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        files.write_private(tmp_path / "init.json", "{}")


@contextmanager
def no_room() -> Iterator[None]:
    """Files of more than a few bytes are refused, as by a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", [files.write_private, files.write_text])
def test_a_disk_without_room_is_told_with_the_file(
    tmp_path: Path, write: Callable[[Path, str], None]
) -> None:
    """The machine names none, and whoever is to make room must know on which disk."""
    with pytest.raises(OSError, match="too large") as caught, no_room():
        write(tmp_path / "init.json", "x" * 5000)
    assert caught.value.filename == str(tmp_path / "init.json")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_without_room_is_told_with_the_file(tmp_path: Path) -> None:
    """A copy of Vault's data may be larger than what is left: it is told as any other file."""
    (tmp_path / "data" / "raft").mkdir(parents=True)
    (tmp_path / "data" / "raft" / "raft.db").write_text("x" * 5000)
    with pytest.raises(OSError, match="too large") as caught, no_room():
        files.copy_directory(tmp_path / "data", tmp_path / "copy")
    assert caught.value.errno == errno.EFBIG
    assert Path(caught.value.filename).name == "raft.db"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
