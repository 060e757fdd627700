from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.cli import breaking
from vault_harness.errors import KeyringMissing, StackError
from vault_harness.local.stack.opening import Unsealed

Program = Callable[..., Any]  # of conftest.py


def _stack(undone: list[str], *, sealed: bool, unseal: Callable[[], Unsealed]) -> Callable[[], Any]:
    status = SimpleNamespace(sealed=sealed, nodes=())
    return lambda: SimpleNamespace(
        heal=lambda: list(undone), status=lambda: status, unseal=unseal, data_dir="vault-data"
    )


def _no_keys() -> Unsealed:
    raise KeyringMissing("no keys", looked_at="init.json", remedy="restore.keys")


def _opened() -> Unsealed:
    return Unsealed(opened=("vault",))


@pytest.mark.parametrize("undone", [["removed toxic by-hand"], []], ids=["a toxic", "nothing"])
def test_keys_are_not_here(
    undone: list[str], program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaking, "local_stack", _stack(undone, sealed=True, unseal=_no_keys))
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
    monkeypatch.setattr(breaking, "local_stack", _stack(undone, sealed=sealed, unseal=_opened))
    assert program("heal").out.splitlines() == says


def test_a_node_that_did_not_answer(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may still be sealed."""

    def unseal() -> Unsealed:
        return Unsealed(opened=("vault",), before=("vault-2",), silent=("vault-3",))

    monkeypatch.setattr(breaking, "local_stack", _stack([], sealed=True, unseal=unseal))
    ended = program("heal")
    assert ended.code == StackError.exit_code
    assert "vault-3 did not answer" in ended.err
