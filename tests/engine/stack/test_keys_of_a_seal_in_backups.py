from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.stack.restoring import BLUEPRINT, LOCK, OPENER, PRIVATE
from tests.engine.stack.seals import kept, put
from vault_harness import files
from vault_harness.cli.tasks import run
from vault_harness.errors import SettingsError, StackError
from vault_harness.local.engine.seal import SealKind, seal_stanza, static_key_path
from vault_harness.local.engine.shape import Engine
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import (
    Backup,
    Keys,
    backup_keys,
    drill,
    make_backup,
    restore,
    restore_keys,
    restore_seal_key,
)
from vault_harness.operator.backup.seal_drill import SealDrill
from vault_harness.settings import Settings

pytestmark = pytest.mark.slow  # each starts a stack or two


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[LocalStack]:
    ports = {"vault_port": 0, "proxy_port": 0, "toxiproxy_port": 0}
    data_dir = tmp_path / "elsewhere" / "data"
    data_dir.parent.mkdir()
    stack = LocalStack(Settings.from_environment(data_dir=data_dir, **ports))
    yield stack
    stack.provider().stop()


def keys_of(stack: LocalStack) -> Keys:
    return Keys(Keyring.load(stack.keyring_path), "", stack.static_key())


def backed_up(stack: LocalStack, directory: Path) -> Backup:
    stack.seed(BLUEPRINT, environ={})
    with closing(stack.operator()) as op:
        return make_backup(op, keys_of(stack), directory, LOCK, mounts=BLUEPRINT.mounts)


def test_a_lost_static_key_comes_back(stack: LocalStack, tmp_path: Path) -> None:
    """The error of `up` names the task that restores the key."""
    stack.up(seal="static")
    backup = backup_keys(keys_of(stack), tmp_path / "backups", LOCK)
    stack.down()
    key = static_key_path(stack.data_dir)
    before = key.read_bytes()
    key.unlink()
    with pytest.raises(StackError, match="the key for that is not here") as caught:
        stack.up()
    assert "restore.keys" in caught.value.remedy
    assert str(key) in caught.value.looked_at
    assert not key.exists(), "a new one would open nothing"

    done = restore_keys(backup.open_keys(OPENER), stack.keyring_path)

    assert done.seal.action == "written"
    assert key.read_bytes() == before
    assert key.stat().st_mode & 0o777 == 0o600
    stack.up()


def restored_by_task(
    stack: LocalStack, backup: Backup, identity: Path, monkeypatch: pytest.MonkeyPatch
) -> int:
    files.write_private(identity, f"{PRIVATE}\n")
    monkeypatch.setenv("HARNESS_DATA_DIR", str(stack.data_dir))
    words = ["restore", "--source", str(backup.directory), "--identity", str(identity)]
    monkeypatch.setattr(sys, "argv", ["vault-harness", *words])
    try:
        run(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize("seal", ["shamir", "static", "transit"])
def test_a_backup_whose_tokens_have_ended_is_restored(
    stack: LocalStack,
    elsewhere: LocalStack,
    tmp_path: Path,
    seal: SealKind,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new root token is needed to compare it."""
    stack.up(seal=seal)
    stack.seed(BLUEPRINT, environ={})
    living = Keyring.load(stack.keyring_path)
    ended = Keys(replace(living, root_token="revoked"), "expired", stack.static_key())
    with closing(stack.operator()) as op:
        backup = make_backup(op, ended, tmp_path / "backups", LOCK, mounts=BLUEPRINT.mounts)
    stack.down()
    if seal == "transit":
        elsewhere.data_dir.mkdir(mode=0o700)
        shutil.copytree(stack.data_dir / "holder", elsewhere.data_dir / "holder")
    restore_seal_key(ended, elsewhere.data_dir)
    elsewhere.up(seal=seal)

    code = restored_by_task(elsewhere, backup, tmp_path / "identity", monkeypatch)

    said = capsys.readouterr().err
    assert (code, "in place and unsealed, but none of its tokens" in said) == (5, True), said
    assert "root.generate" in said
    assert elsewhere.keyring() == ended.keyring
    living.save(elsewhere.keyring_path)  # as a person does who makes a new root token
    code = restored_by_task(elsewhere, backup, tmp_path / "identity", monkeypatch)
    said = capsys.readouterr().out
    assert (code, "the same as in the backup" in said) == (0, True), said
    assert elsewhere.keyring() == living


def test_a_stack_with_another_static_key_is_refused(
    stack: LocalStack, elsewhere: LocalStack, tmp_path: Path
) -> None:
    stack.up(seal="static")
    backup = backed_up(stack, tmp_path / "backups")
    elsewhere.up(seal="static")
    keyring = elsewhere.keyring()

    with (
        closing(VaultAdmin(elsewhere.endpoints().vault)) as op,
        pytest.raises(StackError, match="static seal has another key than the backup") as caught,
    ):
        restore(
            [op],
            elsewhere.keyring_path,
            backup.open(OPENER),
            overwrite=True,
        )

    assert "restore.keys --seal-key" in caught.value.remedy
    assert elsewhere.keyring() == keyring
    assert elsewhere.restart()


def test_a_backup_that_another_holder_has_the_key_of_is_refused(
    stack: LocalStack,
    elsewhere: LocalStack,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A trial server refuses it, and the Vault here is unchanged."""
    stack.up(seal="transit")
    backup = backed_up(stack, tmp_path / "backups")
    stack.down()
    elsewhere.up(seal="transit")
    put(elsewhere, "of before")
    keyring = elsewhere.keyring()
    identity = tmp_path / "identity"
    files.write_private(identity, f"{PRIVATE}\n")
    monkeypatch.setenv("HARNESS_DATA_DIR", str(elsewhere.data_dir))
    words = ["restore", "--source", str(backup.directory), "--identity", str(identity)]
    monkeypatch.setattr(sys, "argv", ["vault-harness", *words, "--overwrite"])

    with pytest.raises(SystemExit) as ended:
        run([*words, "--overwrite"])

    assert ended.value.code == 5
    said = capsys.readouterr().err
    assert "does not open with the key of this Vault's seal transit; nothing was changed" in said
    assert "holder/" in said
    assert elsewhere.keyring() == keyring
    assert kept(elsewhere) == "of before"
    assert elsewhere.restart()
    assert kept(elsewhere) == "of before"
    assert not [*elsewhere.data_dir.glob("init.json.*")]


def test_a_drill_takes_the_key_of_the_backup(
    stack: LocalStack, engine: Engine, tmp_path: Path
) -> None:
    stack.up(seal="static")
    stack.seed(BLUEPRINT, environ={})
    keys, seal = keys_of(stack), seal_stanza(stack.data_dir)
    static_key_path(stack.data_dir).unlink()

    with closing(stack.operator()) as op:
        report = drill(op, keys, engine, BLUEPRINT, tmp_path / "drill", seal=seal)

    assert report.problems == []
    assert report.live is not None
    assert report.live.different == ()


def test_a_drill_of_three(stack: LocalStack, engine: Engine, tmp_path: Path) -> None:
    stack.up(seal="transit")
    stack.seed(BLUEPRINT, environ={})
    keys, seal = keys_of(stack), seal_stanza(stack.data_dir)

    with closing(stack.operator()) as op:
        report = drill(op, keys, engine, BLUEPRINT, tmp_path / "drill", seal=seal, nodes=3)

    assert report.problems == []
    assert report.live is not None
    assert report.live.different == ()


@pytest.mark.parametrize(
    ("seal", "says"),
    [("shamir", ""), ("transit", "NOT in it: the seal's key")],
)
def test_a_backup_says_what_it_lacks(
    stack: LocalStack,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    seal: SealKind,
    says: str,
) -> None:
    stack.up(seal=seal)
    stack.seed(BLUEPRINT, environ={})
    monkeypatch.setenv("HARNESS_BACKUP_PASSPHRASE", "a passphrase of the test")
    for task in ("backup.now", "backup.keys"):
        monkeypatch.setattr(sys, "argv", ["vault-harness", task])
        run([task])
        printed = capsys.readouterr().out
        assert says in printed
        assert ("seal" in printed.replace("unseal", "")) is bool(says)


@pytest.mark.parametrize(("present", "target"), [("shamir", "transit"), ("static", "shamir")])
def test_a_drill_of_another_seal(
    stack: LocalStack, engine: Engine, tmp_path: Path, present: SealKind, target: SealKind
) -> None:
    stack.up(seal=present)
    stack.seed(BLUEPRINT, environ={})
    kept = [stack.keyring_path, *(stack.data_dir / "seal").glob("*")]
    before = {path: path.read_bytes() for path in kept}
    then = SealDrill(engine=engine, target=target, directory=tmp_path / "seal")
    then.check(present)

    with closing(stack.operator()) as op:
        report = drill(
            op,
            keys_of(stack),
            engine,
            BLUEPRINT,
            tmp_path / "drill",
            seal=seal_stanza(stack.data_dir),
            then=then,
        )

    assert report.problems == []
    assert report.comparison is not None
    assert list(report.seals) == [target, present]
    assert {found.same for found in report.seals.values()} == {report.comparison.same}
    assert {path: path.read_bytes() for path in kept} == before
    assert stack.status().seal == present


def test_nothing_to_exercise(engine: Engine, tmp_path: Path) -> None:
    then = SealDrill(engine=engine, target="static", directory=tmp_path / "seal")

    with pytest.raises(SettingsError, match="has the seal static"):
        then.check("static")
