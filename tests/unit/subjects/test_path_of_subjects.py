"""In a checkout ``python`` is the one of ``.venv``, unless another environment is active."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from vault_harness.judge.subjects import parse_subject, process

OURS = str(Path(sys.prefix) / "bin")


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a folder with another Python on PATH."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", "/elsewhere")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    return python


@pytest.mark.usefixtures("others")
def test_in_a_checkout() -> None:
    assert parse_subject("command:python -m mine").command[0] == f"{OURS}/python"
    assert process.surroundings({})["PATH"].split(os.pathsep)[0] == OURS


def test_in_an_environment_of_ones_own(others: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", str(others.parent))
    assert parse_subject("command:python -m mine").command[0] == str(others)


def test_without_a_checkout(others: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "checkout", lambda: None)
    assert parse_subject("command:python -m mine").command[0] == str(others)
    assert process.surroundings({})["PATH"] == str(others.parent)
