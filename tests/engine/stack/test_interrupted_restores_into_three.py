"""A power failure ends a restore into three nodes: the same command finishes it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.clusters import all_vote
from tests.engine.stack.conftest import kill_servers
from tests.engine.stack.restoring import BLUEPRINT, LOCK, OPENER, PRIVATE, run
from tests.engine.stack.test_restoring_into_three import same_through_each
from vault_harness.errors import HarnessError
from vault_harness.local.engine.seal import SealKind
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault import cluster
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import Backup, Keys, make_backup, restore
from vault_harness.operator.backup.progress import having
from vault_harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,  # a cluster takes ten seconds
    pytest.mark.usefixtures("haproxy"),
]


class PowerFailure(BaseException):
    """Ends a restore at once."""


def backed_up(stack: LocalStack) -> Backup:
    stack.seed(BLUEPRINT, environ={})
    keys = Keys(Keyring.load(stack.keyring_path), "", stack.static_key())
    with contextlib.closing(stack.operator()) as op:
        to = stack.data_dir.parent / "backups"
        return make_backup(op, keys, to, LOCK, mounts=BLUEPRINT.mounts)


def end_without(stack: LocalStack, backup: Backup, lacking: str) -> None:
    pid = StackRecord.load(stack.data_dir).services[lacking]["pid"]
    end_once_there(stack, backup, lacking, before=lambda: os.kill(int(pid), signal.SIGKILL))


def end_with_the_leader_alone(stack: LocalStack, backup: Backup) -> str:
    """Restore until the power fails, when only the leader has the snapshot; return its name.

    The others get their old data back, which looks like a node that has not received the snapshot.
    """
    kill_servers(stack)
    before = {}
    endpoints = stack.known_endpoints()
    assert endpoints is not None
    for node in [each.name for each in endpoints.nodes]:
        before[node] = shutil.copytree(data_of(stack, node), stack.data_dir.parent / node)
    stack.up()
    leader = str(stack.status().leader)
    end_once_there(stack, backup)
    for node in before:
        if node != leader:
            shutil.rmtree(data_of(stack, node))
            shutil.copytree(before[node], data_of(stack, node))
    return leader


def data_of(stack: LocalStack, node: str) -> Path:
    folder = stack.data_dir if node == "vault" else stack.data_dir / "nodes"
    return folder / node / "data"


def end_once_there(
    stack: LocalStack,
    backup: Backup,
    lacking: str = "",
    *,
    before: Callable[[], object] = lambda: None,
) -> None:
    """Restore until the power fails, when all nodes except `lacking` have the snapshot.

    `before` is called before the snapshot is given to Vault.
    """
    opened = backup.open(OPENER)
    endpoints = stack.endpoints()
    there = [node.address for node in endpoints.nodes if node.name != lacking]

    def look(step: str) -> None:
        if step == "kept the backup's keys":
            before()
        elif step == "put the snapshot in":
            with cluster.operators(there) as nodes:
                wait_until(
                    lambda: len(having(nodes, opened.keys, opened.contents.vault)) == len(nodes),
                    "the snapshot to be on the others",
                    timeout=60,
                )
            raise PowerFailure

    with cluster.operators(endpoints.addresses) as nodes, pytest.raises(PowerFailure):
        restore(
            nodes,
            stack.keyring_path,
            opened,
            restart=stack.provider().restart_vault,
            checkpoint=look,
        )
    kill_servers(stack)


def put_key_in(stack: LocalStack, key: bytes) -> None:
    """Put the key of a static seal into a folder that has no Vault yet."""
    directory = stack.data_dir / "seal"
    stack.data_dir.mkdir(mode=0o700)
    directory.mkdir(mode=0o700)
    (directory / "static.key").write_bytes(key)
    (directory / "static.key").chmod(0o600)


def new_three(stack: LocalStack, seal: SealKind) -> Backup:
    """Start three nodes of a new Vault; return a backup of another Vault with the same seal."""
    stack.up(ha=True, seal=seal)
    backup = backed_up(stack)
    key = stack.data_dir / "seal" / "static.key"
    same = key.read_bytes() if seal == "static" else b""
    stack.destroy()
    if same:
        put_key_in(stack, same)
    stack.up(ha=True, seal=seal)
    return backup


@pytest.mark.parametrize("seal", ["shamir", "static"])
def test_a_node_without_the_snapshot_is_rebuilt(stack: LocalStack, seal: SealKind) -> None:
    """Even the first node, which no task removes, with new certificates."""
    backup = new_three(stack, seal)
    _, contents = backup.open_snapshot(OPENER)
    Nodes(stack).step_down()
    assert stack.status().leader != "vault"
    end_without(stack, backup, "vault")

    with contextlib.suppress(HarnessError):  # its keys are not here
        stack.up()
    code, printed = run(stack, backup, PRIVATE)

    assert code == 0, printed
    assert "vault was rebuilt from" in printed
    assert [path.name for path in (stack.data_dir / "vault").glob("data.*")] != []
    same_through_each(stack, contents)
    all_vote(stack)


def test_a_snapshot_that_only_the_former_leader_has(stack: LocalStack) -> None:
    """If the others lead, the former leader is rebuilt, and the restore begins again."""
    backup = new_three(stack, "shamir")
    _, contents = backup.open_snapshot(OPENER)
    leader = end_with_the_leader_alone(stack, backup)

    with contextlib.suppress(HarnessError):  # that node's keys are not here
        stack.up()
    code, printed = run(stack, backup, PRIVATE)

    assert code == 0, printed
    assert f"{leader} was rebuilt from" in printed
    same_through_each(stack, contents)
    all_vote(stack)
