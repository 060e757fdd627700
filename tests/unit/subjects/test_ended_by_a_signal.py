"""A client is ended by SIGTERM when its process has ended, not when its output has."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from scenarios.test_tok import _end_by_a_signal
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import History


class RunsOn:
    """A program that has closed its output and ignores SIGTERM."""

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


def test_a_process_that_survives_sigterm_is_found() -> None:
    subject, found = RunsOn(), list[Finding]()
    # A negative deadline shortens the wait to half a second.
    lab: Any = SimpleNamespace(history=History(), deadline=-4.5, note=found.append)
    try:
        _end_by_a_signal(lab, SimpleNamespace(subject=subject, closed=False))  # type: ignore[arg-type]
    finally:
        subject.kill()
    assert [one.promise for one in found] == ["SIGTERM alone ends it"]


class Ended:
    """A program that has ended, whose process id may belong to another one."""

    kind = "command"
    pid = 2**22 + 1  # above every process id
    exit_code = 0

    def __init__(self) -> None:
        self.told = 0

    def terminate(self) -> None:
        self.told += 1


def test_a_signal_is_not_sent_to_a_former_process_id(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda number, _: sent.append(number))
    subject = Ended()
    lab: Any = SimpleNamespace(history=History(), deadline=0.0)
    _end_by_a_signal(lab, SimpleNamespace(subject=subject, closed=False))  # type: ignore[arg-type]
    assert (sent, subject.told) == ([], 1)
