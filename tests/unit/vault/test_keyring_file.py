"""The keyring on disk: private, complete, never half-written, never shown."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vault_harness import files
from vault_harness.errors import KeyringMissing, StackError
from vault_harness.vault import Keyring

KEYRING = Keyring(("key-one", "key-two", "key-three"), 2, "hvs.root-token")


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    """Saved and loaded, it is the same, and only its owner can read it."""
    path = tmp_path / "init.json"
    KEYRING.save(path)

    assert Keyring.load(path) == KEYRING
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_the_command_line_tool_wrote(tmp_path: Path) -> None:
    """A file of `vault operator init -format=json` is a keyring too."""
    path = tmp_path / "init.json"
    content = {
        "unseal_keys_b64": ["a", "b", "c", "d", "e"],
        "unseal_keys_hex": ["0a"],
        "unseal_shares": 5,
        "unseal_threshold": 3,
        "recovery_keys_b64": [],
        "root_token": "hvs.x",
    }
    path.write_text(json.dumps(content))

    assert Keyring.load(path) == Keyring(("a", "b", "c", "d", "e"), 3, "hvs.x")


def test_it_shows_no_secret() -> None:
    """Neither keys nor token are in its repr."""
    assert repr(KEYRING) == "Keyring(threshold=2)"


def test_a_revoked_root_token_is_empty(tmp_path: Path) -> None:
    """After `root.revoke` the keys stay."""
    path = tmp_path / "init.json"
    KEYRING.without_root().save(path)

    assert Keyring.load(path) == Keyring(KEYRING.keys, 2, "")


def test_missing(tmp_path: Path) -> None:
    """No file is another error than a broken one."""
    with pytest.raises(KeyringMissing):
        Keyring.load(tmp_path / "init.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hvs.secret",
        "[]",
        '{"unseal_keys_b64": ["hvs.secret"]}',
        '{"unseal_keys_b64": ["hvs.secret"], "unseal_threshold": 3}',
        '{"unseal_keys_b64": 1, "unseal_threshold": 1}',
        '{"unseal_keys_b64": ["a"], "unseal_threshold": 0}',
    ],
)
def test_broken(tmp_path: Path, text: str) -> None:
    """A file that is no keyring is an error that quotes nothing of it."""
    path = tmp_path / "init.json"
    path.write_text(text)

    with pytest.raises(StackError, match="is not a keyring") as caught:
        Keyring.load(path)

    assert "hvs.secret" not in str(caught.value)


def test_a_failed_write_leaves_the_old_keyring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk costs nothing that was there, and leaves no rubbish."""
    path = tmp_path / "init.json"
    KEYRING.save(path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Keyring(("x",), 1, "y").save(path)

    assert Keyring.load(path) == KEYRING
    assert [entry.name for entry in tmp_path.iterdir()] == ["init.json"]


def test_a_directory_is_made_private(tmp_path: Path) -> None:
    """A folder that others could enter is closed."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)

    assert files.private_directory(folder).stat().st_mode & 0o777 == 0o700
