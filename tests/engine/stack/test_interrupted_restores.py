from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.engine.stack.conftest import kill_servers
from tests.engine.stack.restoring import LOCK, OPENER, PRIVATE, backup_of_one, run
from vault_harness import files
from vault_harness.errors import HarnessError, named
from vault_harness.local.engine.seal import SealKind
from vault_harness.local.engine.shape import Engine
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.vault import cluster
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.kv import Kv
from vault_harness.operator.backup import (
    Backup,
    Keys,
    make_backup,
    restore,
)

pytestmark = pytest.mark.slow  # each starts a stack twice


class PowerFailure(BaseException):
    """Ends a restore at once."""


def end_at(step: str, stack: LocalStack, backup: Backup) -> None:
    def look(now: str) -> None:
        if now == step:
            raise PowerFailure

    opened = backup.open(OPENER)
    with (
        cluster.operators(stack.endpoints().addresses) as nodes,
        pytest.raises(PowerFailure),
    ):
        restore(nodes, stack.keyring_path, opened, checkpoint=look)
    kill_servers(stack)


def restored(stack: LocalStack, backup: Backup) -> str:
    code, printed = run(stack, backup, PRIVATE)
    assert code == 0, printed
    return printed


def test_up_leads_on_with_it(stack: LocalStack, engine: Engine, tmp_path: Path) -> None:
    """`up` leaves a Vault with other keys running, since the restore needs it."""
    backup = backup_of_one(engine, tmp_path)
    stack.up()
    end_at("unsealed", stack, backup)

    with pytest.raises(HarnessError, match="a restore was ended half-way") as caught:
        stack.up()

    assert f"{named('restore', '--source', backup.directory)} again" in caught.value.remedy
    assert "the same as in the backup" in restored(stack, backup)
    stack.up()
    assert Keyring.load(stack.keyring_path) == backup.open_keys(OPENER).keyring
    with contextlib.closing(stack.operator()) as op:
        assert Kv(op).read("backend/only-here").data == {"A": "1"}


def test_before_the_snapshot_the_local_keys_open_vault(
    stack: LocalStack, engine: Engine, tmp_path: Path
) -> None:
    backup = backup_of_one(engine, tmp_path)
    stack.up()
    end_at("kept the backup's keys", stack, backup)

    stack.up()

    with contextlib.closing(stack.operator()) as op:
        assert op.request("GET", "sys/mounts")["data"]


def test_with_auto_unseal_each_task_says_why_the_token_is_wrong(
    stack: LocalStack, tmp_path: Path
) -> None:
    sealed: SealKind = "static"
    stack.up(seal=sealed)
    with contextlib.closing(stack.operator()) as op:
        keys = Keys(Keyring.load(stack.keyring_path), "", stack.static_key())
        backup = make_backup(op, keys, tmp_path / "backups", LOCK, mounts=[])
    key = stack.data_dir / "seal" / "static.key"
    same = key.read_bytes()
    stack.destroy()
    files.private_directory(key.parent)
    files.write_private(key, same)
    stack.up(seal=sealed)
    end_at("unsealed", stack, backup)
    stack.up()

    with pytest.raises(HarnessError, match="a restore was ended half-way") as caught:
        stack.operator()

    assert f"{named('restore', '--source', backup.directory)} again" in caught.value.remedy
    restored(stack, backup)
    stack.operator().close()
