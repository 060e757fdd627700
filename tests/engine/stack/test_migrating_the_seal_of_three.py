"""Exchanging the seal of three nodes: all of them go over, whoever is killed on the way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from vault_harness.engine import SealKind, seal_stanza
from vault_harness.errors import (
    DeadlineExceeded,
    HarnessError,
    OperatorError,
    ProgramMissing,
    StackError,
)
from vault_harness.programs import find_balancer
from vault_harness.stack import LocalStack, Nodes, StackRecord
from vault_harness.vault import cluster

pytestmark = pytest.mark.slow  # each makes a cluster, and starts all of it several times


@pytest.fixture(autouse=True)
def haproxy() -> None:
    """HAProxy must be here."""
    try:
        find_balancer()
    except ProgramMissing as error:
        pytest.skip(error.cause)


def keep(stack: LocalStack, value: str) -> str:
    """Keep a value in Vault; gives a token that is not root's and reads it."""
    with closing(stack.operator()) as op:
        if "kept/" not in op.request("GET", "sys/mounts")["data"]:
            op.request("POST", "sys/mounts/kept", type="kv", options={"version": "1"})
            op.request(
                "PUT", "sys/policies/acl/reader", policy='path "kept/*" {capabilities = ["read"]}'
            )
        op.request("POST", "kept/x", value=value)
        made = op.request("POST", "auth/token/create-orphan", policies=["reader"], ttl="1h")
        return str(made["auth"]["client_token"])


def read(stack: LocalStack, token: str) -> object:
    """The value that was kept, by a token of before."""
    with closing(stack.operator()) as op, closing(op.with_token(token)) as reader:
        return reader.request("GET", "kept/x")["data"]["value"]


def is_whole(stack: LocalStack, seal: SealKind) -> None:
    """Three voters, and all that says which seal they have agrees."""
    status, keyring = stack.status(), stack.keyring()
    assert (status.state, status.seal, status.migrating_to) == ("ready", seal, None)
    assert sorted(node.role for node in status.nodes) == ["leader", "standby", "standby"]
    assert {node.voter for node in status.nodes} == {True}
    assert keyring is not None
    assert keyring.kind == ("shamir" if seal == "shamir" else "recovery")
    assert list(seal_stanza(stack.data_dir)) == ([] if seal == "shamir" else [seal])


def test_there_and_on_and_back(stack: LocalStack) -> None:
    """Values and tokens stay under each seal; nothing is left of the way there."""
    stack.up(ha=True)
    token = keep(stack, "of before")
    way: list[SealKind] = ["static", "transit", "shamir"]

    for target in way:
        stack.migrate_seal(target)

        is_whole(stack, target)
        assert not (stack.data_dir / "seal-migration").exists()
        assert read(stack, token) == "of before"
        if target != "shamir":
            assert stack.restart()
            is_whole(stack, target)


_TASK = """
import os, signal, sys
from vault_harness.settings import Settings
from vault_harness.stack import LocalStack

def checkpoint(step):
    if step == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

LocalStack(Settings.from_environment()).migrate_seal(sys.argv[1], checkpoint=checkpoint)
"""

STEPS = (
    *("began", "keys at hand", "ended Vault", "copied the data", "wrote the stanza"),
    *("started Vault with both seals", "gave the keys", "keyring says what its keys are"),
    *("went over", "proved", "put the old key aside"),
)


def test_killed_after_any_step_up_goes_on(stack: LocalStack) -> None:
    """There and back in turn, from wherever it was."""
    stack.up(ha=True)
    token = keep(stack, "of before")
    targets: list[SealKind] = ["static", "shamir"]
    for number, step in enumerate(STEPS):
        target = targets[number % 2]
        done = subprocess.run(
            [sys.executable, "-c", _TASK, target, step], capture_output=True, text=True, check=False
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert stack.status().migrating_to == target

        stack.up()

        is_whole(stack, target)
        assert read(stack, token) == "of before", step


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("name", ["vault", "vault-3"])
def test_a_node_killed_while_they_go_over(stack: LocalStack, name: str, moment: float) -> None:
    """So many seconds after their start with both seals: the next `up` finishes it in any case."""
    stack.up(ha=True)
    token = keep(stack, "of before")
    timers: list[threading.Timer] = []

    def checkpoint(step: str) -> None:
        if step == "started Vault with both seals" and not timers:
            pid = StackRecord.load(stack.data_dir).services[name]["pid"]
            timers.append(threading.Timer(moment, os.kill, (pid, signal.SIGKILL)))
            timers[0].start()

    with contextlib.suppress(HarnessError):
        stack.migrate_seal("static", checkpoint=checkpoint)
    timers[0].join()
    stack.up()

    is_whole(stack, "static")
    assert read(stack, token) == "of before"


def test_nodes_that_do_not_go_over_are_as_they_were(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All three have the data of their copies, and serve under the old seal."""
    stack.up(ha=True)
    token = keep(stack, "of before")

    def never(*_: object, **__: object) -> None:
        raise DeadlineExceeded("they did not become active", looked_at="here", remedy="look")

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "migrate_seal", never)
        with pytest.raises(OperatorError, match="has its seal shamir as before: they did not"):
            stack.migrate_seal("static")

    is_whole(stack, "shamir")
    assert read(stack, token) == "of before"
    left = [path.name for path in (stack.data_dir / "seal-migration").iterdir()]
    assert len(left) == 6, "of three nodes, after each of two attempts"
    assert all(name.startswith("data-that-did-not-open") for name in left)


def test_not_while_a_node_is_away(stack: LocalStack) -> None:
    """It would come back with a seal that nothing opens; once it serves, all go over."""
    stack.up(ha=True)
    Nodes(stack).kill("vault-2")

    with pytest.raises(StackError, match="never be opened again: vault-2") as caught:
        stack.migrate_seal("static")

    assert "node.start vault-2" in caught.value.remedy
    assert not (stack.data_dir / "seal-migration").exists()
    Nodes(stack).start("vault-2")
    stack.migrate_seal("static")
    is_whole(stack, "static")


def test_no_node_comes_or_goes_meanwhile(stack: LocalStack) -> None:
    """It would be started with a seal that the others are about to give up."""
    stack.up(ha=True)
    done = subprocess.run([sys.executable, "-c", _TASK, "static", "copied the data"], check=False)
    assert done.returncode == -signal.SIGKILL

    for refused in (Nodes(stack).add, lambda: Nodes(stack).start("vault-2")):
        with pytest.raises(StackError, match="from shamir to static was ended half-way"):
            refused()
