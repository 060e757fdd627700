from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from tests.engine.faults.conftest import Answer, Broken, Line, Notes, ask, broken_vault
from vault_harness.errors import ToxiproxyError
from vault_harness.judge.faults import ProcessFaults, flapping, process_tree
from vault_harness.judge.subjects.process import spawn
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import launch
from vault_harness.recorder.fault import Fault
from vault_harness.waiting import wait_until


def test_server_paused(broken: Broken) -> None:
    token, _ = broken.token()
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(broken.read(token, timeout=30.0)))
    with broken.processes.server_paused(broken.stack.node):
        thread.start()
        with pytest.raises(TimeoutError):
            broken.read(token, timeout=0.7)
        with pytest.raises(TimeoutError):
            ask(broken.stack.node.address, "sys/health", timeout=0.7)
        assert answers == []
    thread.join(30)
    assert [answer.status for answer in answers] == [200]
    broken.notes.only("server paused")


@pytest.mark.slow  # raft takes seconds to initialise
def test_server_killed(engine: Engine, tmp_path: Path) -> None:
    blueprint = Blueprint.default()
    with launch(engine, blueprint, NodeSpec(directory=tmp_path / "vault", storage="raft")) as stack:
        broken = broken_vault(stack)
        token, _ = broken.token()
        with broken.processes.server_killed(
            stack.node, revive=lambda: stack.operator.unseal(stack.keyring)
        ):
            with pytest.raises(ConnectionRefusedError):
                broken.read(token)
            assert not stack.node.is_running()
        assert broken.read(token).status == 200
        broken.notes.only("server killed")


@pytest.mark.slow  # raft starts in seconds, and the server gives up after as many
def test_server_killed_under_supervision(engine: Engine, tmp_path: Path) -> None:
    """Without its key it ends after each start; with it, it unseals itself and serves."""
    key = tmp_path / "key"
    key.write_bytes(os.urandom(32))
    seal = {"static": {"current_key_id": "1", "current_key": f"file://{key}"}}
    with launch(
        engine,
        Blueprint.default(),
        NodeSpec(directory=tmp_path / "vault", storage="raft", extra={"seal": seal}),
    ) as stack:
        broken = broken_vault(stack)
        token, _ = broken.token()
        gone = key.rename(tmp_path / "elsewhere")
        with broken.processes.server_killed_under_supervision(
            stack.node, serves=lambda: stack.operator.health(timeout=1.0) == 200
        ) as (_, supervisor):
            wait_until(lambda: supervisor.ends >= 2, "two starts in vain", timeout=60)
            gone.rename(key)
        assert broken.read(token).status == 200
        broken.notes.only("server killed")
    assert "supervisor" not in {thread.name for thread in threading.enumerate()}


def _sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_client_paused() -> None:
    notes = Notes()
    with _sleeper() as child:
        process = psutil.Process(child.pid)
        with ProcessFaults(notes).client_paused(child.pid):
            wait_until(
                lambda: process.status() == psutil.STATUS_STOPPED, "the client to stop", timeout=10
            )
        wait_until(
            lambda: process.status() != psutil.STATUS_STOPPED, "the client to go on", timeout=10
        )
        child.kill()
    assert notes.only("client paused").optional


def test_end_of_a_pause_is_noted_before_anybody_wakes() -> None:
    states: list[str] = []
    with _sleeper() as child:
        process = psutil.Process(child.pid)

        class Looking(Notes):
            def end_fault(self, fault: Fault) -> None:
                states.append(process.status())
                super().end_fault(fault)

        with ProcessFaults(Looking()).client_paused(child.pid):
            wait_until(
                lambda: process.status() == psutil.STATUS_STOPPED, "the client to stop", timeout=10
            )
        child.kill()
    assert states == [psutil.STATUS_STOPPED]


WRAPPER = """
import os, subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
subprocess.Popen(sleep)
if os.fork() == 0:
    if os.fork() == 0:
        os.execv(sleep[0], sleep)
    os._exit(0)
os.wait()
print(flush=True)
time.sleep(60)
"""


def test_all_processes_of_a_client_are_paused() -> None:
    command = [sys.executable, "-c", WRAPPER]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline(), "the process between has ended"
        wait_until(lambda: len(process_tree(child.pid)) == 3, "its children", timeout=20)
        family = process_tree(child.pid)
        with ProcessFaults(Notes()).client_paused(child.pid):
            wait_until(
                lambda: {p.status() for p in family} == {psutil.STATUS_STOPPED},
                "all of them to stop",
                timeout=10,
                evidence=lambda: str(family),
            )
        wait_until(
            lambda: psutil.STATUS_STOPPED not in {p.status() for p in family},
            "all of them to go on",
            timeout=10,
            evidence=lambda: str(family),
        )
        os.killpg(child.pid, signal.SIGKILL)


def test_watchdog_is_never_paused(tmp_path: Path) -> None:
    """A paused watchdog could not end a client when the harness is killed."""
    leashed = spawn(["sleep", "60"], dict(os.environ), tmp_path / "log")
    pid = leashed.process.pid
    wait_until(lambda: psutil.Process(pid).name() == "sleep", "the program", timeout=20)
    assert len(psutil.Process(pid).children()) == 1
    assert [process.pid for process in process_tree(pid)] == [pid]
    os.killpg(pid, signal.SIGKILL)
    leashed.process.communicate(timeout=10)
    os.close(leashed.leash)


def test_client_that_dies_while_paused() -> None:
    notes = Notes()
    with _sleeper() as child, ProcessFaults(notes).client_paused(child.pid):
        child.kill()
        child.wait(10)
    assert notes.faults[0].ended is not None


def test_no_such_client() -> None:
    child = _sleeper()
    child.kill()
    child.wait(10)
    notes = Notes()
    with pytest.raises(ProcessLookupError), ProcessFaults(notes).client_paused(child.pid):
        pytest.fail("there is nobody to pause")
    assert notes.faults == []
    assert os.getpid() != child.pid


# Flapping


def reads(line: Line) -> bool:
    try:
        return line.read().status == 200
    except OSError:
        return False


def test_flapping_begins_broken_and_ends_repaired(line: Line) -> None:
    with flapping(line.network.down, on=0.3, off=0.3) as turns:
        wait_until(lambda: not reads(line), "the first turn to break it", timeout=10)
        wait_until(lambda: reads(line), "its end to mend it", timeout=10)
        wait_until(lambda: len(turns) == 3, "the third turn", timeout=10)
    assert reads(line)
    faults = line.notes.faults
    assert turns == faults
    assert all(fault.ended is not None for fault in faults)
    for one, following in pairwise(faults):
        assert one.ended is not None
        assert one.ended - one.began >= 0.29
        assert following.began - one.ended >= 0.29


def test_flapping_ends_at_once(line: Line) -> None:
    """The end of the block does not wait for the end of the turn."""
    began = time.monotonic()
    with flapping(line.network.down, on=60, off=60) as turns:
        wait_until(lambda: bool(turns), "the first turn", timeout=10)
    assert time.monotonic() - began < 10
    assert reads(line)


def test_flapping_is_undone_when_the_block_raises(line: Line) -> None:
    def broken_off() -> None:
        with flapping(line.network.down, on=60, off=60) as turns:
            wait_until(lambda: bool(turns), "the first turn", timeout=10)
            raise LookupError

    with pytest.raises(LookupError):
        broken_off()
    assert reads(line)
    assert [fault.ended is not None for fault in line.notes.faults] == [True]


def test_flapping_raises_a_fault_that_cannot_be_made(line: Line) -> None:
    def gone() -> Fault:
        raise ToxiproxyError("gone")

    with pytest.raises(ToxiproxyError, match="gone"), flapping(gone, on=0.1, off=0.1):  # type: ignore[arg-type] # it never returns
        pass
    assert reads(line)
