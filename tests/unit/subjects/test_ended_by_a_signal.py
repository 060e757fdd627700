"""Whom SIGTERM alone is to end has ended when its process has, and not when it says no more."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from scenarios.test_tok import _end_by_a_signal
from vault_harness.scenario import Finding, History


class RunsOn:
    """A program that has closed its output, so that nobody can ask it, and takes no SIGTERM."""

    kind = "command"

    def __init__(self) -> None:
        command = ["sh", "-c", "trap '' TERM; echo ready; exec sleep 60 >/dev/null"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        self.pid = self.process.pid
        assert self.process.stdout is not None
        with self.process.stdout as output:
            output.readline()

    @property
    def exit_code(self) -> int | None:
        return self.process.poll()

    def is_alive(self) -> bool:
        return False

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def test_one_that_runs_on_is_found() -> None:
    """Its output is closed, and its process is there still."""
    subject, found = RunsOn(), list[Finding]()
    # Less than no deadline, so that it is waited for no longer than half a second.
    lab: Any = SimpleNamespace(history=History(), deadline=-4.5, note=found.append)
    try:
        _end_by_a_signal(lab, SimpleNamespace(subject=subject, closed=False))  # type: ignore[arg-type]
    finally:
        subject.kill()
    assert [one.promise for one in found] == ["SIGTERM alone ends it"]


class Ended:
    """A program that is no more, whose number may be another's by now."""

    kind = "command"
    pid = 2**22 + 1  # more than there are
    exit_code = 0

    def __init__(self) -> None:
        self.told = 0

    def terminate(self) -> None:
        self.told += 1


def test_who_has_ended_by_itself_has_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be another program's by then: the signal goes to the process that was started."""
    sent: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda number, _: sent.append(number))
    subject = Ended()
    lab: Any = SimpleNamespace(history=History(), deadline=0.0)
    _end_by_a_signal(lab, SimpleNamespace(subject=subject, closed=False))  # type: ignore[arg-type]
    assert (sent, subject.told) == ([], 1)
