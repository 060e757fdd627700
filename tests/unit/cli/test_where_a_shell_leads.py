from __future__ import annotations

import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from tests.unit.cli.test_next_steps import READY
from vault_harness.cli import stack as stack_module
from vault_harness.settings import Settings

Program = Callable[..., Any]  # of conftest.py


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (None, ""),
        ("http://localhost:8201", ""),
        ("http://127.0.0.1:8200/", ""),
        ("https://me:secret@vault.example.com", "https://vault.example.com"),
        ("https://127.0.0.1:8201", "https://127.0.0.1:8201"),
    ],
)
def test_clients_of_the_shell(
    address: str | None, told: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    if address is None:
        monkeypatch.delenv("VAULT_ADDR", raising=False)
    else:
        monkeypatch.setenv("VAULT_ADDR", address)
    stack = SimpleNamespace(status=lambda: READY, settings=Settings.from_environment())
    monkeypatch.setattr(stack_module, "local_stack", lambda: stack)
    ended = program("status")
    assert (ended.code, "secret" in ended.out) == (0, False)
    lines = [line for line in ended.out.splitlines() if "clients in this shell" in line]
    assert lines == (
        [f"clients in this shell go to {told}, not here: unset VAULT_ADDR"] * bool(told)
    )


def test_a_localhost_that_is_ipv6_alone(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """All servers listen on 127.0.0.1."""

    def getaddrinfo(host: str, *_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, f"{host} has no such address")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv("VAULT_ADDR", "http://localhost:8201")
    stack = SimpleNamespace(status=lambda: READY, settings=Settings.from_environment())
    monkeypatch.setattr(stack_module, "local_stack", lambda: stack)
    assert "clients in this shell go to http://localhost:8201" in program("status").out
