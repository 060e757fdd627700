"""A data directory that may not be read, or is none: told as that, and not as what is in it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vault_harness.engine import seal_stanza
from vault_harness.errors import SettingsError

Program = Callable[..., Any]  # of conftest.py

TASKS = [("up",), ("unseal",), ("seal.migrate", "shamir"), ("status",), ("doctor",), ("destroy",)]


@pytest.fixture
def not_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A stack that somebody else started, as by sudo: none of its files may be read."""
    data_dir = tmp_path / "vault-data"
    data_dir.mkdir()
    (data_dir / "stack.json").write_text("{}")
    read = Path.read_text

    def read_text(path: Path, *given: Any, **named: Any) -> str:
        if path.is_relative_to(data_dir):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path, *given, **named)

    monkeypatch.setattr(Path, "read_text", read_text)
    return data_dir


@pytest.mark.parametrize("words", TASKS[:-1], ids=" ".join)
def test_one_that_may_not_be_read(words: tuple[str, ...], program: Program, not_ours: Path) -> None:
    """Nothing is known of what it holds: no newer program wrote it, and no file is to be moved."""
    ended = program(*words)
    assert ended.code == 1
    assert f"{not_ours}/" in ended.err
    assert "Permission denied" in ended.err
    assert "run it as the owner" in ended.err
    assert "newer program" not in ended.err
    assert "move" not in ended.err


def test_a_seal_that_may_not_be_read(not_ours: Path) -> None:
    """It is not told to be no seal, which somebody would remove."""
    with pytest.raises(PermissionError):
        seal_stanza(not_ours)


@pytest.mark.parametrize("words", [*TASKS, ("restart",)], ids=" ".join)
@pytest.mark.parametrize("below", ["", "deeper/vault-data"])
def test_one_that_is_a_file(
    words: tuple[str, ...],
    below: str,
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The setting is wrong, and it is said which file is in the way; the file stays."""
    file = tmp_path / "a-file"
    file.write_text("mine")
    monkeypatch.setenv("HARNESS_DATA_DIR", str(file / below))
    more = ("--yes",) if words == ("destroy",) else ()
    ended = program(*words, *more)
    assert ended.code == SettingsError.exit_code, ended
    assert f"{file} is a file" in ended.err
    assert "HARNESS_DATA_DIR" in ended.err
    assert file.read_text() == "mine"
