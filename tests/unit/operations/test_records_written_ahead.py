"""What a task writes down before it acts is read by the next run."""

from __future__ import annotations

import json
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from vault_harness.errors import StackError
from vault_harness.local.written_ahead import WrittenAhead


@dataclass
class Deed:
    name: str
    step: int = 0


def refused(file: Path) -> StackError:
    return StackError("it is no record", looked_at=str(file), remedy="move it away")


def test_what_was_written_is_read_until_it_is_removed(tmp_path: Path) -> None:
    """Removing it twice is harmless."""
    file = tmp_path / "records" / "deed.json"
    record = WrittenAhead(file, Deed, refused, format=1)
    assert record.read() is None
    record.write(asdict(Deed("rotate", 2)))
    assert record.read() == Deed("rotate", 2)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    record.remove()
    record.remove()
    assert record.read() is None


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "7", '{"name": "rotate"}', '{"format": 2, "name": "rotate"}']
    + [json.dumps({"format": 1, **fields}) for fields in ({}, {"name": "rotate", "more": 1})],
)
def test_a_file_that_is_no_record(tmp_path: Path, content: str) -> None:
    """It is refused, or counts as none where that is harmless."""
    file = tmp_path / "deed.json"
    file.write_text(content)
    with pytest.raises(StackError, match="no record"):
        WrittenAhead(file, Deed, refused, format=1).read()
    assert WrittenAhead(file, Deed, format=1).read() is None
    assert file.read_text() == content
