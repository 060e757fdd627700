from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.unit.cli.conftest import Program
from vault_harness.cli import steady as steady_module


def journal(word: str, **more: Any) -> str:
    one = {"id": "KV-01", "promise": "p", "severity": "low", "word": word, "seconds": 1.0}
    head = {"schema_version": 2, "suite_version": "0.1.0", "complete": True, "summary": ""}
    head |= {"subject": "reference", "engine": "process", "scenarios": [{**one, "why": ""}]}
    return json.dumps({**head, "seconds": 2.0, **more})


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The journal that an interrupted call left."""
    file = tmp_path / "report" / "run-1" / "journal.json"
    file.parent.mkdir(parents=True)
    file.write_text(journal("fail"))
    return file


def ends(monkeypatch: pytest.MonkeyPatch, code: int, file: Path, text: str | None = None) -> None:
    """Let each run end with this code and replace its journal by `text`."""

    def run(*_: object, **__: object) -> int:
        if text is not None:
            file.unlink()
            file.write_text(text + "\n")
        return code

    monkeypatch.setattr(steady_module, "run_child", run)


@pytest.mark.parametrize(
    ("code", "text"), [(4, None), (3, None), (4, journal("pass")), (130, journal("", seconds=None))]
)
def test_an_older_journal_is_no_verdict_of_the_run(
    code: int, text: str | None, left: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None and code == 130:
        begun = json.loads(text)
        del begun["seconds"]
        text = json.dumps({**begun, "scenarios": []})
    ends(monkeypatch, code, left, text)
    ended = program("steady", "1")
    assert f"run 1 came to no verdict: pytest ended with exit code {code}" in ended.err
    assert ended.code == 4
    assert left.exists()


def test_a_run_that_was(left: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(monkeypatch, 0, left, journal("pass"))
    assert "1 of 1 runs alike" in program("steady", "1").out


def test_ctrl_c_does_not_reach_what_keeps_the_cores_busy() -> None:
    before = set(psutil.Process().children())
    with steady_module._busy(2):
        busy = set(psutil.Process().children()) - before
        assert len(busy) == 2
        assert os.getpgrp() not in {os.getpgid(child.pid) for child in busy}
    assert not any(child.is_running() for child in busy)


def test_a_folder_that_cannot_be_written(program: Program, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = program("steady", "1", "--to", "file")
    assert (ended.code, "Traceback" in ended.err) == (3, False), ended
