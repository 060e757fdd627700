from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import Stack, launch, launch_cluster
from vault_harness.local.vault import cluster
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.kv import Kv
from vault_harness.operator.backup import (
    Backup,
    Keys,
    Lock,
    Opener,
    compare,
    make_backup,
    new_identity,
)

pytestmark = pytest.mark.slow  # making three voters takes seconds

BLUEPRINT = Blueprint.default()
PRIVATE, PUBLIC = new_identity()
LOCK, OPENER = Lock(recipients=(PUBLIC,)), Opener(identities=(PRIVATE,))


@pytest.fixture
def three(engine: Engine, tmp_path: Path) -> Iterator[Stack]:
    with launch_cluster(engine, BLUEPRINT, directory=tmp_path / "three") as stack:
        yield stack


def backed_up(stack: Stack, directory: Path) -> Backup:
    return make_backup(
        stack.operator, Keys(stack.keyring), directory, LOCK, mounts=BLUEPRINT.mounts
    )


def test_killed_after_any_step_the_next_restore_finishes(
    three: Stack, engine: Engine, tmp_path: Path, killable: Callable[..., Any]
) -> None:
    """Each next run ends with the backup's Vault and keys on every node.

    Backups of two Vaults take turns, so that each restore changes the keys.
    """
    with launch(engine, BLUEPRINT, NodeSpec(directory=tmp_path / "other", storage="raft")) as other:
        Kv(other.operator).write("backend/other", {"A": "1"}, cas=0)
        theirs = backed_up(other, tmp_path / "theirs")
    backups = [theirs, backed_up(three, tmp_path / "ours")]
    addresses = [node.address for node in three.nodes]
    path = tmp_path / "vault-data" / "init.json"
    path.parent.mkdir(mode=0o700)
    three.keyring.save(path)
    step, killed = 1, True
    while killed:
        backup = backups[(step - 1) % 2]
        _, contents = backup.open_snapshot(OPENER)
        arguments = {
            "addresses": addresses,
            "keyring": str(path),
            "backup": str(backup.directory),
            "identity": PRIVATE,
            "overwrite": True,
        }
        killed = killable("restore", step, **arguments).killed
        if killed:
            ended = killable("restore", **arguments)
            assert ended.error is None, ended.error
        keyring = backup.open_keys(OPENER).keyring
        assert Keyring.load(path) == keyring
        with cluster.operators(addresses, token=keyring.root_token) as nodes:
            assert sorted(cluster.health_of_all(nodes)) == [200, 429, 429]
            assert [compare(node, contents).different for node in nodes] == [(), (), ()]
        step += 1
    assert step > 4
