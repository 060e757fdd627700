from __future__ import annotations

import errno
import itertools
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.engine.stack.seals import STEPS, Killed, all_agree, keep, migrate_and_kill, read
from vault_harness import files
from vault_harness.errors import (
    DeadlineExceeded,
    NotUp,
    OperatorError,
    PortTaken,
    ServerDied,
    StackError,
)
from vault_harness.judge.faults import Order
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.process.stack import ProcessStack
from vault_harness.local.engine.provider import Endpoints
from vault_harness.local.engine.seal import SealKind, seal_stanza
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import launch
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.root import revoke_root

pytestmark = pytest.mark.slow  # each starts and ends servers many times

UNSEALS_ITSELF: list[SealKind] = ["static", "transit"]


def is_whole(stack: LocalStack, seal: SealKind) -> None:
    all_agree(stack, seal)
    assert not (stack.data_dir / "seal-migration").exists()


@pytest.mark.parametrize("kind", UNSEALS_ITSELF)
def test_there_and_back(stack: LocalStack, kind: SealKind) -> None:
    """Values, tokens and keys stay; a restart needs keys only under the Shamir seal."""
    stack.up(tls=kind == "transit")
    token, keyring = keep(stack, "of before"), stack.keyring()
    pid = StackRecord.load(stack.data_dir).services["vault"]["pid"]
    assert stack.migrate_seal("shamir").action == "unchanged"
    assert StackRecord.load(stack.data_dir).services["vault"]["pid"] == pid

    done = stack.migrate_seal(kind)

    assert (done.action, done.source, done.target) == ("changed", "shamir", kind)
    is_whole(stack, kind)
    assert read(stack, token) == "of before"
    assert stack.restart()
    later = keep(stack, "of between")
    stack.seal()
    stack.unseal()
    aside = stack.migrate_seal("shamir").key_aside
    is_whole(stack, "shamir")
    assert stack.keyring() == keyring
    assert read(stack, token) == read(stack, later) == "of between"
    assert not stack.restart()
    stack.unseal()
    assert read(stack, token) == "of between"
    # The former seal's key is kept for old snapshots.
    assert aside is not None
    if kind == "transit":
        assert aside == stack.data_dir / "holder"
        assert (aside / "data").is_dir()
        assert "holder" not in stack.status().services
    else:
        key = stack.data_dir / "seal" / "static.key"
        assert (aside.stat().st_mode & 0o777, key.exists()) == (0o600, False)
        stack.migrate_seal("static")
        assert key.read_bytes() != aside.read_bytes()


def test_one_auto_unseal_migrates_to_the_other_directly(stack: LocalStack) -> None:
    stack.up(seal="transit")
    token = keep(stack, "of before")

    stack.migrate_seal("static")

    is_whole(stack, "static")
    assert stack.restart()
    assert read(stack, token) == "of before"


def test_keys_of_another_vault_are_found_before_it_is_ended(stack: LocalStack) -> None:
    stack.up()
    keyring = stack.keyring()
    assert keyring is not None
    first, *others = keyring.keys
    Keyring((first[::-1], *others), keyring.threshold, keyring.root_token).save(stack.keyring_path)

    with pytest.raises(OperatorError, match="did not take the unseal keys"):
        stack.migrate_seal("static")

    assert stack.status().state == "ready"
    assert not (stack.data_dir / "seal-migration").exists()
    keyring.save(stack.keyring_path)
    is_whole(stack, "shamir")


def test_a_server_that_does_not_go_over_is_as_it_was(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.up()
    token = keep(stack, "of before")

    def never(*_: object, **__: object) -> None:
        raise DeadlineExceeded("it did not become active", looked_at="here", remedy="look")

    with monkeypatch.context() as patch:
        patch.setattr(VaultAdmin, "migrate_seal", never)
        with pytest.raises(OperatorError, match="keeps its seal shamir: it did not become"):
            stack.migrate_seal("static")

    shutil.rmtree(stack.data_dir / "seal-migration")  # data that did not open is kept there
    is_whole(stack, "shamir")
    assert read(stack, token) == "of before"
    stack.migrate_seal("static")
    assert read(stack, token) == "of before"


def test_a_server_that_does_not_start_with_the_new_seal(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.up()
    token = keep(stack, "of before")
    start = ProcessStack.start

    def dies(provider: ProcessStack, *, nodes: int = 1) -> Endpoints:
        if seal_stanza(stack.data_dir):
            raise ServerDied("Vault ended by itself", looked_at="its log", remedy="look")
        return start(provider, nodes=nodes)

    with monkeypatch.context() as patch:
        patch.setattr(ProcessStack, "start", dies)
        with pytest.raises(OperatorError, match="keeps its seal shamir: Vault ended"):
            stack.migrate_seal("static")

    is_whole(stack, "shamir")
    assert read(stack, token) == "of before"


def test_no_room_for_the_copy(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.up()
    token = keep(stack, "of before")

    def full(_: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    with monkeypatch.context() as patch:
        patch.setattr(files, "copy_directory", full)
        with pytest.raises(OperatorError, match="could not be copied: No space left"):
            stack.migrate_seal("static")

    is_whole(stack, "shamir")
    assert read(stack, token) == "of before"


def test_writes_after_a_kill_survive_a_migration(
    stack: LocalStack, killed: Killed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Vault migrated before a kill, later writes survive any further failure."""
    stack.up()
    killed("static", "gave the keys")
    token = keep(stack, "of after")

    def taken(*_: object, **__: object) -> None:
        raise PortTaken("port 8200 is taken", looked_at="it", remedy="end it")

    with monkeypatch.context() as patch:
        patch.setattr(ProcessStack, "start", taken)
        with pytest.raises(PortTaken):
            stack.migrate_seal("static")
    stack.up()

    is_whole(stack, "static")
    assert read(stack, token) == "of after"


def test_a_server_that_died_while_it_went_over(
    stack: LocalStack, killed: Killed, engine: Engine, tmp_path: Path
) -> None:
    """Data that the keys do not open is kept, and the copy takes its place."""
    stack.up()
    token = keep(stack, "of before")
    killed("static", "wrote the stanza")
    with launch(
        engine, Blueprint.default(), NodeSpec(directory=tmp_path / "other", storage="raft")
    ) as other:
        other.node.stop()
        shutil.rmtree(stack.data_dir / "vault" / "data")
        shutil.copytree(tmp_path / "other" / "data", stack.data_dir / "vault" / "data")

    assert stack.migrate_seal("static").action == "finished"

    assert [path.name[:9] for path in (stack.data_dir / "seal-migration").iterdir()] == [
        "data-that"
    ]
    assert stack.status().seal == "static"
    assert read(stack, token) == "of before"


@pytest.mark.long
@pytest.mark.parametrize("kind", UNSEALS_ITSELF)
def test_killed_after_any_step_the_next_one_goes_on(
    stack: LocalStack, killed: Killed, kind: SealKind
) -> None:
    """`seal.migrate`, `up`, `down` and `up`, or `unseal` finish it, in both ways."""
    stack.up()
    token = keep(stack, "of before")
    ways = itertools.cycle([migrate_again, up_again, down_and_up_again, unseal_again])
    for step in STEPS:
        targets: list[SealKind] = [kind, "shamir"]
        for target in targets:
            assert killed(target, step)[-1] == step
            assert stack.status().migrating_to == target

            next(ways)(stack, target)

            is_whole(stack, target)
            assert read(stack, token) == "of before", (step, target)
        next(ways)  # so that a step has another way back than there


def migrate_again(stack: LocalStack, target: SealKind) -> None:
    assert stack.migrate_seal(target).action == "finished"


def up_again(stack: LocalStack, _: SealKind) -> None:
    stack.up()


def down_and_up_again(stack: LocalStack, _: SealKind) -> None:
    stack.down()
    stack.up()


def unseal_again(stack: LocalStack, _: SealKind) -> None:
    try:
        stack.unseal()
    except NotUp:
        stack.up()


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.2])
def test_vault_killed_while_it_goes_over(stack: LocalStack, moment: float) -> None:
    """It dies at this moment with both seals; the next `up` finishes."""
    stack.up()
    token = keep(stack, "of before")
    migrate_and_kill(stack, "vault", moment)
    stack.up()

    assert stack.status().seal == "static"
    assert stack.restart()
    assert read(stack, token) == "of before"


def test_an_unfinished_migration_is_named_first(stack: LocalStack, killed: Killed) -> None:
    stack.up()
    killed("static", "gave the keys")

    assert stack.status().next_step.endswith("seal.migrate static")
    for refused in (stack.migrations.check_settled, stack.restart):
        with pytest.raises(StackError, match="from shamir to static was ended half-way") as caught:
            refused()
        assert "seal.migrate static" in caught.value.remedy
    with pytest.raises(StackError, match="from shamir to static was ended half-way"):
        stack.up(seal="transit")
    stack.up(seal="static")
    assert stack.status().migrating_to is None


def test_a_half_done_migration_is_finished_first(stack: LocalStack, killed: Killed) -> None:
    stack.up()
    token = keep(stack, "of before")
    killed("static", "copied the data")

    done = stack.migrate_seal("shamir")

    assert (done.action, done.source) == ("changed", "static")
    assert read(stack, token) == "of before"


def test_faults_by_hand_stay_after_a_migration(stack: LocalStack) -> None:
    stack.up()
    order = Order(act="fail", targets=("login",), first=2, status=503)
    stack.fault_requests(order.to_json())
    before = stack.status()

    stack.migrate_seal("static")

    now = stack.status()
    assert (now.proxies, now.obstacles) == (before.proxies, before.obstacles)
    assert now.obstacles != ()
    assert now.recorder is not None


def test_after_root_was_revoked(stack: LocalStack) -> None:
    """The operator's token is enough, and no root token is left."""
    stack.up()
    stack.seed(Blueprint.default(), environ={})
    with closing(stack.operator()) as op:
        revoke_root(op, stack.keyring_path, ["ecommerce"], stack.data_dir)

    stack.migrate_seal("static")

    with closing(stack.operator()) as op:
        policies = [
            op.request("POST", "auth/token/lookup-accessor", accessor=accessor)["data"]["policies"]
            for accessor in op.request("LIST", "auth/token/accessors")["data"]["keys"]
        ]
    assert ["root"] not in policies
