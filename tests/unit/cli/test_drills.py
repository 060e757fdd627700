from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from invoke.context import Context

from tests.unit.cli.conftest import LOCAL_STACK, Program
from vault_harness.cli import backup as drill_module
from vault_harness.errors import EngineError, EngineUnavailable
from vault_harness.local.engine import choice
from vault_harness.settings import Settings


def test_the_engine_has_no_part_in_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder holds access keys, and ends with the servers."""
    opened: list[Path] = []
    stack: Any = SimpleNamespace(
        settings=Settings(),
        data_dir=tmp_path / "data",
        provider=lambda: SimpleNamespace(name="process"),
        held=contextlib.nullcontext,
        operator=lambda: SimpleNamespace(close=lambda: None),
    )

    def open_engine(_settings: object, *, directory: Path, outward: bool) -> None:
        assert not outward
        opened.append(directory)
        raise EngineUnavailable("far enough", looked_at="", remedy="")

    monkeypatch.setattr(LOCAL_STACK, lambda _: stack)
    monkeypatch.setattr("vault_harness.local.engine.choice.open_engine", open_engine)
    for keep in (None, str(tmp_path / "kept")):
        with pytest.raises(SystemExit):
            drill_module.drill(Context(), keep=keep)
    assert len(opened) == 2
    assert not [directory for directory in opened if directory.is_relative_to(tmp_path / "kept")]
    assert not [directory for directory in opened if directory.exists()]


def test_the_output_says_that_keys_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack: Any = SimpleNamespace(settings=Settings(), data_dir=tmp_path / "data", held=_refuse)
    monkeypatch.setattr(LOCAL_STACK, lambda _: stack)
    with pytest.raises(SystemExit):
        drill_module.drill(Context(), keep=str(tmp_path / "kept"))
    told = capsys.readouterr().out
    assert f"{tmp_path / 'kept'}/" in told
    assert "unseal keys and tokens" in told
    with pytest.raises(SystemExit):
        drill_module.drill(Context())
    assert capsys.readouterr().out == ""


def _refuse() -> None:
    raise EngineUnavailable("far enough")


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

    monkeypatch.setattr(LOCAL_STACK, lambda _: stack)
    monkeypatch.setattr(choice, "open_engine", open_engine)

    ended = program("drill")

    assert opened == [name], ended.err
    assert "as far as this test goes" in ended.err
