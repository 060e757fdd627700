"""The keyring on disk: private, complete, never half written, never shown."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from vault_harness import files
from vault_harness.errors import StackError
from vault_harness.local.vault.keyring import FORMAT, Keyring, keep_beside

KEYRING = Keyring(("key-one", "key-two", "key-three"), 2, "hvs.root-token")


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
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
    assert repr(KEYRING) == "Keyring(threshold=2, kind='shamir', ca_cert=None)"


def test_a_file_without_a_format_number(tmp_path: Path) -> None:
    """A file of version 0.1 holds Shamir shares; saving it adds the format."""
    path = tmp_path / "init.json"
    content = {
        "unseal_keys_b64": ["a", "b", "c", "d", "e"],
        "unseal_shares": 5,
        "unseal_threshold": 3,
        "root_token": "s.x",
    }
    path.write_text(json.dumps(content))

    keyring = Keyring.load(path)
    keyring.save(path)

    assert keyring == Keyring(("a", "b", "c", "d", "e"), 3, "s.x", "shamir")
    assert json.loads(path.read_text()) == {"format": FORMAT, **content}
    assert Keyring.load(path) == keyring


def test_recovery_keys(tmp_path: Path) -> None:
    """A Vault that unseals itself has them."""
    path = tmp_path / "init.json"
    keyring = Keyring(("a", "b"), 2, "s.x", "recovery")
    keyring.save(path)

    assert Keyring.load(path) == keyring
    assert "unseal_keys_b64" not in json.loads(path.read_text())
    content = {
        "unseal_keys_b64": [],
        "unseal_threshold": 1,
        "recovery_keys_b64": ["a", "b"],
        "recovery_keys_threshold": 2,
        "root_token": "s.x",
    }
    path.write_text(json.dumps(content))
    assert Keyring.load(path) == keyring


def test_the_ca_moves_with_the_folder(tmp_path: Path) -> None:
    """A CA beside the keyring is stored relative to it, and any other by its full path."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    replace(KEYRING, ca_cert=here / "tls" / "ca.pem").save(here / "init.json")
    here.rename(there)
    assert Keyring.load(there / "init.json").ca_cert == there / "tls" / "ca.pem"

    replace(KEYRING, ca_cert=Path("/etc/ssl/ours.pem")).save(there / "init.json")
    assert Keyring.load(there / "init.json").ca_cert == Path("/etc/ssl/ours.pem")


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    """The error quotes no key."""
    path = tmp_path / "init.json"
    text = json.dumps({"format": FORMAT + 1, "unseal_keys_b64": ["hvs.secret"]})
    path.write_text(text)

    with pytest.raises(StackError, match="format that this program does not know") as caught:
        Keyring.load(path)

    assert "hvs.secret" not in str(caught.value)
    assert path.read_text() == text


def test_what_is_kept_beside_overwrites_nothing(tmp_path: Path) -> None:
    """Three copies within a second get three files."""
    path = tmp_path / "init.json"
    kept = []
    for text in ("one", "two", "three"):
        files.write_private(path, text)
        kept.append(keep_beside(path))

    assert [each.read_text() for each in kept] == ["one", "two", "three"]


def test_what_is_kept_beside_where_files_have_one_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without hard links, as on a memory stick, copies overwrite nothing."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "init.json"
    kept = []
    for text in ("one", "two"):
        files.write_private(path, text)
        kept.append(keep_beside(path))
    assert [each.read_text() for each in kept] == ["one", "two"]
    assert [each.stat().st_mode & 0o777 for each in kept] == [0o600, 0o600]


def test_keys_on_a_disk_of_their_own_stay_there(tmp_path: Path) -> None:
    """Without the link's target saving fails."""
    stick, path = tmp_path / "stick", tmp_path / "init.json"
    stick.mkdir()
    path.symlink_to(stick / "keys.json")
    KEYRING.save(path)
    KEYRING.without_root().save(path)
    assert path.is_symlink()
    assert Keyring.load(stick / "keys.json").root_token == ""
    assert (stick / "keys.json").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir() if not each.is_symlink()] == ["stick"]

    stick.rename(tmp_path / "taken out")
    with pytest.raises(OSError, match="No such file"):
        KEYRING.save(path)
    assert path.is_symlink()


def test_keys_on_a_disk_of_their_own_are_kept_on_it(tmp_path: Path) -> None:
    """The copy is beside the link's target."""
    data, stick = tmp_path / "vault-data", tmp_path / "stick"
    data.mkdir()
    stick.mkdir()
    path = data / "init.json"
    path.symlink_to(stick / "keys.json")
    KEYRING.save(path)

    kept = keep_beside(path)

    assert kept.parent == stick
    assert kept.name.startswith("keys.json.")
    assert [each.name for each in data.iterdir()] == ["init.json"]
    KEYRING.without_root().save(path)
    assert Keyring.load(path).root_token == ""
    assert Keyring.load(kept) == KEYRING


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
    """The error quotes nothing of it."""
    path = tmp_path / "init.json"
    path.write_text(text)

    with pytest.raises(StackError, match="is not a keyring") as caught:
        Keyring.load(path)

    assert "hvs.secret" not in str(caught.value)


def test_a_failed_write_leaves_the_old_keyring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No temporary file is left on a full disk."""
    path = tmp_path / "init.json"
    KEYRING.save(path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Keyring(("x",), 1, "y").save(path)

    assert Keyring.load(path) == KEYRING
    assert [entry.name for entry in tmp_path.iterdir()] == ["init.json"]


def test_no_umask_opens_what_is_made_for_it(tmp_path: Path) -> None:
    """Who can write to a folder can replace its content."""
    before = os.umask(0)
    try:
        made = files.private_directory(tmp_path / "recovered" / "vault-data")
    finally:
        os.umask(before)
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o755)
    assert files.private_directory(made).stat().st_mode & 0o777 == 0o700
    assert made.parent.stat().st_mode & 0o777 == 0o755


def test_an_unreadable_keyring_is_not_called_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restoring another would not help."""
    KEYRING.save(tmp_path / "init.json")

    def read_text(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", read_text)
    with pytest.raises(PermissionError):
        Keyring.load(tmp_path / "init.json")
