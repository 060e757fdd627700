"""A root token between the last unseal key and the moment in which it is kept, or revoked."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vault_harness.vault import Keyring, Operator
from vault_harness.vault.root import generate_root, prove_keys

TOKEN, ONE_TIME = "s.root-token-of-the-test", "0123456789-0123456789-01"


class Vault(Operator):
    """A Vault that makes a root token of two keys; ``at_the_last`` happens while it answers."""

    def __init__(self, at_the_last: Callable[[], None] = lambda: None) -> None:
        super().__init__("http://127.0.0.1:1", "token-of-the-test")
        self.at_the_last = at_the_last
        self.given = 0
        self.alive = False

    def with_token(self, token: str) -> Operator:
        assert token == TOKEN
        return self

    def request(self, method: str, path: str, **body: object) -> dict[str, Any]:  # noqa: ARG002 -- Operator's shape
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
    """Two keys, and no root token."""
    path = tmp_path / "init.json"
    Keyring(("key-1", "key-2"), 2, "").save(path)
    return path


@pytest.fixture(autouse=True)
def sigint() -> Iterator[None]:
    """Ctrl-C raises, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    """Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_while_keys_are_proved(keyring: Path, tmp_path: Path) -> None:
    """The token is revoked before the task ends."""
    vault = Vault(interrupt)
    with pytest.raises(KeyboardInterrupt):
        prove_keys(vault, keyring, tmp_path)
    assert vault.given == 2
    assert not vault.alive


def test_an_interrupt_while_one_is_made(keyring: Path, tmp_path: Path) -> None:
    """It is in the keyring before the task ends."""
    with pytest.raises(KeyboardInterrupt):
        generate_root(Vault(interrupt), keyring, tmp_path)
    assert Keyring.load(keyring).root_token == TOKEN


def test_a_keyring_that_cannot_be_written(
    keyring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is revoked: nobody could ever end it."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(keyring))

    vault = Vault()
    monkeypatch.setattr(Keyring, "save", full)
    with pytest.raises(OSError, match="No space left"):
        generate_root(vault, keyring, tmp_path)
    assert not vault.alive
