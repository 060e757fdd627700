"""A root token between the last unseal key and the moment when it is kept or revoked."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import OperatorError, named
from vault_harness.local.vault import root as root_module
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.root import generate_root, prove_keys, revoke_root

TOKEN, ONE_TIME = "s.root-token-of-the-test", "0123456789-0123456789-01"


class Vault(VaultAdmin):
    """A Vault that makes a root token from two keys; it calls ``at_the_last`` while it answers."""

    def __init__(self, at_the_last: Callable[[], None] = lambda: None) -> None:
        super().__init__("http://127.0.0.1:1", "token-of-the-test")
        self.at_the_last = at_the_last
        self.given = 0
        self.started = False  # an attempt of somebody else
        self.alive = False

    def with_token(self, token: str) -> VaultAdmin:
        assert token == TOKEN
        return self

    def request(self, method: str, path: str, **body: object) -> dict[str, Any]:  # noqa: ARG002 -- VaultAdmin's shape
        if method == "DELETE":
            self.started = False
            return {}
        if (method, path) == ("GET", "sys/generate-root/attempt") and self.started:
            return {"started": True, "nonce": "another's", "progress": 1, "required": 2}
        if path == "auth/token/revoke-self":
            self.alive = False
        if path.endswith("/attempt"):
            return {"nonce": "1", "otp": ONE_TIME, "required": 2}
        if not path.endswith("/update"):
            return {}
        self.given += 1
        if self.given < 2:
            return {"nonce": "1"}
        self.alive = True
        self.at_the_last()
        mixed = bytes(a ^ b for a, b in zip(TOKEN.encode(), ONE_TIME.encode(), strict=True))
        return {"encoded_token": base64.b64encode(mixed).decode()}


@pytest.fixture
def keyring(tmp_path: Path) -> Path:
    path = tmp_path / "init.json"
    Keyring(("key-1", "key-2"), 2, "").save(path)
    return path


@pytest.fixture(autouse=True)
def sigint() -> Iterator[None]:
    """Let Ctrl-C raise, also in a background shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_while_keys_are_proved(keyring: Path, tmp_path: Path) -> None:
    """The token is revoked before the task ends."""
    vault = Vault(interrupt)
    with pytest.raises(KeyboardInterrupt):
        prove_keys(vault, keyring, tmp_path)
    assert vault.given == 2
    assert not vault.alive


def test_an_interrupt_while_one_is_made(keyring: Path, tmp_path: Path) -> None:
    """The token is in the keyring before the task ends."""
    with pytest.raises(KeyboardInterrupt):
        generate_root(Vault(interrupt), keyring, tmp_path)
    assert Keyring.load(keyring).root_token == TOKEN


def test_a_keyring_that_cannot_be_written(
    keyring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is revoked, since nobody could revoke it later."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(keyring))

    vault = Vault()
    monkeypatch.setattr(Keyring, "save", full)
    with pytest.raises(OSError, match="No space left"):
        generate_root(vault, keyring, tmp_path)
    assert not vault.alive


def test_an_attempt_of_somebody_else_is_ended_by_its_task(keyring: Path, tmp_path: Path) -> None:
    """The error names the command that cancels it."""
    vault = Vault()
    vault.started = True
    for meeting in (prove_keys, generate_root):
        with pytest.raises(OperatorError, match="somebody is making") as met:
            meeting(vault, keyring, tmp_path)
        assert named("root.generate", "--cancel") in met.value.remedy


def test_an_attempt_is_ended_also_where_the_root_token_is_good(
    keyring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No token is made."""
    Keyring(("key-1", "key-2"), 2, TOKEN).save(keyring)
    monkeypatch.setattr(root_module, "alive", lambda _: {"policies": ["root"]})
    vault = Vault()
    vault.started = True

    assert not generate_root(vault, keyring, tmp_path)
    assert vault.request("GET", "sys/generate-root/attempt").get("started")
    assert not generate_root(vault, keyring, tmp_path, cancel=True)
    assert not vault.request("GET", "sys/generate-root/attempt").get("started")
    assert vault.given == 0


@pytest.mark.parametrize(("token", "acts"), [("", False), ("dead", False), ("good", True)])
def test_a_root_token_that_was_ended_by_hand(
    keyring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, acts: bool
) -> None:
    """The result says whether tasks have a token."""
    Keyring(("key-1", "key-2"), 2, "ended").save(keyring)
    if token:
        (tmp_path / "operator-token").write_text(token)
    monkeypatch.setattr(root_module, "alive", lambda op: {} if op.client.token == "good" else None)

    done = revoke_root(VaultAdmin("http://127.0.0.1:1", "ended"), keyring, [], tmp_path)

    assert done.before
    assert done.acts is acts
    assert Keyring.load(keyring).root_token == ""
