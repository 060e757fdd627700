"""The wall clock of a client's process can be set; its monotonic clock stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vault_harness.errors import ProgramMissing
from vault_harness.judge.faults import process as module
from vault_harness.judge.faults.process import ClientClock
from vault_harness.judge.verdict import NotClaimed
from vault_harness.local.programs import find_faketime
from vault_harness.recorder.history import History

ASKED = """
import sys, time
for _ in sys.stdin:
    print(time.time(), time.monotonic(), flush=True)
"""


@pytest.fixture
def clock(tmp_path: Path) -> ClientClock:
    try:
        find_faketime()
    except ProgramMissing as missing:
        pytest.skip(missing.cause)
    return ClientClock(tmp_path, History())


WAITS = """
import ctypes, time
c = ctypes.CDLL(None)
attributes, condition, mutex = (ctypes.create_string_buffer(128) for _ in range(3))
c.pthread_condattr_init(attributes)
c.pthread_condattr_setclock(attributes, time.CLOCK_MONOTONIC)
c.pthread_cond_init(condition, attributes)
c.pthread_mutex_init(mutex, None)
c.pthread_mutex_lock(mutex)
began = time.monotonic()
end = began + 0.2
c.pthread_cond_timedwait(condition, mutex, (ctypes.c_long * 2)(int(end), int(end % 1 * 1e9)))
print(time.monotonic() - began)
"""
"""A program that waits in vain by the monotonic clock, as threads of Java do."""


def test_a_process_whose_clock_is_set(clock: ClientClock) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ASKED],
        env={**os.environ, **clock.environ()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ahead() -> tuple[float, float]:
            """Return the seconds by which its clocks are ahead of this process's."""
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            day, steady = map(float, process.stdout.readline().split())
            return day - time.time(), steady - time.monotonic()

        found = [ahead()]
        with clock.set(1800) as fault:
            found.append(ahead())
        with clock.set(-1800):
            found.append(ahead())
        found.append(ahead())
        process.stdin.close()
    assert [day for day, _ in found] == pytest.approx([0, 1800, -1800, 0], abs=20)
    assert [steady for _, steady in found] == pytest.approx([0, 0, 0, 0], abs=20)
    assert (fault.name, fault.optional) == ("client's clock set by +1800 s", True)


@pytest.mark.parametrize("by", [0, 1800, -1800])
@pytest.mark.skipif(sys.platform != "linux", reason="the library is one of Linux here")
def test_waits_by_the_monotonic_clock_last(clock: ClientClock, by: int) -> None:
    with clock.set(by):
        waited = subprocess.check_output(
            [sys.executable, "-c", WAITS], env={**os.environ, **clock.environ()}, timeout=30
        )
    assert float(waited) >= 0.2


def test_a_process_without_the_library(clock: ClientClock) -> None:
    """It is not judged."""
    with pytest.raises(NotClaimed, match="loads no libfaketime"):
        clock.look(os.getpid())


def test_a_program_that_python_runs(clock: ClientClock) -> None:
    """It is not judged, unless it is a Python object."""
    with subprocess.Popen(
        [sys.executable, "-c", ASKED], env={**os.environ, **clock.environ()}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        with pytest.raises(NotClaimed, match="A client that is a Python object can be asked"):
            clock.look(process.pid)
        process.stdin.close()


def test_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The places searched are told."""
    monkeypatch.setattr("vault_harness.local.programs.FAKETIME", ("no/such/folder",))
    with pytest.raises(NotClaimed, match=r"libfaketime was not found.*/no/such/folder"):
        ClientClock(tmp_path, History())


@pytest.mark.parametrize(("content", "of_go"), [(b"x\xff Go buildinf:x", True), (b"ELF", False)])
def test_a_program_of_go(
    content: bytes, of_go: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its build information tells. Go reads the time from the kernel."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "exe").write_bytes(content)
    monkeypatch.setattr(module, "PROC", tmp_path)
    assert module._is_of_go(7) is of_go
