from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vault_harness.cli.judge import ADAPTERS

Program = Callable[..., Any]  # of conftest.py


@pytest.mark.parametrize("language", ADAPTERS)
def test_the_last_line_is_the_next_command(language: str, program: Program, tmp_path: Path) -> None:
    ended = program("subject", "new", language)
    assert (ended.code, ended.err) == (0, "")
    assert (tmp_path / ADAPTERS[language][0]).is_file()
    assert ended.out.splitlines()[-1].startswith("next: ./dev subject.check ")


def test_a_file_that_is_there(program: Program, tmp_path: Path) -> None:
    mine = tmp_path / "vault_adapter.py"
    mine.write_text("mine")
    ended = program("subject.new", "python")
    assert (ended.code, mine.read_text()) == (4, "mine")
    assert "vault_adapter.py is here already" in ended.err


def test_another_language(program: Program, tmp_path: Path) -> None:
    ended = program("subject", "new", "cobol")
    assert (ended.code, list(tmp_path.iterdir())) == (4, [])
    assert "name one of python, go, node, java" in ended.err


def test_a_check_for_which_there_is_no_server(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check is skipped, and the run reports what is missing."""
    monkeypatch.setenv("HARNESS_VAULT_BINARY", "/nowhere")
    assert program("judge", "--subject", "command:true").became
