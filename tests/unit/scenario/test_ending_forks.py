"""Forks of a run that is broken off: none is left that nobody ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
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
