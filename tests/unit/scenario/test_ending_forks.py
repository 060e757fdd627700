"""Forks of a run that is broken off: none is left that nobody ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import time
from collections import deque
from multiprocessing.context import ForkProcess
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.plugin import _slots

FORK = multiprocessing.get_context("fork")


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
    assert [str(report.longrepr) for report in told] == [
        "the process that ran it ended with exit code 9"
    ]
