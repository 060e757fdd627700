"""Forks of a run that is broken off: none is left that nobody ends."""

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
from vault_harness.plugin import _slots
from vault_harness.subjects import parse_subject

FORK = multiprocessing.get_context("fork")


class _Hooks:
    """Of a session whose scenarios take an interrupt for something else, as a client may.

    Args:
        under_way: Released by each that begins.
    """

    def __init__(self, under_way: Any) -> None:
        self._under_way = under_way

    def pytest_runtest_logstart(self, **_: object) -> None:
        """Nobody is told."""

    def pytest_runtest_protocol(self, **_: object) -> None:
        """Wait to be told to end, and say nothing of it."""
        with contextlib.suppress(KeyboardInterrupt):
            self._under_way.release()
            time.sleep(60)


def session_of(hooks: _Hooks, count: int) -> Any:
    """A session with so many items, and with no plugin that prints."""
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


def test_ctrl_c_twice_while_forks_wait_for_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to end, each goes on to what comes next: there is nothing, and it ends by itself."""
    under_way = FORK.Semaphore(0)
    session = session_of(_Hooks(under_way), 2)
    begun: list[ForkProcess] = []

    class Forks(_slots._Forks):
        def begin(self, others: list[_slots._Slot]) -> _slots._Slot:
            made = super().begin(others)
            begun.append(made.process)
            return made

    def interrupted(_pipes: object) -> None:
        for _ in session.items:
            assert under_way.acquire(timeout=30)
        raise KeyboardInterrupt

    def terminate(process: ForkProcess) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(process.pid or 0, signal.SIGTERM)

    monkeypatch.setattr(_slots, "wait", interrupted)
    monkeypatch.setattr(ForkProcess, "terminate", terminate)
    monkeypatch.setattr(_slots, "PATIENCE", 5.0)
    forks = Forks(session, 2, lambda: None, [], None)
    try:
        with pytest.raises(KeyboardInterrupt):
            _slots._run(session, deque(enumerate(session.items)), forks)
        # Whoever is waited for in vain is killed, and so ends by a signal.
        assert [process.exitcode for process in begun] == [0, 0]
    finally:
        for process in begun:
            process.kill()


def test_ctrl_c_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes while the first fork is told to end: the others are told so too."""
    begun: list[Any] = []

    def begin(_others: list[Any]) -> Any:
        ours, _ = multiprocessing.Pipe()
        process = FORK.Process(target=time.sleep, args=(60,))
        process.start()
        begun.append(process)
        return _slots._Slot(process, ours)

    def interrupted(_pipes: object) -> None:
        raise KeyboardInterrupt

    def terminate(process: ForkProcess) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(process.pid or 0, signal.SIGTERM)

    monkeypatch.setattr(_slots, "wait", interrupted)
    monkeypatch.setattr(ForkProcess, "terminate", terminate)
    session: Any = None
    forks: Any = SimpleNamespace(begin=begin, count=2, postgresql=None)
    items: Any = deque([(0, None), (1, None), (2, None)])
    try:
        with pytest.raises(KeyboardInterrupt):
            _slots._run(session, items, forks)
        assert [process.is_alive() for process in begun] == [False, False]
    finally:
        for process in begun:
            process.kill()


def test_a_fork_that_is_killed_in_the_middle_of_a_message() -> None:
    """Its scenario has no verdict, which is told; the others go on."""
    ours, theirs = multiprocessing.Pipe()
    os.write(theirs.fileno(), struct.pack("!i", 1000) + b"half of it")  # as a Connection sends it
    theirs.close()
    process = FORK.Process(target=os._exit, args=(9,))
    process.start()
    told: list[pytest.TestReport] = []
    hook = SimpleNamespace(pytest_runtest_logreport=lambda report: told.append(report))
    session: Any = SimpleNamespace(config=SimpleNamespace(hook=hook))
    item: Any = SimpleNamespace(nodeid="test_x.py::test_y", location=("test_x.py", 1, "KV-01 y"))
    assert not _slots._hear(session, _slots._Slot(process, ours, item))
    (said,) = [str(report.longrepr) for report in told]
    assert said.startswith("the process that ran it ended with exit code 9\n  what to do: ")
    assert "command:python -m vault_harness.subjects python:" in said


def test_an_import_that_never_ends_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for something that is not there, and a run would wait for it, and say nothing."""
    (tmp_path / "never_ends.py").write_text("import threading\nthreading.Event().wait(60)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_slots, "IMPORT", 0.2)
    with pytest.raises(SettingsError, match=r"has not ended within 0\.2 s"):
        _slots.check_apart(parse_subject("python:never_ends:Client"))
    assert multiprocessing.active_children() == []
