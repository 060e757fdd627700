from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import NotUp, SettingsError
from vault_harness.local.stack.record import StackRecord
from vault_harness.settings import resources

Program = Callable[..., Any]  # of conftest.py


@pytest.mark.parametrize("seal", ["shamir", "transit"])
def test_a_dry_run_is_refused_like_the_real_run(
    seal: str, program: Program, tmp_path: Path
) -> None:
    dry = program("seal.migrate", seal, "--dry-run")
    assert list(tmp_path.iterdir()) == []
    real = program("seal.migrate", seal)
    assert dry == real
    assert (dry.code, dry.out) == (NotUp.exit_code, "")
    assert "  what to do: ./dev up" in dry.err


@pytest.mark.parametrize(
    "words",
    [("seal",), ("restart",), ("unseal",), ("seal.migrate", "static"), ("node.kill", "vault-2")],
    ids=" ".join,
)
def test_a_task_that_is_refused_makes_nothing(
    words: tuple[str, ...], program: Program, tmp_path: Path
) -> None:
    assert program(*words).code
    assert list(tmp_path.iterdir()) == []


def test_the_blueprint_that_was_applied_last_is_gone(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package's own blueprint may move with it."""
    data_dir = tmp_path / "vault-data"
    StackRecord(engine="process", blueprint=str(tmp_path / "shop.toml")).save(data_dir)
    for words in (("seed",), ("seed", "--dry-run")):
        ended = program(*words)
        assert ended.code == SettingsError.exit_code
        assert str(tmp_path / "shop.toml") in ended.err
        assert "seed --blueprint FILE" in ended.err
    chosen = ("seed", "--blueprint", str(resources() / "blueprints" / "ecommerce.toml"))
    assert program(*chosen).code == NotUp.exit_code
    monkeypatch.setenv("HARNESS_BLUEPRINT", chosen[-1])
    assert program("seed").code == NotUp.exit_code
    monkeypatch.delenv("HARNESS_BLUEPRINT")
    StackRecord(engine="process", blueprint="/of/before/ecommerce.toml").save(data_dir)
    assert program("seed").code == NotUp.exit_code
