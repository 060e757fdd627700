from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.engine.stack.restoring import BLUEPRINT, OPENER, PRIVATE, backup_of_one, run
from vault_harness.local.engine.shape import Engine
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.kv import Kv
from vault_harness.operator.backup import (
    Backup,
    Contents,
    Keys,
    Opened,
    compare,
    restore,
)
from vault_harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,  # a cluster takes ten seconds
    pytest.mark.usefixtures("haproxy"),
]


@pytest.fixture(scope="module")
def backup(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Backup:
    return backup_of_one(engine, tmp_path_factory.mktemp("single"))


@contextlib.contextmanager
def at_each(stack: LocalStack) -> Iterator[tuple[VaultAdmin, ...]]:
    keyring, endpoints = stack.keyring(), stack.endpoints()
    assert keyring is not None
    with cluster.operators(endpoints.addresses, token=keyring.root_token) as nodes:
        yield nodes


def same_through_each(stack: LocalStack, contents: Contents) -> None:
    with at_each(stack) as nodes:
        assert sorted(cluster.health_of_all(nodes)) == [200, 429, 429]
        for node in nodes:
            found = compare(node, contents)
            assert (found.same, found.different) == (len(contents.secrets), ())


def test_an_empty_cluster_is_restored_into(stack: LocalStack, backup: Backup) -> None:
    stack.up(ha=True)
    _, contents = backup.open_snapshot(OPENER)
    Nodes(stack).kill("vault-3")
    before = stack.keyring()
    code, printed = run(stack, backup, PRIVATE)
    assert code == 5, printed
    assert "take part in a restore" in printed
    assert stack.keyring() == before
    stack.up()

    code, printed = run(stack, backup, PRIVATE)
    assert code == 0, printed
    assert "compared through each of 3 nodes" in printed
    assert stack.keyring() == backup.open_keys(OPENER).keyring
    same_through_each(stack, contents)
    status = stack.status()
    assert {node.voter for node in status.nodes} == {True}
    assert status.leader is not None

    stack.seed(BLUEPRINT)
    Nodes(stack).kill(status.leader)
    wait_until(
        lambda: stack.status().leader is not None, "another leader", timeout=30, interval=0.25
    )
    with contextlib.closing(stack.operator()) as op:
        assert Kv(op).read("backend/only-here").data == {"A": "1"}
    Nodes(stack).start(status.leader)
    stack.down()
    stack.up()
    same_through_each(stack, contents)


def test_overwritten_data_can_be_restored(stack: LocalStack, backup: Backup) -> None:
    """Overwriting needs a request, and keeps a keyring and snapshot that restore the old data."""
    stack.up(ha=True)
    stack.seed(BLUEPRINT)
    with contextlib.closing(stack.operator()) as op:
        Kv(op).write("backend/before", {"A": "kept"}, cas=0)
    before = stack.keyring()
    code, printed = run(stack, backup, PRIVATE)
    assert (code, "not empty" in printed) == (5, True), printed
    assert stack.keyring() == before

    _, contents = backup.open_snapshot(OPENER)
    code, printed = run(stack, backup, PRIVATE, "--overwrite")
    assert code == 0, printed
    same_through_each(stack, contents)
    with contextlib.closing(stack.operator()) as op:
        Kv(op).write("backend/later", {"A": "1"}, cas=0)

    # Again, into a Vault with the same keys: no node seals itself.
    code, printed = run(stack, backup, PRIVATE, "--overwrite")
    assert code == 0, printed
    same_through_each(stack, contents)

    kept = next(path for path in stack.data_dir.glob("init.json.*") if path.suffix != ".snap")
    first, second = sorted(stack.data_dir.glob("init.json.*.snap"))
    assert str(second) in printed
    keys = Keys(Keyring.load(kept))
    assert keys.keyring == before
    with at_each(stack) as nodes:
        opened = Opened(first.read_bytes(), contents, keys)
        done = restore(nodes, stack.keyring_path, opened, overwrite=True)
    assert any("backend/before: not in the backup" in line for line in done.comparison.different)
    with at_each(stack) as nodes:
        assert [Kv(node).read("backend/before").data for node in nodes] == [{"A": "kept"}] * 3
