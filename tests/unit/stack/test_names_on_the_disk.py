"""Files are written whole even where folders cannot be synced."""

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
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import Lock, new_identity, write_backup


def refusing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Make fsync of a folder fail, as on some network file systems."""
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a folder that refuses it, for real")
def test_a_folder_that_cannot_be_synced_is_no_error() -> None:
    files.sync_directory(Path("/proc"))


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_all_that_is_kept_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It is keyring, data copy and backup."""
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


def test_a_failing_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        files.write_private(tmp_path / "init.json", "{}")


@contextmanager
def no_room() -> Iterator[None]:
    """Refuse files of more than a few bytes, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", [files.write_private, files.write_text])
def test_a_full_disk_error_names_the_file(
    tmp_path: Path, write: Callable[[Path, str], None]
) -> None:
    """The system does not."""
    with pytest.raises(OSError, match="too large") as caught, no_room():
        write(tmp_path / "init.json", "x" * 5000)
    assert caught.value.filename == str(tmp_path / "init.json")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_does_not_fit_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "data" / "raft").mkdir(parents=True)
    (tmp_path / "data" / "raft" / "raft.db").write_text("x" * 5000)
    with pytest.raises(OSError, match="too large") as caught, no_room():
        files.copy_directory(tmp_path / "data", tmp_path / "copy")
    assert caught.value.errno == errno.EFBIG
    assert Path(caught.value.filename).name == "raft.db"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
