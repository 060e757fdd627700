from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from vault_harness.errors import HarnessError, SettingsError, StackError
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import (
    PASSPHRASE_VARIABLE,
    Backup,
    Contents,
    Keys,
    Lock,
    Opener,
    backup_keys,
    check_snapshot,
    check_vault,
    list_backups,
    lock_from,
    new_identity,
    newest,
    open_keys_file,
    opener_from,
    write_backup,
)
from vault_harness.operator.backup import make as write_module
from vault_harness.operator.backup.files import UNFINISHED

PRIVATE, PUBLIC = new_identity()
KEYS = Keys(Keyring(("key-one", "key-two", "key-three"), 2, "root-token"), "operator-token")
CONTENTS = Contents(("kv",), {"kv/a": "1:present:00"}, ("default",), ("backend",), (), "ab")


@functools.cache  # a gzip file contains the time of its making in seconds
def snapshot() -> bytes:
    """Return a file like a raft snapshot: an archive with checksums of its parts."""
    parts = {"meta.json": b"{}", "state.bin": b"state of the vault" * 99}
    sums = "".join(f"{hashlib.sha256(v).hexdigest()}  {k}\n" for k, v in parts.items())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in {**parts, "SHA256SUMS": sums.encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


LOCK, OPENER = Lock(recipients=(PUBLIC,)), Opener(identities=(PRIVATE,))


def write(directory: Path, name: str = "one", keys: Keys | None = KEYS) -> Backup:
    content = (snapshot(), CONTENTS)
    return write_backup(
        directory, name, LOCK, product="openbao", version="2", snapshot=content, keys=keys
    )


def test_what_was_locked_for_a_key_opens_with_it(tmp_path: Path) -> None:
    backup = write(tmp_path)
    assert backup.open_snapshot(OPENER) == (snapshot(), CONTENTS)
    assert backup.open_keys(OPENER) == KEYS
    with pytest.raises(HarnessError, match=r"keyring\.age cannot be opened"):
        backup.open_keys(Opener(identities=(new_identity()[0],)))


@pytest.mark.slow  # takes a second or more each time, on purpose
def test_a_passphrase_locks_and_opens(tmp_path: Path) -> None:
    """A wrong one is refused without repeating it."""
    backup = backup_keys(KEYS, tmp_path, Lock(passphrase="correct horse battery"))
    assert backup.open_keys(Opener(passphrase="correct horse battery")) == KEYS
    with pytest.raises(HarnessError, match="cannot be opened") as refusal:
        backup.open_keys(Opener(passphrase="wrong horse battery"))
    assert "horse" not in str(refusal.value)


@pytest.mark.slow  # as above
@pytest.mark.parametrize(
    ("locked", "typed"),
    [
        ("\ufeffcorrect horse battery", "correct horse battery"),
        ("grüne Wälder im März", unicodedata.normalize("NFD", "grüne Wälder im März")),
    ],
    ids=["marked by an editor", "taken apart"],
)
def test_a_passphrase_that_looks_the_same(locked: str, typed: str) -> None:
    """Another Unicode form opens the backup, since a person sees no difference."""
    sealed = Lock(passphrase=locked).encrypt(b"keys")
    assert Opener(passphrase=typed).decrypt(sealed, source="keyring.age") == b"keys"


def test_a_file_that_an_editor_marked(tmp_path: Path) -> None:
    """A byte order mark before a passphrase or a key is ignored."""
    file = tmp_path / "passphrase.txt"
    file.write_text("correct horse battery\r\n", encoding="utf-8-sig")
    assert lock_from(passphrase_file=file, environ={}).passphrase == "correct horse battery"
    private, public = new_identity()
    for name, text in (("key.txt", private), ("public.txt", public)):
        (tmp_path / name).write_text(f"{text}\r\n", encoding="utf-8-sig")
    sealed = lock_from(recipients=[str(tmp_path / "public.txt")], environ={}).encrypt(b"keys")
    opener = opener_from(identity_files=[tmp_path / "key.txt"], environ={})
    assert opener.decrypt(sealed, source="it") == b"keys"


def test_nothing_secret_is_readable_on_disk(tmp_path: Path) -> None:
    backup = write(tmp_path)
    for path in backup.directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for secret in (b"key-one", b"root-token", b"operator-token", b"state of the vault"):
            assert secret not in path.read_bytes()
    assert stat.S_IMODE(backup.directory.stat().st_mode) == 0o700
    assert "key-one" not in repr(KEYS)
    assert "correct" not in repr(Lock(passphrase="correct horse battery"))


@pytest.mark.parametrize("part", ["snapshot.age", "keyring.age"])
def test_a_damaged_part_is_found_without_any_key(tmp_path: Path, part: str) -> None:
    """The part has a flipped bit, or is missing."""
    backup = write(tmp_path)
    path = backup.directory / part
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StackError, match=f"{part} of this backup is damaged"):
        backup.check_files()


def test_a_keyring_that_is_kept_elsewhere_is_no_damage(tmp_path: Path) -> None:
    backup = write(tmp_path / "here")
    elsewhere = tmp_path / "keyring.age"
    (backup.directory / "keyring.age").rename(elsewhere)
    assert backup.check_files() == ("keyring.age",)
    assert backup.check_files(keyring=elsewhere) == ()
    backup.open_snapshot(OPENER)
    with pytest.raises(StackError, match=r"keyring\.age of this backup cannot be read") as refusal:
        backup.open_keys(OPENER)
    assert "--keyring" in refusal.value.remedy
    assert backup.open_keys(OPENER, file=elsewhere) == KEYS
    assert open_keys_file(elsewhere, OPENER) == KEYS
    with pytest.raises(HarnessError, match="not hold what a backup holds there"):
        open_keys_file(backup.directory / "snapshot.age", OPENER)
    elsewhere.write_bytes(elsewhere.read_bytes()[:-1])
    with pytest.raises(StackError, match=r"keyring\.age of this backup is damaged"):
        backup.check_files(keyring=elsewhere)
    without = write(tmp_path / "here", "without", keys=None)
    with pytest.raises(StackError, match=r"this backup has no keyring\.age"):
        without.check_files(keyring=elsewhere)
    (backup.directory / "snapshot.age").unlink()
    with pytest.raises(StackError, match="no part of this backup is here"):
        backup.check_files()


def test_a_keyring_of_another_backup_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    one, other = write(tmp_path, "one"), write(tmp_path, "other")
    with pytest.raises(StackError, match="another backup's"):
        one.open_keys(OPENER, file=other.directory / "keyring.age")


def test_the_newest_with_the_part_that_is_needed(tmp_path: Path) -> None:
    """An absent part does not count."""
    whole = write(tmp_path, "20260101T000000Z")
    keys = backup_keys(KEYS, tmp_path, LOCK)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text("{}")
    assert [each.directory for each in list_backups(tmp_path)] == [keys.directory, whole.directory]
    assert newest(tmp_path).directory == keys.directory
    assert newest(tmp_path, "snapshot.age").directory == whole.directory
    assert newest(tmp_path, "keyring.age").directory == keys.directory
    (keys.directory / "keyring.age").unlink()
    assert newest(tmp_path, "keyring.age").directory == whole.directory
    (whole.directory / "keyring.age").unlink()
    with pytest.raises(StackError, match=r"no backup with keyring.age") as refusal:
        newest(tmp_path, "keyring.age")
    assert "--keyring" in refusal.value.remedy


def test_no_umask_opens_the_folders_that_are_made_for_it(tmp_path: Path) -> None:
    """A user who can write to a folder can replace a backup. A present one keeps its mode."""
    shared = tmp_path / "usb"
    shared.mkdir(mode=0o755)
    backup_keys(KEYS, shared, LOCK)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
    before = os.umask(0)
    try:
        made = write(tmp_path / "safe" / "backups")
    finally:
        os.umask(before)
    folders = [made.directory, *made.directory.parents[:2]]
    assert [stat.S_IMODE(each.stat().st_mode) for each in folders] == [0o700, 0o700, 0o755]


def test_a_backup_that_another_stack_is_writing_survives_ours(tmp_path: Path) -> None:
    inner: list[Backup] = []

    def meanwhile(step: str) -> None:
        if step == "wrote keyring.age" and not inner:
            inner.append(backup_keys(KEYS, tmp_path, LOCK))

    outer = backup_keys(KEYS, tmp_path, LOCK, checkpoint=meanwhile)
    assert outer.directory != inner[0].directory
    assert outer.check_files() == inner[0].check_files() == ()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        each.directory.name for each in (outer, inner[0])
    )


def test_a_part_that_matches_a_forged_manifest_still_does_not_open(tmp_path: Path) -> None:
    """Encryption detects a part that was changed together with the manifest."""
    backup = write(tmp_path)
    path = backup.directory / "snapshot.age"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    manifest = json.loads((backup.directory / "manifest.json").read_text())
    manifest["checksums"]["snapshot.age"] = hashlib.sha256(data).hexdigest()
    (backup.directory / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(HarnessError, match="cannot be opened"):
        Backup.load(backup.directory).open_snapshot(OPENER)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no archive",
        snapshot()[:-40],
        gzip.compress(gzip.decompress(snapshot()).replace(b"state of", b"State of", 1)),
    ],
)
def test_a_snapshot_that_is_not_whole_is_refused(raw: bytes) -> None:
    """It is truncated, changed or foreign."""
    with pytest.raises(HarnessError, match="not whole"):
        check_snapshot(raw, source="here")


def test_an_interrupted_backup_is_not_listed(tmp_path: Path) -> None:
    """The next backup removes it."""
    for last in ("wrote keyring.age", "wrote the manifest"):

        def end(step: str, last: str = last) -> None:
            if step == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            backup_keys(KEYS, tmp_path, LOCK, checkpoint=end)
        assert list_backups(tmp_path) == []
    finished = backup_keys(KEYS, tmp_path, LOCK)
    assert [path.name for path in tmp_path.iterdir()] == [finished.directory.name]


@pytest.mark.parametrize("locked", [True, False])
def test_what_another_user_left_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    theirs = tmp_path / f"{UNFINISHED}theirs"
    theirs.mkdir()
    lock_file = theirs.with_name(f"{theirs.name}.lock")

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    def lock(path: Path, **more: Any) -> Any:
        if path == lock_file and locked:
            refuse(path)
        return FileLock(path, **more)

    monkeypatch.setattr(write_module, "FileLock", lock)
    monkeypatch.setattr(shutil, "rmtree", refuse)

    made = backup_keys(KEYS, tmp_path, LOCK)

    assert made.check_files() == ()
    assert theirs.is_dir()
    assert not lock_file.exists()


def test_locks_from_options(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# mine\n{PUBLIC}\n\n{new_identity()[1]}\n")
    assert len(lock_from(recipients=[str(tmp_path / "keys")], environ={}).recipients) == 2
    (tmp_path / "phrase").write_text("from a file, long\n")
    assert lock_from(passphrase_file=tmp_path / "phrase", environ={}).passphrase == (
        "from a file, long"
    )
    environ = {PASSPHRASE_VARIABLE: "from the environment"}
    assert lock_from(environ=environ).passphrase == "from the environment"
    assert lock_from(environ={}, ask=lambda: "asked for it, long").kind == "passphrase"
    (tmp_path / "identity").write_text(f"# created\n{PRIVATE}\n")
    assert opener_from(identity_files=[tmp_path / "identity"], environ={}).identities == (PRIVATE,)


def test_options_that_lock_or_open_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a passphrase or with public keys"):
        lock_from(environ={})
    with pytest.raises(SettingsError, match="shorter than 12"):
        Lock(passphrase="short")
    with pytest.raises(SettingsError, match="not a public key"):
        Lock(recipients=("age1nonsense",))
    with pytest.raises(SettingsError, match="nothing was given that opens"):
        opener_from(environ={})
    (tmp_path / "identity").write_text("nonsense")
    with pytest.raises(SettingsError, match="not a private key"):
        Opener(identities=("nonsense",)).decrypt(b"", source="x")


def test_a_secret_in_the_place_of_its_file_is_not_repeated(tmp_path: Path) -> None:
    phrase = "four words and more"
    with pytest.raises(SettingsError, match="the file that --recipient names") as refusal:
        lock_from(recipients=[PRIVATE], environ={})
    assert PRIVATE not in str(refusal.value)
    with pytest.raises(SettingsError, match="the file that --passphrase-file names") as refusal:
        lock_from(passphrase_file=Path(phrase), environ={})
    assert phrase not in str(refusal.value)
    with pytest.raises(SettingsError, match="the file that --identity names") as refusal:
        opener_from(identity_files=[Path(PRIVATE)], environ={})
    assert PRIVATE not in str(refusal.value)
    with pytest.raises(SettingsError, match="no such key"):
        opener_from(identity_files=[tmp_path / "no such key"], environ={})
    (tmp_path / "phrase").write_text("short phrase")
    with pytest.raises(SettingsError, match="not a public key") as refusal:
        lock_from(recipients=[str(tmp_path / "phrase")], environ={})
    assert "short" not in str(refusal.value)


def test_ssh_keys_lock_and_open() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    locked = Lock(recipients=(public.decode(),)).encrypt(b"x")
    assert Opener(identities=(private.decode(),)).decrypt(locked, source="x") == b"x"


def change_manifest(backup: Backup, **fields: object) -> None:
    manifest = backup.directory / "manifest.json"
    content = {**json.loads(manifest.read_text()), **fields}
    manifest.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def of_vault(directory: Path, vault: str, name: str) -> Backup:
    """Write a backup of the keys of a Vault; a higher name is newer."""
    made = backup_keys(KEYS, directory, LOCK, vault=vault)
    change_manifest(made, made=f"2026-01-{int(name):02}T00:00:00+00:00")
    made.directory.rename(directory / name)
    return Backup.load(directory / name)


@pytest.mark.parametrize("vault", ["", "a third"])
def test_no_backup_is_chosen_if_vault_says_nothing_of_itself(tmp_path: Path, vault: str) -> None:
    mine, _theirs = of_vault(tmp_path, "mine", "1"), of_vault(tmp_path, "theirs", "2")
    assert newest(tmp_path, "keyring.age", vault="mine").directory == mine.directory
    with pytest.raises(StackError, match="backups of several Vaults") as refusal:
        newest(tmp_path, "keyring.age", vault=vault)
    assert "1 of mine" in refusal.value.looked_at
    assert "--source" in refusal.value.remedy


def test_a_backup_without_an_id_is_chosen_last(tmp_path: Path) -> None:
    """It is of a sealed Vault, which does not tell its id."""
    unknown = of_vault(tmp_path, "", "2")
    assert newest(tmp_path).directory == unknown.directory
    of_vault(tmp_path, "mine", "1")
    with pytest.raises(StackError, match="several Vaults"):
        newest(tmp_path)
    known = of_vault(tmp_path, "mine", "3")
    assert newest(tmp_path).directory == known.directory


@pytest.mark.parametrize("vault", ["mine", ""])
def test_one_of_the_future_is_not_taken_for_the_newest(tmp_path: Path, vault: str) -> None:
    """The user must choose."""
    made = of_vault(tmp_path, "mine", "1")
    two_minutes = datetime.now(UTC) + timedelta(minutes=2)  # as clocks of two machines differ
    change_manifest(made, made=two_minutes.isoformat(timespec="seconds"))
    assert newest(tmp_path, vault=vault).directory == made.directory
    change_manifest(made, made=(two_minutes + timedelta(days=1)).isoformat())
    with pytest.raises(StackError, match="is dated in the future") as refusal:
        newest(tmp_path, vault=vault)
    assert str(made.directory) in refusal.value.looked_at
    assert "--source" in refusal.value.remedy


@pytest.mark.parametrize("vault", ["mine", ""])
def test_a_clock_that_was_slow_hides_no_backup(tmp_path: Path, vault: str) -> None:
    """If the last backup has an older time than another, the user must choose."""
    of_vault(tmp_path, "mine", "3")
    last = of_vault(tmp_path, "mine", "1")
    with pytest.raises(StackError, match="clock was wrong") as refusal:
        newest(tmp_path, vault=vault)
    assert f"{last.directory}: 2026-01-01 00:00 UTC, number 2" in refusal.value.looked_at
    assert "--source" in refusal.value.remedy
    after = of_vault(tmp_path, "mine", "4")
    assert newest(tmp_path, vault=vault).directory == after.directory


@pytest.mark.parametrize("number", [1, None], ids=["brought together", "earlier release"])
def test_numbers_that_prove_nothing(tmp_path: Path, number: int | None) -> None:
    """Two folders were merged, or a release gave no number: time tells."""
    newer = of_vault(tmp_path, "mine", "3")
    change_manifest(newer, number=number)
    change_manifest(of_vault(tmp_path, "mine", "2"), number=1)
    of_vault(tmp_path, "mine", "1")
    assert newest(tmp_path).directory == newer.directory


def test_a_vault_that_is_restored_into_has_no_backup_of_its_own(tmp_path: Path) -> None:
    """It takes the backup of another if all are of one Vault, but not its keys."""
    only = of_vault(tmp_path, "lost", "1")
    found = newest(tmp_path, vault="a new one")
    assert found.directory == only.directory
    check_vault(found, "lost")
    check_vault(found, "")
    with pytest.raises(StackError, match="of another Vault") as refusal:
        check_vault(found, "a new one")
    assert "lost" in refusal.value.looked_at


def test_a_backup_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error if named, and skipped in a list."""
    mine, theirs = write(tmp_path, "mine"), write(tmp_path, "theirs")
    read = Path.read_text

    def read_text(path: Path) -> str:
        if path.parent == theirs.directory:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_text", read_text)
    with pytest.raises(PermissionError):
        Backup.load(theirs.directory)
    assert [each.directory for each in list_backups(tmp_path)] == [mine.directory]
