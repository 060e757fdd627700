"""A restore into three nodes that a power failure ended: the same command does the rest."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from tests.engine.clusters import all_vote
from tests.engine.stack.conftest import kill_servers
from tests.engine.stack.restoring import run
from tests.engine.stack.test_restoring_into_three import (
    BLUEPRINT,
    LOCK,
    OPENER,
    PRIVATE,
    same_through_each,
)
from vault_harness.engine import SealKind
from vault_harness.errors import HarnessError
from vault_harness.stack import LocalStack, Nodes, StackRecord
from vault_harness.vault import Keyring, cluster
from vault_harness.vault.backup import Backup, Keys, make_backup, restore
from vault_harness.vault.backup._progress import having
from vault_harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,  # each makes a cluster, which takes ten seconds
    pytest.mark.usefixtures("haproxy"),
]


class PowerFailure(BaseException):
    """Ends a restore where it is."""


def backed_up(stack: LocalStack) -> Backup:
    """A backup of this Vault, which is three nodes with values."""
    stack.seed(BLUEPRINT, environ={})
    keys = Keys(Keyring.load(stack.keyring_path), "", stack.static_key())
    with contextlib.closing(stack.operator()) as op:
        to = stack.data_dir.parent / "backups"
        return make_backup(op, keys, to, LOCK, mounts=BLUEPRINT.mounts)


def end_without(stack: LocalStack, backup: Backup, lacking: str) -> None:
    """Restore, until the power fails when all nodes but one have the snapshot."""
    snapshot, contents = backup.open_snapshot(OPENER)
    keys = backup.open_keys(OPENER)
    endpoints = stack.endpoints()
    there = [node.address for node in endpoints.nodes if node.name != lacking]

    def look(step: str) -> None:
        if step == "kept the backup's keys":
            pid = StackRecord.load(stack.data_dir).services[lacking]["pid"]
            os.kill(int(pid), signal.SIGKILL)
        elif step == "put the snapshot in":
            with cluster.operators(there) as nodes:
                wait_until(
                    lambda: len(having(nodes, keys, contents.vault)) == len(nodes),
                    "the snapshot to be on the others",
                    timeout=60,
                )
            raise PowerFailure

    with cluster.operators(endpoints.addresses) as nodes, pytest.raises(PowerFailure):
        restore(
            nodes,
            stack.keyring_path,
            snapshot,
            contents,
            keys,
            restart=stack.provider().restart_vault,
            checkpoint=look,
        )
    kill_servers(stack.data_dir)


def put_key_in(stack: LocalStack, key: bytes) -> None:
    """What a static seal opens with, into a folder that has no Vault yet."""
    directory = stack.data_dir / "seal"
    stack.data_dir.mkdir(mode=0o700)
    directory.mkdir(mode=0o700)
    (directory / "static.key").write_bytes(key)
    (directory / "static.key").chmod(0o600)


@pytest.mark.parametrize("seal", ["shamir", "static"])
def test_a_node_without_the_snapshot_is_made_anew(stack: LocalStack, seal: SealKind) -> None:
    """The first one too, which no task removes: it has no certificate that the others know."""
    stack.up(ha=True, seal=seal)
    backup = backed_up(stack)
    _, contents = backup.open_snapshot(OPENER)
    key = stack.data_dir / "seal" / "static.key"
    same = key.read_bytes() if seal == "static" else b""
    stack.destroy()
    if same:
        put_key_in(stack, same)
    stack.up(ha=True, seal=seal)
    Nodes(stack).step_down()
    assert stack.status().leader != "vault"
    end_without(stack, backup, "vault")

    with contextlib.suppress(HarnessError):  # its keys are not here
        stack.up()
    code, printed = run(stack, backup, PRIVATE)

    assert code == 0, printed
    assert "vault is made anew" in printed
    assert [path.name for path in (stack.data_dir / "vault").glob("data.*")] != []
    same_through_each(stack, contents)
    all_vote(stack)
