from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from vault_harness.cli import run


@dataclass(frozen=True)
class Ended:
    """How a command line ended; `became` is the program that replaced this process."""

    code: object
    out: str
    err: str
    became: tuple[str, ...] = ()


Program = Callable[..., Ended]

LOCAL_STACK = "vault_harness.local.stack.local.LocalStack"
"""For tests that give the tasks a stack of their own."""


class _Became(BaseException):
    """Stands for `os.execv`, which ends this process."""


@pytest.fixture
def program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Program:
    """Run a command line in an empty project: ``program("unlock", "backend")``."""
    monkeypatch.setenv("HARNESS_RUNNER", "./dev")
    monkeypatch.setenv("HARNESS_DATA_DIR", str(tmp_path / "vault-data"))
    monkeypatch.setenv("HARNESS_ENGINE", "process")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine-here")
    monkeypatch.chdir(tmp_path)
    became: list[tuple[str, ...]] = []

    def execv(_: str, words: list[str]) -> None:
        became.append(tuple(words))
        raise _Became

    def no_process(*_: object, **__: object) -> None:
        raise AssertionError("a task began a process")

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(subprocess, "Popen", no_process)

    def call(*words: str) -> Ended:
        became.clear()
        monkeypatch.setattr(sys, "argv", ["vault-harness"])
        code: object = 0
        try:
            run(words)
        except SystemExit as ended:
            code = ended.code
        except _Became:
            pass
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err, became[0] if became else ())

    return call
