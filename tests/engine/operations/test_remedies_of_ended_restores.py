from __future__ import annotations

import json
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.operations.remedy_worlds import RUNNER, World
from tests.engine.stack.conftest import kill_servers
from vault_harness.local.vault.keyring import unfinished_keyring
from vault_harness.waiting import wait_until

pytestmark = pytest.mark.slow  # each remedy takes a process or two

_ENDED = """
import os, signal, sys
from pathlib import Path
from vault_harness.settings import Settings
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.vault import cluster
from vault_harness.operator.backup import Backup, Opener, restore

step, source = sys.argv[1:]

def checkpoint(now):
    if now == step:
        os.kill(os.getpid(), signal.SIGKILL)

stack, backup = LocalStack(Settings.from_environment()), Backup.load(Path(source))
opener = Opener(passphrase=os.environ["HARNESS_BACKUP_PASSPHRASE"])
opened = backup.open(opener)
with cluster.operators(stack.endpoints().addresses) as nodes:
    restore(nodes, stack.keyring_path, opened, checkpoint=checkpoint)
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.begin()
    made.sh(f"{RUNNER} vault -- kv put ecommerce/only/here A=1")
    made.sh(f"{RUNNER} backup && {RUNNER} destroy --yes && {RUNNER} up")
    made.keep_root()
    yield made
    made.sh(f"{RUNNER} destroy --yes", code=None)


def backup_of(world: World) -> Path:
    (found,) = (world.directory / "vault-backups").iterdir()
    return found


def end_at(world: World, step: str) -> None:
    words = [sys.executable, "-c", _ENDED, step, str(backup_of(world))]
    world.sh(shlex.join(words), code=-signal.SIGKILL)


def command_in(advice: str) -> str:
    found = re.search(rf"{re.escape(RUNNER)} restore --source .*? again", advice)
    assert found is not None, advice
    return found[0].removesuffix(" again")


def next_step(world: World) -> str:
    return world.sh(f"{RUNNER} status | grep ^next:")


def finished(world: World) -> None:
    """Check that all of the backup is there, and that no task mentions the restore."""
    world.keep_root()
    with world.op() as op:
        assert op.request("GET", "ecommerce/data/only/here")["data"]["data"] == {"A": "1"}
    assert not [kind for kind, _ in world.troubles() if kind.startswith("restore")]
    assert json.loads(world.sh(f"{RUNNER} status --json"))["restoring"] is None
    assert not unfinished_keyring(world.data_dir / "init.json").exists()


@pytest.mark.parametrize("step", ["put the snapshot in", "unsealed"])
def test_the_keys_are_not_here_yet(world: World, step: str) -> None:
    """The restore is the only finding, since it brings the keys."""
    before = (world.data_dir / "init.json").read_bytes()
    end_at(world, step)
    wait_until(
        lambda: [kind for kind, _ in world.troubles()] == ["restore-half-done"],
        "the doctor to tell that alone, once Vault answers that takes the snapshot",
        timeout=60,
    )
    ((_, advice),) = world.troubles()
    assert str(backup_of(world)) in next_step(world)
    assert (world.data_dir / "init.json").read_bytes() == before

    world.sh(f"{command_in(advice)} && {RUNNER} up")

    finished(world)


def test_the_power_failed_too(world: World) -> None:
    """The advice starts the servers first; `up` ends with an error that names the restore."""
    end_at(world, "unsealed")
    kill_servers(world.stack)
    (kind, advice), *_ = world.troubles()
    assert kind == "restore-half-done"
    assert advice.startswith(f"{RUNNER} up")
    assert f"{RUNNER} up" in next_step(world)

    assert "a restore was ended half-way" in world.sh(f"{RUNNER} up", code=6)
    world.sh(command_in(advice))

    finished(world)


def test_it_lacks_the_comparison_alone(world: World) -> None:
    end_at(world, "keyring in place")
    (kind, advice), *_ = world.troubles()
    assert kind == "restore-not-compared"
    assert str(backup_of(world)) in next_step(world)

    assert "the same as in the backup" in world.sh(command_in(advice))

    finished(world)


def test_a_restore_can_be_given_up_before_the_snapshot_is_in(world: World) -> None:
    end_at(world, "kept the backup's keys")
    (kind, advice), *_ = world.troubles()
    assert kind == "restore-half-done"
    assert f"{RUNNER} down, then {RUNNER} up" in advice

    world.sh(f"{RUNNER} down && {RUNNER} up")

    assert "restore-half-done" not in dict(world.troubles())
    assert world.values()
