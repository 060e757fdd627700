"""Who delivers secret-ids beside a scenario says so when there are none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scenarios.test_sid import _one_for_each_turn
from vault_harness.errors import OperatorError
from vault_harness.files import write_private


def test_a_postman_who_can_make_none_is_heard() -> None:
    """Its client would have to log in with a spent one, and fail for that."""

    def new_secret_id() -> None:
        raise OperatorError("Vault does not answer")

    lab: Any = SimpleNamespace(new_secret_id=new_secret_id, ttl=8.0)
    with pytest.raises(OperatorError, match="does not answer"), _one_for_each_turn(lab):
        pass


def test_a_file_no_younger_than_the_one_before(tmp_path: Path) -> None:
    """Another content, and the same time of modification."""
    file = tmp_path / "secret-id"
    write_private(file, "one")
    before = file.stat().st_mtime_ns - 10**9
    write_private(file, "two", modified_ns=before)
    assert (file.read_text(encoding="ascii"), file.stat().st_mtime_ns) == ("two", before)
