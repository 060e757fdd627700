"""What the tasks remember of a stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.engine import Endpoints, Record
from vault_harness.errors import StackError

ENDPOINTS = Endpoints(
    vault="http://127.0.0.1:1",
    toxiproxy="http://127.0.0.1:2",
    proxy="http://127.0.0.1:3",
    proxy_listen="127.0.0.1:3",
    proxy_upstream="127.0.0.1:1",
)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    """Saved and loaded, nothing is lost."""
    record = Record(
        engine="process",
        choice="asked for",
        endpoints=ENDPOINTS,
        services={"vault": {"pid": 1, "born": 2.5}},
        seeded="ecommerce",
        blueprint="/x.toml",
    )
    record.save(tmp_path)

    assert Record.load(tmp_path) == record
    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600


def test_nothing_there_is_an_empty_record(tmp_path: Path) -> None:
    """Before the first `up` there is nothing to remember."""
    assert Record.load(tmp_path) == Record()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"endpoints": {"vault": 1}}'])
def test_a_broken_record_is_an_error_with_a_remedy(tmp_path: Path, text: str) -> None:
    """A half-written or foreign file is named, and how to get rid of it."""
    (tmp_path / "stack.json").write_text(text)

    with pytest.raises(StackError, match=r"stack\.json cannot be read"):
        Record.load(tmp_path)
