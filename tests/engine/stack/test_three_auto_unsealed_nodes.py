from __future__ import annotations

import base64
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import psutil
import pytest

from tests.engine.clusters import all_vote
from tests.engine.stack.seals import keep
from vault_harness.errors import ServerDied
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import new_identity
from vault_harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,  # a cluster takes ten seconds
    pytest.mark.usefixtures("haproxy"),
]

BLUEPRINT = Blueprint.default()


def read(stack: LocalStack) -> object:
    with closing(stack.operator()) as op:
        return op.request("GET", "kept/x")["data"]["value"]


def killed(pid: int) -> None:
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not process.is_running(), "a process to be gone", timeout=10)


@contextlib.contextmanager
def no_good_keys(stack: LocalStack) -> Iterator[None]:
    """Use a wrong keyring in the block: an open node has opened itself."""
    keyring = Keyring.load(stack.keyring_path)
    others = tuple(base64.b64encode(secrets.token_bytes(33)).decode() for _ in keyring.keys)
    replace(keyring, keys=others).save(stack.keyring_path)
    yield
    keyring.save(stack.keyring_path)


def test_a_node_that_was_killed_unseals_itself(stack: LocalStack) -> None:
    stack.up(ha=True, seal="static")
    all_vote(stack)
    assert stack.status().seal == "static"
    keep(stack, "of before")
    nodes, leader = Nodes(stack), stack.status().leader
    assert leader is not None

    with no_good_keys(stack):
        killed(StackRecord.load(stack.data_dir).services[leader]["pid"])
        wait_until(
            lambda: stack.status().leader not in {None, leader},
            "a leader",
            timeout=30,
            interval=0.25,
        )
        nodes.start(leader)
        all_vote(stack)
        nodes.add()
        all_vote(stack, 4)
        assert stack.restart()
        all_vote(stack, 4)
        stack.down()
        stack.up()
        all_vote(stack, 4)
    assert read(stack) == "of before"


def test_the_holder_is_away_and_comes_back(stack: LocalStack) -> None:
    """Without it nodes run on but cannot start; with it they can."""
    stack.up(ha=True, seal="transit")
    keep(stack, "of before")
    nodes = Nodes(stack)
    nodes.kill("vault-3")
    killed(StackRecord.load(stack.data_dir).services["holder"]["pid"])

    provider = stack.provider()
    with pytest.raises(ServerDied):
        provider.start_node("vault-3")
    assert read(stack) == "of before"

    with no_good_keys(stack):
        nodes.start("vault-3")
    all_vote(stack)
    assert read(stack) == "of before"


def test_sealed_by_hand_all_of_them_take_recovery_keys(stack: LocalStack) -> None:
    stack.up(ha=True, seal="static")
    keep(stack, "of before")
    # New servers try to unseal themselves for some seconds, which would undo the seal.
    assert stack.restart()
    stack.seal()
    assert {node.role for node in stack.status().nodes} == {"sealed"}

    stack.unseal()

    all_vote(stack)
    assert read(stack) == "of before"


def test_one_auto_unsealed_server_becomes_three(stack: LocalStack) -> None:
    stack.up(seal="static")
    keep(stack, "of before")
    stack.down()

    with no_good_keys(stack):
        stack.up(ha=True)

    all_vote(stack)
    Nodes(stack).kill("vault")
    wait_until(lambda: stack.status().leader is not None, "a leader", timeout=30, interval=0.25)
    assert read(stack) == "of before"


def test_the_tasks_know_its_seal(stack: LocalStack) -> None:
    stack.up(ha=True, seal="static")
    stack.seed(BLUEPRINT, environ={})
    _, public = new_identity()
    backups = str(stack.data_dir.parent / "backups")

    healthy = task("doctor")
    saved = task("backup", "--recipient", public, "--to", backups)
    told = task("status")

    assert healthy.returncode == 0, healthy.stdout
    assert saved.returncode == 0, saved.stderr
    assert "with the key of the static seal" in saved.stdout
    assert "static" in told.stdout
    assert told.stdout.count("voter") == 3


def task(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vault_harness", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)
