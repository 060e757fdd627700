from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.cli import operator
from vault_harness.errors import StackError
from vault_harness.local.stack.opening import Unsealed

Program = Callable[..., Any]  # of conftest.py


def _of(done: Unsealed) -> Callable[[], Any]:
    return lambda: SimpleNamespace(
        migrations=SimpleNamespace(pending=lambda: None), unseal=lambda: done, data_dir="vault-data"
    )


@pytest.mark.parametrize(
    ("done", "says"),
    [
        (Unsealed(opened=("vault",)), "Vault is unsealed"),
        (Unsealed(before=("vault",)), "Vault is unsealed"),
        (
            Unsealed(opened=("vault", "vault-2"), before=("vault-3",)),
            "Vault is unsealed: opened vault, vault-2; vault-3 served before",
        ),
        (
            Unsealed(before=("vault", "vault-2")),
            "Vault is unsealed: none was sealed; vault, vault-2 served before",
        ),
    ],
)
def test_which_were_opened(
    done: Unsealed, says: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single node is called Vault."""
    monkeypatch.setattr(operator, "local_stack", _of(done))
    ended = program("unseal")
    assert (ended.code, ended.out) == (0, f"{says}\n")


def test_which_did_not_answer(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may still be sealed."""
    done = Unsealed(opened=("vault",), silent=("vault-2", "vault-3"))
    monkeypatch.setattr(operator, "local_stack", _of(done))
    ended = program("unseal")
    assert ended.code == StackError.exit_code
    assert ended.out == "Vault is unsealed: opened vault\n"
    assert "vault-2 and vault-3 did not answer" in ended.err
    assert "./dev up" in ended.err
