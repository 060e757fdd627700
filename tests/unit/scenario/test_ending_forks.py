from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import struct
import time
from collections import deque
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import SettingsError
from vault_harness.judge.plugin import slots
from vault_harness.judge.plugin.item import Tries
from vault_harness.judge.subjects import parse_subject

FORK = multiprocessing.get_context("fork")


class _Hooks:
    """Hooks of a session whose scenarios ignore an interrupt.

    `under_way` is released by each scenario that begins.
    """

    def __init__(self, under_way: Any) -> None:
        self._under_way = under_way

    def pytest_runtest_logstart(self, **_: object) -> None:
        """Ignore the start of a test."""

    def pytest_runtest_protocol(self, **_: object) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            self._under_way.release()
            time.sleep(60)


def session_of(hooks: _Hooks, count: int) -> Any:
    """Return a session with so many items, without printing plugins."""
    plugins = SimpleNamespace(
        register=lambda *_, **__: None,
        unregister=lambda *_, **__: None,
        get_plugin=lambda *_, **__: None,
    )
    config = SimpleNamespace(hook=hooks, pluginmanager=plugins, stash={})
    items = [
        SimpleNamespace(nodeid=f"scenario {number}", location=("", 0, ""), config=config)
        for number in range(count)
    ]
    return SimpleNamespace(config=config, items=items)


def work_of(count: int) -> slots._Work:
    """Return so many items before their first run."""
    return slots._Work(deque(map(slots._Order, range(count))), cores=1.0)


def used(index: int, *, seconds: float, cpu: float, engine: str = "process") -> slots._Order:
    """Return an order whose first run has failed."""
    run = {
        "word": "fail",
        "engine": engine,
        "seconds": seconds,
        "spent": {"cpu": {"subject": cpu, "servers": 0.0}},
    }
    return slots._Order(index, Tries([run]))


def test_confirmations_come_last_and_the_longest_first() -> None:
    work = work_of(2)
    work.unsettled += [used(7, seconds=4.0, cpu=1.0), used(8, seconds=9.0, cpu=1.0)]
    taken = [work.take([]) for _ in range(5)]
    assert [order and order.index for order in taken] == [0, 1, 8, 7, None]


def test_confirmations_use_no_more_than_their_share() -> None:
    """A scenario that needs more than the share runs alone."""
    work = work_of(0)
    work.unsettled += [used(1, seconds=9.0, cpu=18.0), used(2, seconds=5.0, cpu=2.0)]
    two = [used(3, seconds=10.0, cpu=4.0), used(4, seconds=10.0, cpu=4.0)]
    assert work.take(two) is None
    idle = work.take(two[:1])
    assert idle is not None
    assert idle.index == 2
    assert work.take([idle]) is None
    alone = work.take([])
    assert alone is not None
    assert alone.index == 1


def test_servers_in_containers_count_although_nobody_measures_them() -> None:
    seen = {
        engine: used(1, seconds=10.0, cpu=0.1, engine=engine).use
        for engine in ("process", "docker")
    }
    assert seen == {"process": slots.LEAST_USE, "docker": slots.USE}


def test_ctrl_c_twice_while_forks_wait_for_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork without a next scenario ends by itself."""
    under_way = FORK.Semaphore(0)
    session = session_of(_Hooks(under_way), 2)
    begun: list[ForkProcess] = []

    class Forks(slots._Forks):
        def begin(self, others: list[slots._Slot], order: slots._Order) -> slots._Slot:
            made = super().begin(others, order)
            begun.append(made.process)
            return made

    def interrupted(_pipes: object) -> None:
        for _ in session.items:
            assert under_way.acquire(timeout=30)
        raise KeyboardInterrupt

    def terminate(process: ForkProcess) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(process.pid or 0, signal.SIGTERM)

    monkeypatch.setattr(slots, "wait", interrupted)
    monkeypatch.setattr(ForkProcess, "terminate", terminate)
    monkeypatch.setattr(slots, "PATIENCE", 5.0)
    forks = Forks(session, 2, lambda: None, [], None)
    try:
        with pytest.raises(KeyboardInterrupt):
            slots._run(session, work_of(2), forks)
        # A fork that does not end in time would be killed, and its exit code negative.
        assert [process.exitcode for process in begun] == [0, 0]
    finally:
        for process in begun:
            process.kill()


def test_ctrl_c_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while the first fork is ended, and spares no other."""
    begun: list[Any] = []

    def begin(_others: list[Any], order: slots._Order) -> Any:
        ours, _ = multiprocessing.Pipe()
        process = FORK.Process(target=time.sleep, args=(60,))
        process.start()
        begun.append(process)
        return slots._Slot(process, ours, item, order)

    def interrupted(_pipes: object) -> None:
        raise KeyboardInterrupt

    def terminate(process: ForkProcess) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(process.pid or 0, signal.SIGTERM)

    monkeypatch.setattr(slots, "wait", interrupted)
    monkeypatch.setattr(ForkProcess, "terminate", terminate)
    item: Any = None
    session: Any = None
    forks: Any = SimpleNamespace(begin=begin, count=2, postgresql=None)
    try:
        with pytest.raises(KeyboardInterrupt):
            slots._run(session, work_of(3), forks)
        assert [process.is_alive() for process in begun] == [False, False]
    finally:
        for process in begun:
            process.kill()


def test_a_fork_that_is_killed_in_the_middle_of_a_message() -> None:
    """Its scenario has no verdict."""
    ours, theirs = multiprocessing.Pipe()
    os.write(theirs.fileno(), struct.pack("!i", 1000) + b"half of it")  # as a Connection sends it
    theirs.close()
    process = FORK.Process(target=os._exit, args=(9,))
    process.start()
    told: list[pytest.TestReport] = []
    hook = SimpleNamespace(pytest_runtest_logreport=lambda report: told.append(report))
    session: Any = SimpleNamespace(config=SimpleNamespace(hook=hook))
    item: Any = SimpleNamespace(nodeid="test_x.py::test_y", location=("test_x.py", 1, "KV-01 y"))
    slot = slots._Slot(process, ours, item, slots._Order(0))
    assert not slots._hear(session, slot, work_of(0))
    (said,) = [str(report.longrepr) for report in told]
    assert said.startswith("the process that ran it ended with exit code 9\n  what to do: ")
    assert "command:python -m vault_harness.judge.subjects python:" in said


def test_an_import_that_never_ends_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "never_ends.py").write_text("import threading\nthreading.Event().wait(60)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slots, "IMPORT", 0.2)
    with pytest.raises(SettingsError, match=r"has not ended within 0\.2 s"):
        slots.check_apart(parse_subject("python:never_ends:Client"))
    assert multiprocessing.active_children() == []
