"""What `heal` tells where it cannot do all of it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.cli import _break
from vault_harness.errors import KeyringMissing

Program = Callable[..., Any]  # of conftest.py


def _stack(undone: list[str], *, sealed: bool, unseal: Callable[[], None]) -> Callable[[], Any]:
    status = SimpleNamespace(sealed=sealed, nodes=())
    return lambda: SimpleNamespace(heal=lambda: list(undone), status=lambda: status, unseal=unseal)


def _no_keys() -> None:
    raise KeyringMissing("no keys", looked_at="init.json", remedy="restore.keys")


@pytest.mark.parametrize("undone", [["removed toxic by-hand"], []], ids=["a toxic", "nothing"])
def test_keys_are_not_here(
    undone: list[str], program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was undone is told before it ends with what was not; nothing else is promised."""
    monkeypatch.setattr(_break, "local_stack", _stack(undone, sealed=True, unseal=_no_keys))
    ended = program("heal")
    assert ended.code == KeyringMissing.exit_code
    assert ended.out.splitlines() == undone
    assert "no keys" in ended.err


@pytest.mark.parametrize(
    ("undone", "sealed", "says"),
    [
        ([], False, ["nothing was broken"]),
        ([], True, ["unsealed Vault"]),
        (["one", "two"], False, ["one", "two"]),
        (["one", "two"], True, ["one", "two", "unsealed Vault"]),
    ],
)
def test_all_of_it(
    undone: list[str],
    sealed: bool,
    says: list[str],
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line for each thing; one too where there was none."""
    monkeypatch.setattr(_break, "local_stack", _stack(undone, sealed=sealed, unseal=lambda: None))
    assert program("heal").out.splitlines() == says
