"""The clock of a client's process is set from outside, and its monotonic one left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vault_harness.errors import ProgramMissing
from vault_harness.programs import find_faketime
from vault_harness.scenario import History, NotClaimed
from vault_harness.scenario import _clock as module
from vault_harness.scenario._clock import ClientClock

ASKED = """
import sys, time
for _ in sys.stdin:
    print(time.time(), time.monotonic(), flush=True)
"""


@pytest.fixture
def clock(tmp_path: Path) -> ClientClock:
    """One that nobody has set yet."""
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
"""A wait for nothing, as threads of a virtual machine of Java have it."""


def test_a_process_whose_clock_is_set(clock: ClientClock) -> None:
    """Forward, back, and right again, within one process; its other clock goes on."""
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
            """Seconds by which its clocks are ahead of this process's."""
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
    """A thread that waits for a while does not spin, whatever time of day it is."""
    with clock.set(by):
        waited = subprocess.check_output(
            [sys.executable, "-c", WAITS], env={**os.environ, **clock.environ()}, timeout=30
        )
    assert float(waited) >= 0.2


def test_a_process_without_the_library(clock: ClientClock) -> None:
    """What is not loaded sets no clock, and a scenario that rests on it would prove nothing."""
    with pytest.raises(NotClaimed, match="loads no libfaketime"):
        clock.look(os.getpid())


def test_a_program_that_python_runs(clock: ClientClock) -> None:
    """Its sleeps break; only an object can be run by what mends them."""
    with subprocess.Popen(
        [sys.executable, "-c", ASKED], env={**os.environ, **clock.environ()}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        with pytest.raises(NotClaimed, match="cannot be asked; a client that is a Python object"):
            clock.look(process.pid)
        process.stdin.close()


def test_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names what is missing, and where it was looked for."""
    monkeypatch.setattr("vault_harness.programs.FAKETIME", ("no/such/folder",))
    with pytest.raises(NotClaimed, match=r"no libfaketime here.*/no/such/folder"):
        ClientClock(tmp_path, History())


@pytest.mark.parametrize(("content", "of_go"), [(b"x\xff Go buildinf:x", True), (b"ELF", False)])
def test_a_program_of_go(
    content: bytes, of_go: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Go asks the kernel itself for the time; its build information gives it away."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "exe").write_bytes(content)
    monkeypatch.setattr(module, "PROC", tmp_path)
    assert module._is_of_go(7) is of_go
