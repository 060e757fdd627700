"""Leashed processes die with their parent, detached ones live on, and no other is signalled."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.running import ran
from vault_harness.local.engine.process.spawn import (
    DetachedProcess,
    LeashedProcess,
    child_environment,
)
from vault_harness.waiting import wait_until

SLEEP = ("sleep", "300")

PARENT = """
import os, sys, threading, time
from pathlib import Path
from vault_harness.local.engine.process.spawn import LeashedProcess

started = []
def start():
    started.append(LeashedProcess(["sleep", "300"], log=Path(sys.argv[1]), environment=os.environ))
if "thread" in sys.argv:
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
else:
    start()
if "fork" in sys.argv and os.fork() == 0:
    os.write(1, b"fork %d\\n" % os.getpid())
    time.sleep(300)
os.write(1, b"child %d\\n" % started[0].pid)
time.sleep(300)
"""


def gone(pid: int) -> bool:
    """A zombie counts as gone."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def leashed(tmp_path: Path) -> LeashedProcess:
    return LeashedProcess(SLEEP, log=tmp_path / "log", environment=child_environment())


def start_parent(tmp_path: Path, *words: str) -> tuple[subprocess.Popen[str], dict[str, int]]:
    """Start a parent with a leashed child, and return the pids of child and fork."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log"), *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    lines = [parent.stdout.readline().split() for _ in range(2 if "fork" in words else 1)]
    return parent, {who: int(pid) for who, pid in lines}


@pytest.mark.parametrize("words", [(), ("thread",)], ids=["main thread", "thread that ended"])
def test_killing_the_parent_ends_the_child(tmp_path: Path, words: tuple[str, ...]) -> None:
    """The kernel closes the leash."""
    parent, pids = start_parent(tmp_path, *words)
    child = pids["child"]
    with parent:
        assert not gone(child), "it lives although the thread that started it has ended"
        parent.kill()

    wait_until(lambda: gone(child), "the child to end", timeout=10)


def test_a_fork_of_the_parent_does_not_keep_the_child(tmp_path: Path) -> None:
    parent, pids = start_parent(tmp_path, "fork")
    child, fork = pids["child"], pids["fork"]
    try:
        with parent:
            parent.kill()
        wait_until(lambda: gone(child), "the child to end", timeout=10)
        assert not gone(fork)
    finally:
        os.kill(fork, signal.SIGKILL)


def test_a_paused_child_ends_too(tmp_path: Path) -> None:
    """SIGSTOP paused it."""
    parent, pids = start_parent(tmp_path)
    child = pids["child"]
    wait_until(lambda: psutil.Process(child).name() == "sleep", "the server to run", timeout=10)
    os.kill(child, signal.SIGSTOP)
    with parent:
        parent.kill()

    wait_until(lambda: gone(child), "the paused child to end", timeout=10)


def test_the_watchdog_ends_with_the_child(tmp_path: Path) -> None:
    """Nothing is left in its process group."""
    process = leashed(tmp_path)
    group = process.pid
    wait_until(lambda: psutil.Process(group).name() == "sleep", "the server to run", timeout=10)
    process.kill()

    def empty() -> bool:
        return not any(
            os.getpgid(pid) == group for pid in psutil.pids() if not gone(pid) and _exists(pid)
        )

    wait_until(empty, "its process group to be empty", timeout=10)
    assert process.exit_code() == -signal.SIGKILL


def _exists(pid: int) -> bool:
    try:
        os.getpgid(pid)
    except ProcessLookupError:
        return False
    return True


def test_the_exit_code_is_the_programs(tmp_path: Path) -> None:
    """It is not the shell's."""
    process = LeashedProcess(
        ["/bin/sh", "-c", "echo last words; exit 7"], log=tmp_path / "log", environment={}
    )
    assert process.wait(10)
    process.release()

    assert process.exit_code() == 7
    assert (tmp_path / "log").read_text() == "last words\n"


def test_a_detached_process_outlives_its_parent(tmp_path: Path) -> None:
    """It is found by pid and start time."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from vault_harness.local.engine.process.spawn import *\n"
        "log = Path(sys.argv[1])\n"
        "p = DetachedProcess.start(['sleep', '300'], log=log, environment=os.environ)\n"
        "print(p.pid, p.born)"
    )
    answer = ran([sys.executable, "-c", code, str(tmp_path / "log")], check=True)
    pid, born = answer.stdout.split()

    process = DetachedProcess(int(pid), float(born))
    assert process.alive()
    process.kill()
    assert not process.alive()


def test_a_recycled_pid_is_never_hit(tmp_path: Path) -> None:
    """A process with a reused pid is not awaited either."""
    stranger = subprocess.Popen(SLEEP)
    try:
        process = DetachedProcess(stranger.pid, psutil.Process(stranger.pid).create_time() - 100)

        assert not process.alive()
        process.signal(signal.SIGTERM)
        process.kill()
        assert process.wait(0.0)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_servers_inherit_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "hvs.developer")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-developer")

    environment = child_environment({"EXTRA": "yes"})

    assert environment["EXTRA"] == "yes"
    assert environment["PATH"] == os.environ["PATH"]
    assert not {"VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY"} & environment.keys()


def test_a_python_that_looks_for_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our servers run with the same Python."""
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/python/lib")
    assert child_environment()["LD_LIBRARY_PATH"] == "/opt/python/lib"


def test_threads_may_start_servers_at_once(tmp_path: Path) -> None:
    """Each server has its own leash."""
    started: list[LeashedProcess] = []
    threads = [threading.Thread(target=lambda: started.append(leashed(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, *others = started
    first.kill()
    time.sleep(0.1)  # gives a leash that is shared by mistake time to act
    alive = [process.alive() for process in others]
    for process in others:
        process.kill()

    assert alive == [True] * 7


def test_a_fork_sees_its_parents_server_and_leaves_it_alone(tmp_path: Path) -> None:
    process = leashed(tmp_path)

    def fork() -> None:
        seen = process.alive()
        process.signal(signal.SIGTERM)
        process.kill()
        os._exit(0 if seen and process.alive() else 1)

    forked = multiprocessing.get_context("fork").Process(target=fork)
    forked.start()
    forked.join()
    alive = process.alive()
    process.kill()

    assert forked.exitcode == 0
    assert alive


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets the first thread end alone")
def test_a_process_lives_as_long_as_any_of_its_threads(tmp_path: Path) -> None:
    """A process whose first thread has ended still holds its ports."""
    code = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    process = DetachedProcess.start(
        [sys.executable, "-c", code], log=tmp_path / "log", environment=os.environ
    )
    first = psutil.Process(process.pid)
    wait_until(
        lambda: first.status() == psutil.STATUS_ZOMBIE, "the first thread to end", timeout=30
    )
    assert process.alive()
    process.kill()
    assert not process.alive()
