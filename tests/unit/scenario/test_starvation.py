"""For how long processes waited for a core."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from vault_harness.scenario._starvation import ITS_OWN_DOING, Starvation, Turn, turns_of
from vault_harness.scenario.history import History

CORES = 2
SUBJECT = 4711

HOGGED = """
import threading
print("hogs", flush=True)
while True:
    sum(range(100_000))
"""


def starvation(*looks: dict[int, dict[int, Turn]]) -> Starvation:
    """One that is told what each thread of each process has had, look by look."""
    told = iter(looks)
    now: dict[int, dict[int, Turn]] = {}

    def subjects() -> list[int]:
        now.clear()
        now.update(next(told))
        return [SUBJECT]

    def turns(process: int) -> dict[int, Turn]:
        return now.get(process, {})

    return Starvation(History(), subjects, turns=turns, cores=CORES)


def test_nothing_is_known_at_first() -> None:
    """What was before the scenario is no matter of it."""
    assert starvation({SUBJECT: {1: Turn(3.0, 4.0)}}).look(1.0) == 0.0


def test_waits_of_threads_add_up() -> None:
    """One after the other may have been what a call waited for."""
    looks = starvation(
        {SUBJECT: {1: Turn(3.0, 4.0), 2: Turn(0.0, 0.5)}},
        {SUBJECT: {1: Turn(3.1, 4.2), 2: Turn(0.1, 0.6), 3: Turn(0.0, 9.0)}},
    )
    looks.look(1.0)
    assert looks.look(1.0) == pytest.approx(0.3), "of the threads that it had before"


def test_no_more_than_the_time_that_passed() -> None:
    """Ten threads that wait at once do not make ten seconds of one."""
    looks = starvation(
        {SUBJECT: {n: Turn(0.0, 0.0) for n in range(10)}},
        {SUBJECT: {n: Turn(0.0, 0.9) for n in range(10)}},
    )
    looks.look(1.0)
    assert looks.look(1.0) == 1.0


@pytest.mark.parametrize(
    ("ran", "waited"), [(ITS_OWN_DOING - 0.01, 0.6), (ITS_OWN_DOING + 0.01, 0.0)]
)
def test_process_that_takes_all_cores_starves_itself(ran: float, waited: float) -> None:
    """From half of all there are on, nobody else is to blame."""
    looks = starvation(
        {SUBJECT: {1: Turn(0.0, 0.0)}},
        {SUBJECT: {1: Turn(ran * CORES, 0.6)}},
    )
    looks.look(1.0)
    assert looks.look(1.0) == pytest.approx(waited)


def test_process_that_is_gone() -> None:
    """It waits no more; one that comes after it is as new as the first was."""
    looks = starvation(
        {SUBJECT: {1: Turn(0.0, 0.0)}}, {SUBJECT: {}}, {SUBJECT: {1: Turn(5.0, 5.0)}}
    )
    assert [looks.look(1.0) for _ in range(3)] == [0.0, 0.0, 0.0]


# On this machine


def test_process_that_nobody_knows() -> None:
    """It may have ended a moment ago."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert turns_of(ended.pid) == {}


@contextmanager
def hogs(count: int, *command: str) -> Iterator[list[int]]:
    """So many programs that want a core all the time, each begun by now; their ids."""
    processes = [
        subprocess.Popen(
            [*command, sys.executable, "-c", HOGGED],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def one_core() -> Iterator[None]:
    """What is begun in the test has one core of all that there are."""
    if not turns_of(os.getpid()):
        pytest.skip("this kernel does not tell for how long threads wait for a core")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("one_core")
def test_two_that_want_one_core() -> None:
    """Each waits while the other runs, which the kernel counts, and the history has."""
    history = History()
    with hogs(2) as pids, Starvation(history, lambda: pids[:1]):
        history.wait_for(lambda: False, 0.1)
        until = time.monotonic() + 30.0
        while not history.starved and time.monotonic() < until:
            threading.Event().wait(0.05)
    starved = history.starved[0]
    assert 0.0 < starved.waited <= starved.until - starved.at


@pytest.mark.usefixtures("one_core")
def test_children_are_of_their_process() -> None:
    """A shell waits for nothing itself."""
    shell = ("/bin/sh", "-c", '"$@"; exit', "sh")
    with hogs(1, *shell) as (pid,):
        before = len(turns_of(pid))
    assert before == 2, "the shell, and what it runs"


def test_own_children_are_others() -> None:
    """Servers and subjects are begun here; each is asked about by its own id, if at all."""
    with hogs(1) as (pid,):
        assert pid not in turns_of(os.getpid())
