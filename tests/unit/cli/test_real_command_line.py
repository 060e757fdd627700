"""``vault --`` becomes the real command line, which has this stack's address and nobody else's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.cli import _vault
from vault_harness.settings import Settings
from vault_harness.vault import Operator, command_line

Program = Callable[..., Any]  # of conftest.py


def test_a_ca_certificate_that_is_not_there_any_more(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of an earlier stack, say: it would ask nothing at all. This stack speaks plain HTTP."""
    given: dict[str, str] = {}

    def execve(_: str, __: list[str], environment: Mapping[str, str]) -> None:
        given.update(environment)
        raise SystemExit(0)

    def stack() -> Any:
        return SimpleNamespace(
            settings=Settings.from_environment(),
            operator=lambda *, there: Operator("http://127.0.0.1:1", "a-token"),  # noqa: ARG005 -- its shape
        )

    monkeypatch.setenv("VAULT_CACERT", str(tmp_path / "of-an-earlier-stack.pem"))
    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(_vault, "local_stack", stack)
    monkeypatch.setattr(command_line, "find_command_line", lambda _: "bao")
    assert program("vault", "--", "kv", "list", "ecommerce/").code == 0
    assert given["VAULT_ADDR"] == "http://127.0.0.1:1"
    assert not {"VAULT_CACERT", "BAO_CACERT"} & set(given)
