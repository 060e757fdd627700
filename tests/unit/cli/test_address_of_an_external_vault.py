from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from vault_harness.errors import SettingsError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.external import ExternalNode
from vault_harness.operator.doctor import Patient, examine, server
from vault_harness.settings import Settings

Program = Callable[..., Any]  # of conftest.py

WRONG = [
    *("127.0.0.1:8200", "localhost:8200", "vault", "http://", "https://:8200"),
    *("http://h:port", "http://h:99999", "http://[::1", "unix:///run/vault.sock"),
]


@pytest.mark.parametrize("address", WRONG)
@pytest.mark.parametrize("variable", ["VAULT_ADDR", "HARNESS_VAULT_ADDR"])
def test_a_wrong_address_is_named_before_any_request(
    address: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_ENGINE", "external")
    monkeypatch.setenv(variable, address)
    with pytest.raises(SettingsError, match=f"^{variable}: .*http://") as refusal:
        Settings.from_environment()
    assert variable in refusal.value.remedy
    with pytest.raises(SettingsError, match=variable):
        Settings.from_environment(engine="external")


@pytest.mark.parametrize(
    ("address", "upstream"),
    [
        ("http://127.0.0.1:8200", "127.0.0.1:8200"),
        ("https://vault.example", "vault.example:443"),
        ("http://vault.example/", "vault.example:80"),
        ("http://[::1]:1", "[::1]:1"),
        ("https://[::1]", "[::1]:443"),
    ],
)
def test_an_address_may_have_a_name_or_a_number_and_a_port(
    address: str, upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_ENGINE", "external")
    monkeypatch.setenv("VAULT_ADDR", address)
    assert Settings.from_environment().vault_addr == address
    assert ExternalNode("theirs", address).upstream == upstream


@pytest.mark.parametrize("words", [("doctor",), ("doctor", "--production")], ids=" ".join)
def test_the_doctor_says_which_variable(
    words: tuple[str, ...], program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_ENGINE", "external")
    monkeypatch.setenv("VAULT_ADDR", "127.0.0.1:8200")
    ended = program(*words)
    assert ended.code == SettingsError.exit_code, ended
    assert ended.err.startswith("VAULT_ADDR: ")


def test_it_keeps_no_task_of_the_stack_from_its_work(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks of the stack ignore VAULT_ADDR."""
    monkeypatch.setenv("VAULT_ADDR", "127.0.0.1:8200")
    assert program("status").code == 0


@pytest.mark.parametrize(
    "error",
    [requests.exceptions.ChunkedEncodingError("cut short"), requests.exceptions.InvalidURL()],
)
def test_an_unreadable_answer_is_reported(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(*_: object, **__: object) -> None:
        raise error

    session = SimpleNamespace(get=get)
    monkeypatch.setattr(server, "_session", lambda: contextlib.nullcontext(session))
    found = examine(
        Patient(
            data_dir=tmp_path,
            blueprint=Blueprint.default(),
            addresses=("http://127.0.0.1:1",),
            engine="external",
        )
    )
    (bad,) = [each for each in found if each.bad]
    assert bad.kind == "not-vault"
    assert type(error).__name__ in bad.seen
    assert "VAULT_ADDR" in bad.remedy
