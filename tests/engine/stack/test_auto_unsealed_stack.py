from __future__ import annotations

import json
import os
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.engine.stack.conftest import servers
from tests.engine.stack.seals import kept, put
from vault_harness.errors import StackError, named
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.seal import SealKind
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import launch
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import (
    Keys,
    Lock,
    Opener,
    make_backup,
    new_identity,
    restore,
)
from vault_harness.waiting import wait_until

pytestmark = pytest.mark.slow  # stacks with two servers start many times

BLUEPRINT = Blueprint.default()


def configuration(stack: LocalStack) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((stack.data_dir / "vault" / "vault.json").read_text())
    return content


@pytest.mark.parametrize("kind", ["static", "transit"])
def test_it_unseals_itself(stack: LocalStack, kind: SealKind) -> None:
    stack.up(seal=kind)
    put(stack, "of before")

    assert Keyring.load(stack.keyring_path).kind == "recovery"
    assert StackRecord.load(stack.data_dir).seal == stack.status().seal == kind
    assert stack.restart()
    assert kept(stack) == "of before"
    stack.down()
    stack.up()
    assert kept(stack) == "of before"

    running = servers(stack)
    stack.destroy()
    # An ended process stays until its new parent reads its exit code.
    wait_until(lambda: not any(map(psutil.Process.is_running, running)), "all to end", timeout=30)
    assert not stack.data_dir.exists()


def test_a_holder_that_died_is_started_again(stack: LocalStack) -> None:
    stack.up(seal="transit")
    put(stack, "of before")
    holder = psutil.Process(StackRecord.load(stack.data_dir).services["holder"]["pid"])
    os.kill(holder.pid, signal.SIGKILL)
    wait_until(lambda: not holder.is_running(), "the holder to be gone", timeout=10)

    assert kept(stack) == "of before"
    stack.seal()
    stack.unseal()
    assert kept(stack) == "of before"
    assert stack.restart()


def test_no_key_is_in_the_configuration(stack: LocalStack) -> None:
    stack.up(seal="transit")
    seal = configuration(stack)["seal"]["transit"]
    token = Path(seal["token"].removeprefix("file://"))

    assert token.stat().st_mode & 0o777 == 0o600
    assert token.read_text() not in (stack.data_dir / "vault" / "vault.json").read_text()
    assert token.read_text() not in " ".join(
        psutil.Process(StackRecord.load(stack.data_dir).services["vault"]["pid"]).cmdline()
    )


def test_a_backup_goes_into_the_same_kind_of_seal_only(
    stack: LocalStack, engine: Engine, tmp_path: Path
) -> None:
    """A Vault with keys is refused unchanged."""
    stack.up(seal="static")
    stack.seed(BLUEPRINT, environ={})
    keys = Keys(Keyring.load(stack.keyring_path))
    private, public = new_identity()
    with closing(stack.operator()) as op:
        backup = make_backup(
            op, keys, tmp_path / "backups", Lock(recipients=(public,)), mounts=BLUEPRINT.mounts
        )
    opener = Opener(identities=(private,))

    with launch(engine, BLUEPRINT, NodeSpec(directory=tmp_path / "other", storage="raft")) as other:
        path = tmp_path / "other.json"
        other.keyring.save(path)
        with pytest.raises(StackError, match="unseals itself, and this one is unsealed with keys"):
            restore([other.operator], path, backup.open(opener), overwrite=True)
        assert not other.operator.seal_status().sealed
        assert Keyring.load(path) == other.keyring


def test_a_start_that_was_ended_when_the_holder_ran(stack: LocalStack) -> None:
    """It has no data, so `up` finishes it."""
    provider = stack.provider()
    provider.start_holder()
    status = stack.status()
    assert (status.state, status.next_step) == ("forgotten", named("up"))
