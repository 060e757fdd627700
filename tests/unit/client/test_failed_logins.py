from __future__ import annotations

import errno
import fcntl
import itertools
import os
from pathlib import Path
from typing import NoReturn

import pytest

from resilient_vault_client import _credentials
from resilient_vault_client._credentials import MOST_FOR_A_ROLE, WINDOW, Credentials, FailedLogins
from resilient_vault_client._deadline import Deadline

SOON = Deadline(60.0)


class Clock:
    """A monotonic clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_credentials, "_now", lambda: clock.now)
    return clock


def attempts(failed: FailedLogins, clock: Clock, ids: Credentials, seconds: float) -> list[float]:
    """Return the times of the attempts of a client that fails as often as it may."""
    end, times = clock.now + seconds, []
    while clock.now < end:
        wait = failed.wait(ids, SOON)
        if wait > 0:
            clock.now += wait
            continue
        times.append(clock.now)
        failed.rejected(ids, SOON)
        assert failed.wait(ids, SOON) > 0
    return times


def test_the_same_secret_id(clock: Clock) -> None:
    """The client never gives up."""
    times = attempts(FailedLogins(), clock, Credentials("role", "bad"), 86_400.0)

    assert len(times) > 90
    for at in times:
        assert len([t for t in times if at <= t < at + WINDOW]) <= 3


def test_another_secret_id_is_tried_at_once(clock: Clock) -> None:
    failed = FailedLogins()
    attempts(failed, clock, Credentials("role", "bad"), 100.0)

    assert failed.wait(Credentials("role", "new"), SOON) == 0


def test_a_role_is_never_locked_by_one_client(clock: Clock) -> None:
    """Not even with many secret-ids."""
    failed, times = FailedLogins(), []
    for number in itertools.count():
        ids = Credentials("role", f"bad-{number}")
        wait = failed.wait(ids, SOON)
        if wait > 0:
            break
        failed.rejected(ids, SOON)
        times.append(clock.now)
    assert len(times) == MOST_FOR_A_ROLE
    assert failed.wait(Credentials("another role", "x"), SOON) == 0
    clock.now += WINDOW
    assert failed.wait(Credentials("role", "x"), SOON) == 0


def test_success_forgets(clock: Clock) -> None:
    """The server counts from zero as well."""
    failed, ids = FailedLogins(), Credentials("role", "flaky")
    failed.rejected(ids, SOON)
    failed.accepted(ids, SOON)

    assert failed.wait(ids, SOON) == 0


def test_processes_count_together(clock: Clock, tmp_path: Path) -> None:
    """A restarted client does not count from zero."""
    ids = Credentials("role", "bad")
    times = []
    for _ in range(200):
        failed = FailedLogins(tmp_path / "state", server="http://vault")
        if failed.wait(ids, SOON) == 0:
            times.append(clock.now)
            failed.rejected(ids, SOON)
        clock.now += 1.0
    assert len(times) == 3
    elsewhere = FailedLogins(tmp_path / "state", server="http://another-vault")
    assert elsewhere.wait(ids, SOON) == 0
    content = "".join(file.read_text() for file in (tmp_path / "state").iterdir())
    assert "bad" not in content
    assert "role" not in content

    last = FailedLogins(tmp_path / "state", server="http://vault")
    assert last.wait(ids, SOON) > 0
    last.accepted(ids, SOON)
    assert FailedLogins(tmp_path / "state", server="http://vault").wait(ids, SOON) == 0


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '[["x","y"]]', '[[1e9, "x"]]'])
def test_shared_count_that_makes_no_sense(clock: Clock, tmp_path: Path, content: str) -> None:
    """The file is damaged, or from before the last boot."""
    ids = Credentials("role", "bad")
    FailedLogins(tmp_path, server="x").rejected(ids, SOON)
    (file,) = tmp_path.iterdir()
    file.write_text(content)

    failed = FailedLogins(tmp_path, server="x")
    assert failed.wait(ids, SOON) == 0
    failed.rejected(ids, SOON)
    assert failed.wait(ids, SOON) > 0


def test_nowhere_to_count_together(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a directory")
    failed, ids = FailedLogins(tmp_path / "file" / "state"), Credentials("role", "bad")
    failed.rejected(ids, SOON)

    assert failed.wait(ids, SOON) > 0
    assert "not counted together" in caplog.text


def failing(number: int) -> object:
    def fail(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
@pytest.mark.parametrize("call", ["fcntl.flock", "os.pread", "os.pwrite", "os.ftruncate"])
def test_files_that_cannot_be_used(
    clock: Clock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
) -> None:
    """Some file systems have no locks."""
    failed, ids = FailedLogins(tmp_path), Credentials("role", "bad")
    with monkeypatch.context() as patched:
        patched.setattr(f"resilient_vault_client._credentials.{call}", failing(number))
        assert failed.wait(ids, SOON) == 0
        failed.rejected(ids, SOON)
        assert failed.wait(ids, SOON) > 0
    times = attempts(failed, clock, ids, WINDOW)

    assert len(times) == 2
    assert caplog.text.count("not counted together") == 1
    failed.accepted(ids, SOON)
    assert failed.wait(ids, SOON) == 0


def test_a_file_whose_end_is_not_kept(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system may report only at close that it kept nothing."""
    failed, ids, close = FailedLogins(tmp_path), Credentials("role", "bad"), os.close

    def late(descriptor: int) -> NoReturn:
        close(descriptor)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patched:
        patched.setattr(os, "close", late)
        failed.rejected(ids, SOON)

    assert failed.wait(ids, SOON) > 0
    assert "not counted together" in caplog.text


@pytest.mark.parametrize("room", [0, 5])
def test_a_full_disk_loses_no_count(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Earlier failures count here and in processes that read the file later."""
    failed, ids = FailedLogins(tmp_path), Credentials("role", "bad")
    other = FailedLogins(tmp_path)
    failed.rejected(ids, SOON)
    assert other.wait(ids, SOON) > 0
    clock.now += 5.0
    write = os.pwrite

    def full(descriptor: int, content: bytes, offset: int) -> int:
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, content[:room], offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        failed.rejected(ids, SOON)

    assert failed.wait(ids, SOON) > 5.0
    clock.now -= 1.0
    assert other.wait(ids, SOON) > 0
    if not room:
        assert FailedLogins(tmp_path).wait(ids, SOON) > 0


@pytest.mark.parametrize("content", ["", "{", '[[1000.0, "0123'])
def test_a_damaged_count_is_not_believed(clock: Clock, tmp_path: Path, content: str) -> None:
    """Another process may have written half of the file."""
    failed, ids = FailedLogins(tmp_path), Credentials("role", "bad")
    failed.rejected(ids, SOON)
    (file,) = tmp_path.iterdir()
    file.write_text(content)

    assert failed.wait(ids, SOON) > 0
    failed.rejected(ids, SOON)
    assert FailedLogins(tmp_path).wait(ids, SOON) > 5.0


def test_a_stopped_process_with_the_lock_blocks_no_other(
    clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """This client's count continues."""
    failed, ids = FailedLogins(tmp_path), Credentials("role", "bad")
    failed.rejected(ids, SOON)
    (file,) = tmp_path.iterdir()
    over = Deadline(0.0)
    with file.open("r+b") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert failed.wait(ids, over) > 0
        failed.rejected(ids, over)
        assert failed.wait(ids, over) > 5.0
    assert "holds the count" in caplog.text
    assert FailedLogins(tmp_path).wait(ids, SOON) > 0


def test_fork_while_the_count_is_held(tmp_path: Path) -> None:
    """A child with the open file does not keep the lock after its parent's release."""
    failed, ids = FailedLogins(tmp_path), Credentials("role", "bad")
    with failed._shared("role", SOON) as shared:
        assert shared is not None
        inherited = os.dup(shared)
    try:
        with failed._shared("role", Deadline(0.0)) as again:
            assert again is not None
    finally:
        os.close(inherited)
    assert failed.wait(ids, SOON) == 0
