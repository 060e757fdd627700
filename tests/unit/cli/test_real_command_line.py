"""``vault --`` runs the real command line with this stack's address only."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.cli import operator as vault_module
from vault_harness.local import programs
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.settings import Settings

Program = Callable[..., Any]  # of conftest.py


def test_the_ca_file_of_an_earlier_stack_is_dropped(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """This stack speaks plain HTTP."""
    given: dict[str, str] = {}

    def execve(_: str, __: list[str], environment: Mapping[str, str]) -> None:
        given.update(environment)
        raise SystemExit(0)

    def stack() -> Any:
        return SimpleNamespace(
            settings=Settings.from_environment(),
            operator=lambda *, there: VaultAdmin("http://127.0.0.1:1", "a-token"),  # noqa: ARG005 -- its shape
        )

    monkeypatch.setenv("VAULT_CACERT", str(tmp_path / "of-an-earlier-stack.pem"))
    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(vault_module, "local_stack", stack)
    monkeypatch.setattr(programs, "find_vault", lambda _: SimpleNamespace(path="bao"))
    assert program("vault", "--", "kv", "list", "ecommerce/").code == 0
    assert given["VAULT_ADDR"] == "http://127.0.0.1:1"
    assert not {"VAULT_CACERT", "BAO_CACERT"} & set(given)
