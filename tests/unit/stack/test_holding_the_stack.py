"""Two tasks never work on one stack at once, and an interrupt never loses keys."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from vault_harness import waiting
from vault_harness.errors import Busy, SettingsError
from vault_harness.interrupts import uninterrupted
from vault_harness.local.stack.lock import exclusive, leave_if_empty
from vault_harness.waiting import wait_until

HOLD = """
import sys, time
from pathlib import Path
from vault_harness.local.stack.lock import exclusive
with exclusive(Path(sys.argv[1]), timeout=5):
    print("held", flush=True)
    time.sleep(300)
"""


def test_the_second_waits_its_turn(tmp_path: Path) -> None:
    order = []

    def work(name: str) -> None:
        with exclusive(tmp_path, timeout=30):
            order.append(f"{name} begins")
            order.append(f"{name} ends")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(order) == 8
    for begins, ends in zip(order[::2], order[1::2], strict=True):
        assert begins.split()[0] == ends.split()[0]


def test_an_empty_folder_goes_with_its_lock(tmp_path: Path) -> None:
    """Other files keep both."""
    folder = tmp_path / "vault-data"
    with exclusive(folder, timeout=5):
        leave_if_empty(folder)
    assert not folder.exists()

    with exclusive(folder, timeout=5):
        (folder / "notes.txt").write_text("mine")
        leave_if_empty(folder)
    assert {path.name for path in folder.iterdir()} == {"lock", "notes.txt"}


def test_a_task_that_waits_for_a_removed_folder_holds_the_new_one(tmp_path: Path) -> None:
    folder, order = tmp_path / "vault-data", []

    def work() -> None:
        with exclusive(folder, timeout=30):
            order.append("begins")
            assert (folder / "lock").exists()
            order.append("ends")
            leave_if_empty(folder)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert order == ["begins", "ends"] * 8
    assert not folder.exists()


def test_a_waiting_task_says_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PATIENT_SECONDS", 0.1)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    told: list[str] = []
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            waiting.telling_waits(told.append),
            pytest.raises(Busy, match=str(holder.pid)),
            exclusive(tmp_path, timeout=0.5),
        ):
            pass
    finally:
        holder.kill()
        holder.communicate()
    assert told == [
        f"waiting for another task that holds the stack, 0.5 s at most: pid {holder.pid}"
    ]
    with exclusive(tmp_path, timeout=10):
        pass  # after `kill -9` the stack is free


def test_a_holder_that_was_stopped_is_said_to_be(tmp_path: Path) -> None:
    """The remedy for Ctrl-Z is to continue it."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == "held\n"
            holder.send_signal(signal.SIGSTOP)
            wait_until(
                lambda: psutil.Process(holder.pid).status() == psutil.STATUS_STOPPED,
                "it to stand still",
                timeout=10,
            )
            with (
                pytest.raises(Busy, match="is itself stopped") as caught,
                exclusive(tmp_path, timeout=0.1),
            ):
                pass
        finally:
            holder.kill()
    assert f"kill -CONT {holder.pid}" in caught.value.remedy


def read_only(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$1"'
    words = ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, "sh", str(folder)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*words[:3], "true"], check=False).returncode
    ):
        pytest.skip("no folder can be made read-only here without its servers noticing")
    words += [sys.executable, script]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_tasks_run_on_a_read_only_disk(tmp_path: Path) -> None:
    with exclusive(tmp_path, timeout=5):
        busy = read_only(tmp_path, HOLD.replace("timeout=5", "timeout=0.2"))
    assert "another task holds the stack" in busy.stderr
    done = read_only(tmp_path, HOLD.replace("time.sleep(300)", "pass"))
    assert (done.returncode, done.stdout) == (0, "held\n"), done.stderr


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the setting, and nothing waits."""

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with (
        pytest.raises(SettingsError, match="has no locks: No locks available") as caught,
        exclusive(tmp_path / "data", timeout=5),
    ):
        pytest.fail("it was held")
    assert "HARNESS_DATA_DIR" in caught.value.remedy


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    reached = []

    def interrupted() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("keys are on disk")

    # A job in the background of a shell inherits that SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert reached == ["keys are on disk"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_nothing_is_changed() -> None:
    """No signal arrives there."""
    done = []

    def work() -> None:
        with uninterrupted():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert done == [True]
