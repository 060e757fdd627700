"""``VAULT_ADDR`` of a Vault of somebody else: one that leads nowhere is told as that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from vault_harness.blueprint import Blueprint
from vault_harness.engine.external import ExternalNode
from vault_harness.errors import SettingsError
from vault_harness.settings import Settings
from vault_harness.vault.doctor import Patient, _network, examine

Program = Callable[..., Any]  # of conftest.py

WRONG = [
    *("127.0.0.1:8200", "localhost:8200", "vault", "http://", "https://:8200"),
    *("http://h:port", "http://h:99999", "http://[::1", "unix:///run/vault.sock"),
]


@pytest.mark.parametrize("address", WRONG)
@pytest.mark.parametrize("variable", ["VAULT_ADDR", "HARNESS_VAULT_ADDR"])
def test_one_that_is_none(address: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that holds it is named, before anything is asked."""
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
def test_one_that_is_an_address(
    address: str, upstream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a port or without, by name or number; what stands before it is told the port."""
    monkeypatch.setenv("HARNESS_ENGINE", "external")
    monkeypatch.setenv("VAULT_ADDR", address)
    assert Settings.from_environment().vault_addr == address
    assert ExternalNode("theirs", address).upstream == upstream


@pytest.mark.parametrize("words", [("doctor",), ("doctor", "--production")], ids=" ".join)
def test_the_doctor_says_which_variable(
    words: tuple[str, ...], program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no mistake in this project."""
    monkeypatch.setenv("HARNESS_ENGINE", "external")
    monkeypatch.setenv("VAULT_ADDR", "127.0.0.1:8200")
    ended = program(*words)
    assert ended.code == SettingsError.exit_code, ended
    assert ended.err.startswith("VAULT_ADDR: ")


def test_it_keeps_no_task_of_the_stack_from_its_work(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There it is the business of clients; the doctor has a finding for it."""
    monkeypatch.setenv("VAULT_ADDR", "127.0.0.1:8200")
    assert program("status").code == 0


@pytest.mark.parametrize(
    "error",
    [requests.exceptions.ChunkedEncodingError("cut short"), requests.exceptions.InvalidURL()],
)
def test_an_answer_that_nobody_can_read(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else becomes of a request is a finding, too."""

    def get(*_: object, **__: object) -> None:
        raise error

    session = SimpleNamespace(get=get)
    monkeypatch.setattr(_network, "_session", lambda: contextlib.nullcontext(session))
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
    assert type(error).__name__ in bad.wrong
    assert "VAULT_ADDR" in bad.remedy
