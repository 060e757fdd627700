from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from vault_harness import files
from vault_harness.local.engine.logs import lines


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A sparse log of 64 MiB with three lines at its end."""
    path = tmp_path / "audit.log"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
        file.seek(0, 2)
        file.write("\none\ntwo\ndrei: ü".encode())
    return path


@pytest.mark.parametrize(("count", "expected"), [(1, ["drei: ü"]), (2, ["two", "drei: ü"])])
def test_only_the_end_is_read(log: Path, count: int, expected: list[str]) -> None:
    tracemalloc.start()
    try:
        assert list(lines(log, tail=count)) == expected
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * 1024 * 1024


@pytest.mark.parametrize("ends", ["", "\n"])
def test_a_short_one_is_read_whole(tmp_path: Path, ends: str) -> None:
    """Its last line may be incomplete."""
    path = tmp_path / "vault.log"
    path.write_text(f"one\n{'x' * 70_000}\nthree{ends}")
    whole = ["one", "x" * 70_000, "three"]
    assert files.tail(path, 12).splitlines() == whole
    assert files.tail(path, 2).splitlines() == whole[1:]
    assert list(lines(path)) == whole
    assert files.tail(path) == path.read_text()


def test_a_missing_log_has_no_lines(tmp_path: Path) -> None:
    assert list(lines(tmp_path / "none")) == list(lines(tmp_path / "none", tail=3)) == []
