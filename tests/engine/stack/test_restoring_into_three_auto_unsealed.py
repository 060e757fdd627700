from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.engine.clusters import all_vote
from tests.engine.stack.restoring import BLUEPRINT, LOCK, OPENER, PRIVATE, run
from tests.engine.stack.seals import kept, put
from tests.engine.stack.test_restoring_into_three import at_each, same_through_each
from tests.engine.stack.test_three_auto_unsealed_nodes import no_good_keys
from vault_harness.local.engine.seal import SealKind, seal_stanza
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault import cluster
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import (
    Backup,
    Keys,
    Opened,
    Restored,
    make_backup,
    restore,
    restore_seal_key,
)
from vault_harness.operator.backup.seal_drill import rehearse_on
from vault_harness.settings import Settings

pytestmark = [
    pytest.mark.slow,  # a cluster takes ten seconds
    pytest.mark.usefixtures("haproxy"),
    pytest.mark.xdist_group("restoring into three"),  # they share two backups
]

KINDS: tuple[SealKind, ...] = ("static", "transit")


@pytest.fixture(scope="module")
def backups(tmp_path_factory: pytest.TempPathFactory) -> dict[SealKind, Backup]:
    """Backups of a single server with each seal, of which only the holder's folder is left."""
    made: dict[SealKind, Backup] = {}
    for kind in KINDS:
        directory = tmp_path_factory.mktemp(kind)
        settings = Settings(
            engine="process",
            data_dir=directory / "data",
            start_timeout=60,
            vault_port=0,
            proxy_port=0,
            toxiproxy_port=0,
        )
        single = LocalStack(settings)
        try:
            single.up(seal=kind)
            single.seed(BLUEPRINT, environ={})
            keys = Keys(Keyring.load(single.keyring_path), "", single.static_key())
            with contextlib.closing(single.operator()) as op:
                to = directory / "backups"
                made[kind] = make_backup(op, keys, to, LOCK, mounts=BLUEPRINT.mounts)
        finally:
            single.down()
    return made


def bring_key(stack: LocalStack, backup: Backup, kind: SealKind) -> None:
    """Put what unseals the backup into a folder that has no Vault yet."""
    if kind == "static":
        restore_seal_key(backup.open_keys(OPENER), stack.data_dir)
    else:
        stack.data_dir.mkdir(mode=0o700)
        lost = backup.directory.parent.parent / "data"
        shutil.copytree(lost / "holder", stack.data_dir / "holder")


def make_three(stack: LocalStack, backup: Backup, kind: SealKind) -> Opened:
    """Start three nodes with only what unseals a backup, and open the backup."""
    bring_key(stack, backup, kind)
    stack.up(ha=True, seal=kind)
    return backup.open(OPENER)


def put_in(
    stack: LocalStack,
    backup: Backup,
    keys: Keys | None = None,
    *,
    checkpoint: Callable[[str], None] = lambda _step: None,
) -> Restored:
    opened = backup.open(OPENER)
    with cluster.operators(stack.endpoints().addresses) as nodes:
        return restore(
            nodes,
            stack.keyring_path,
            opened if keys is None else replace(opened, keys=keys),
            restart=stack.provider().restart_vault,
            checkpoint=checkpoint,
        )


def pid_of(stack: LocalStack, node: str) -> int:
    return int(StackRecord.load(stack.data_dir).services[node]["pid"])


@pytest.mark.parametrize("kind", KINDS)
def test_three_nodes_are_restored_into(
    stack: LocalStack, backups: dict[SealKind, Backup], kind: SealKind
) -> None:
    backup = backups[kind]
    contents = make_three(stack, backup, kind).contents

    code, printed = run(stack, backup, PRIVATE)

    assert code == 0, printed
    assert "compared through each of 3 nodes" in printed
    assert stack.keyring() == backup.open_keys(OPENER).keyring
    same_through_each(stack, contents)
    all_vote(stack)
    assert list(seal_stanza(stack.data_dir)) == [kind]
    with no_good_keys(stack):
        assert stack.restart()
        all_vote(stack)
        stack.down()
        stack.up()
        all_vote(stack)
    same_through_each(stack, contents)


class EndedHere(Exception):
    """Raised in place of a kill."""


@pytest.mark.parametrize("where", ["kept the backup's keys", "started the nodes again"])
def test_the_same_command_finishes_a_restore(
    stack: LocalStack, backups: dict[SealKind, Backup], where: str
) -> None:
    backup = backups["static"]
    contents = make_three(stack, backup, "static").contents

    def checkpoint(step: str) -> None:
        if step == where:
            os.kill(pid_of(stack, "vault-3"), signal.SIGKILL)
            raise EndedHere

    with pytest.raises(EndedHere):
        put_in(stack, backup, checkpoint=checkpoint)
    code, printed = run(stack, backup, PRIVATE)
    assert code == 5, printed
    assert "take part in a restore" in printed
    stack.up()

    code, printed = run(stack, backup, PRIVATE)

    assert code == 0, printed
    same_through_each(stack, contents)
    all_vote(stack)


def test_a_node_that_died_before_it_had_the_snapshot(
    stack: LocalStack, backups: dict[SealKind, Backup]
) -> None:
    """It takes the snapshot before the others restart with new certificates."""
    backup = backups["static"]
    contents = make_three(stack, backup, "static").contents

    def checkpoint(step: str) -> None:
        if step == "kept the backup's keys":
            os.kill(pid_of(stack, "vault-3"), signal.SIGKILL)
        elif step == "put the snapshot in":
            raise EndedHere

    with pytest.raises(EndedHere):
        put_in(stack, backup, checkpoint=checkpoint)
    stack.up()

    code, printed = run(stack, backup, PRIVATE)

    assert code == 0, printed
    same_through_each(stack, contents)
    all_vote(stack)


def test_a_holder_that_is_away_is_started_before_the_nodes_end(
    stack: LocalStack, backups: dict[SealKind, Backup]
) -> None:
    """Nodes serve but cannot restart without the holder."""
    backup = backups["transit"]
    contents = make_three(stack, backup, "transit").contents

    def checkpoint(step: str) -> None:
        if step == "put the snapshot in":
            raise EndedHere

    with pytest.raises(EndedHere):
        put_in(stack, backup, checkpoint=checkpoint)
    os.kill(pid_of(stack, "holder"), signal.SIGKILL)

    code, printed = run(stack, backup, PRIVATE)

    assert code == 0, printed
    same_through_each(stack, contents)
    all_vote(stack)


def test_old_data_can_be_restored_on_three_nodes(
    stack: LocalStack, backups: dict[SealKind, Backup]
) -> None:
    backup = backups["static"]
    opened = make_three(stack, backup, "static")
    stack.seed(BLUEPRINT, environ={})
    put(stack, "of before")
    before = stack.keyring()

    code, printed = run(stack, backup, PRIVATE, "--overwrite")

    assert code == 0, printed
    same_through_each(stack, opened.contents)
    was = next(path for path in stack.data_dir.glob("init.json.*") if path.suffix != ".snap")
    (kept_snapshot,) = stack.data_dir.glob("init.json.*.snap")
    of_before = Keys(Keyring.load(was), "", opened.keys.static_key)
    assert of_before.keyring == before
    with cluster.operators(stack.endpoints().addresses) as nodes:
        rehearse_on(stack, opened)
        restore(
            nodes,
            stack.keyring_path,
            replace(opened, snapshot=kept_snapshot.read_bytes(), keys=of_before),
            overwrite=True,
            restart=stack.provider().restart_vault,
        )
    assert kept(stack) == "of before"
    all_vote(stack)
    with at_each(stack) as nodes:
        assert [node.request("GET", "kept/x")["data"]["value"] for node in nodes] == [
            "of before"
        ] * 3
