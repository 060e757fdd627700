from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

import pytest

from vault_harness.recorder import beats
from vault_harness.recorder.history import History
from vault_harness.recorder.witness import Witness
from vault_harness.waiting import wait_until

SECONDS = 30.0

HOG = """
import os
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
while True:
    pass
"""


def wait_for_entries(witness: Witness, since: float) -> None:
    """Wait until the witness has written an entry about a later time."""
    wait_until(
        lambda: (
            beats.ENTRY.size <= witness._file.stat().st_size
            and any(one[0] > since for one in beats.ENTRY.iter_unpack(witness._file.read_bytes()))
        ),
        what="an entry of the witness",
        timeout=SECONDS,
    )


def test_it_sees_a_machine_that_stood_still() -> None:
    """The witness itself is stopped."""
    with Witness() as witness:
        began = time.monotonic()
        wait_for_entries(witness, began)
        assert witness._process is not None
        witness._process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)  # the stall
        witness._process.send_signal(signal.SIGCONT)
        wait_for_entries(witness, time.monotonic())
        seen = witness.seen(began, time.monotonic(), clock=began)
    longest = max(stall.length for stall in seen.stalls)
    assert longest == pytest.approx(0.5, abs=0.4)
    assert all(0.0 < stall.at < SECONDS for stall in seen.stalls)


def test_process_that_holds_its_interpreter() -> None:
    with Witness() as witness:
        history = History(witness=witness)
        wait_for_entries(witness, time.monotonic())
        ctypes.PyDLL(None).usleep(900_000)
        wait_for_entries(witness, time.monotonic())
        assert history.lateness() < 0.8


@pytest.mark.skipif(not os.path.exists("/proc/loadavg"), reason="the machine does not tell")  # noqa: PTH110
def test_it_counts_programs_that_want_a_core() -> None:
    """They count for all cores."""
    cores = os.cpu_count() or 1
    with Witness() as witness:
        hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(4 * cores)]
        try:
            wait_until(
                lambda: witness.seen(time.monotonic() - 0.5, time.monotonic()).wanted > 2.0,
                what="four programs for each core",
                timeout=SECONDS,
            )
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()


def test_it_ends_with_its_run() -> None:
    with Witness() as witness:
        assert witness._process is not None
        process, file = witness._process, witness._file
    assert process.returncode is not None
    assert not file.exists()


def test_it_ends_with_a_run_that_is_killed() -> None:
    code = (
        "import sys, time\n"
        "from vault_harness.recorder.witness import Witness\n"
        "with Witness() as witness:\n"
        "    print(witness._process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    pid = int(run.stdout.readline())
    run.kill()
    run.communicate()
    wait_until(lambda: not _lives(pid), what="the end of the witness", timeout=SECONDS)


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - no file on disk
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_file_that_is_gone() -> None:
    """The witness has seen nothing."""
    with Witness() as witness:
        witness._file.unlink()
        seen = witness.seen(0.0, time.monotonic())
    assert (seen.stalls, seen.wanted) == ([], 0.0)
