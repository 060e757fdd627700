from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from tests.unit.cli.conftest import Program
from vault_harness.cli import backup as drill_module
from vault_harness.errors import EngineError
from vault_harness.local.engine import choice
from vault_harness.settings import Settings


@pytest.mark.parametrize("name", ["process", "docker"])
def test_the_copy_is_where_the_stack_is(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """With ``auto`` the drill would choose processes, whose holder containers cannot reach."""
    stack = SimpleNamespace(
        settings=Settings(engine="auto", data_dir=tmp_path / "data"),
        data_dir=tmp_path / "data",
        provider=lambda: SimpleNamespace(name=name),
        held=contextlib.nullcontext,
        operator=lambda: SimpleNamespace(close=lambda: None),
    )
    opened: list[str] = []

    def open_engine(settings: Settings, **_: object) -> NoReturn:
        opened.append(settings.engine)
        raise EngineError("as far as this test goes")

    monkeypatch.setattr(drill_module, "local_stack", lambda: stack)
    monkeypatch.setattr(choice, "open_engine", open_engine)

    ended = program("drill")

    assert opened == [name], ended.err
    assert "as far as this test goes" in ended.err
