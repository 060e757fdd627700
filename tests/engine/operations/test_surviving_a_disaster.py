from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import OperatorError, StackError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.shape import Engine, Node, NodeSpec
from vault_harness.local.stack.launching import Stack, launch
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin, alive
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.kv import Kv
from vault_harness.local.vault.tokens import install_operator, operator_token
from vault_harness.operator.backup import (
    Backup,
    Keys,
    Lock,
    Opened,
    Opener,
    cluster_id,
    compare,
    drill,
    make_backup,
    new_identity,
    restore,
    restore_keys,
    take_contents,
)
from vault_harness.operator.rotate import rotate_secret_id

PRIVATE, PUBLIC = new_identity()
LOCK, OPENER = Lock(recipients=(PUBLIC,)), Opener(identities=(PRIVATE,))


@pytest.fixture(scope="module")
def durable(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A seeded Vault on raft storage. Tests read it and add secrets of their own."""
    directory = tmp_path_factory.mktemp("durable")
    with launch(
        engine, Blueprint.default(), NodeSpec(directory=directory, storage="raft")
    ) as stack:
        yield stack


@pytest.fixture
def empty(engine: Engine, tmp_path: Path) -> Iterator[tuple[Node, Path]]:
    """An initialised, unsealed, empty Vault and its keyring's path."""
    node = engine.node(NodeSpec(name="empty", directory=tmp_path / "empty", storage="raft"))
    node.start()
    op = VaultAdmin(node.address)
    keyring = op.init()
    path = tmp_path / "vault-data" / "init.json"
    path.parent.mkdir(mode=0o700)
    keyring.save(path)
    op.unseal(keyring)
    op.close()
    yield node, path
    node.kill()


@pytest.mark.slow  # starts a second Vault and restores into it
def test_a_drill_shows_that_the_backup_would_do(
    durable: Stack, engine: Engine, tmp_path: Path
) -> None:
    report = drill(durable.operator, Keys(durable.keyring), engine, durable.blueprint, tmp_path)
    assert report.problems == []
    assert report.comparison is not None
    assert report.comparison.same == len(list(Kv(durable.operator).paths())) >= 12
    assert report.logins == list(durable.blueprint.approles)
    assert 0 < report.seconds_to_recover < report.seconds


def test_a_restore_brings_back_what_was_backed_up(
    durable: Stack, empty: tuple[Node, Path], tmp_path: Path
) -> None:
    """Versions, deletions, policies, roles and tokens are back; later ones are gone and named."""
    node, path = empty
    kv = Kv(durable.operator)
    kv.write("backend/gone", {"A": "1"}, cas=0)
    kv.delete("backend/gone", 1)
    operator = install_operator(durable.operator, durable.blueprint.mounts, tmp_path / "operator")
    keys = Keys(durable.keyring, operator_token(tmp_path / "operator"))
    lost = approle.new_secret_id(durable.operator, "backend")
    backup = make_backup(operator, keys, tmp_path / "b", LOCK, mounts=["ecommerce"])
    assert backup.vault == cluster_id(durable.operator) != ""
    opened = backup.open(OPENER)
    kv.write("backend/later", {"A": "1"}, cas=0)
    op = VaultAdmin(node.address)
    restored = restore([op], path, opened)
    assert restored.secret_ids == {"backend": 1}
    assert restored.comparison.different == ()
    assert restored.comparison.same == len(opened.contents.secrets)
    assert Keyring.load(path) == durable.keyring
    assert alive(op.with_token(operator_token(path.parent))) is not None
    assert Kv(op.with_token(durable.keyring.root_token)).read("backend/gone").state == "deleted"
    assert compare(durable.operator, opened.contents).different == (
        "ecommerce/backend/later: not in the backup",
    )
    root = op.with_token(durable.keyring.root_token)
    rotate_secret_id(root, "backend", path.parent, end_others=True)
    assert approle.lookup(root, "backend", lost.secret_id) is None


def test_a_vault_that_is_not_empty_is_not_restored_into(
    durable: Stack, stack: Stack, tmp_path: Path
) -> None:
    backup = make_backup(
        durable.operator, Keys(durable.keyring), tmp_path / "b", LOCK, mounts=["ecommerce"]
    )
    stack.keyring.save(tmp_path / "init.json")
    before = take_contents(stack.operator, ["ecommerce"])
    with pytest.raises(StackError, match="not empty") as refusal:
        restore(
            [VaultAdmin(stack.node.address)],
            tmp_path / "init.json",
            backup.open(OPENER),
        )
    assert compare(stack.operator, before).different == ()
    assert "destroy" not in refusal.value.remedy


@pytest.mark.slow  # several servers
def test_a_mount_outside_the_backup_is_not_replaced_unasked(
    durable: Stack, empty: tuple[Node, Path], tmp_path: Path
) -> None:
    """With --overwrite it is kept in a snapshot."""
    node, path = empty
    before = Keyring.load(path)
    root = VaultAdmin(node.address).with_token(before.root_token)
    root.request("POST", "sys/mounts/mine", type="kv", options={"version": "2"})
    Kv(root, "mine").write("x", {"a": "b"}, cas=0)
    install_operator(root, ["mine"], path.parent).close()
    token = operator_token(path.parent)
    mine = take_contents(root, ["mine"])
    install_operator(durable.operator, ["ecommerce"], tmp_path / "theirs").close()
    keys = Keys(durable.keyring, operator_token(tmp_path / "theirs"))
    backup = make_backup(durable.operator, keys, tmp_path / "b", LOCK, mounts=["ecommerce"])
    opened = backup.open(OPENER)
    op = VaultAdmin(node.address)

    with pytest.raises(StackError, match="not empty") as refusal:
        restore([op], path, opened)
    assert "mount mine/" in refusal.value.looked_at
    assert compare(root, mine).different == ()

    done = restore([op], path, opened, overwrite=True)
    assert done.kept is not None
    assert Keyring.load(done.kept) == before
    assert done.kept_token is not None
    assert done.kept_token.read_text() == token
    assert done.overwritten is not None
    again = Opened(done.overwritten.read_bytes(), mine, Keys(before, token))
    restore([op], path, again, overwrite=True)
    assert compare(root, mine).different == ()
    assert alive(op.with_token(token)) is not None


def test_a_restore_over_its_own_vault_that_was_ended_goes_on(
    empty: tuple[Node, Path], tmp_path: Path
) -> None:
    """It begins again if the snapshot is not in, although the token is known, and else goes on."""
    node, path = empty
    keyring = Keyring.load(path)
    op = VaultAdmin(node.address)
    root = op.with_token(keyring.root_token)
    policy = "sys/policies/acl/team"
    old, new = 'path "a" { capabilities = ["read"] }', 'path "b" { capabilities = ["read"] }'
    root.request("PUT", policy, policy=old)
    backup = make_backup(root, Keys(keyring), tmp_path / "b", LOCK, mounts=[])
    root.request("PUT", policy, policy=new)
    opened = backup.open(OPENER)

    for step, found in (("kept the backup's keys", new), ("put the snapshot in", old)):
        with pytest.raises(OSError, match="ended"):
            restore([op], path, opened, overwrite=True, checkpoint=_end_at(step))
        assert root.request("GET", policy)["data"]["policy"] == found
    done = restore([op], path, opened, overwrite=True)

    assert done.resumed
    assert done.overwritten is not None, "what the first run has kept is told by the next"
    assert done.overwritten.is_file()


@pytest.mark.slow  # two restores
@pytest.mark.parametrize("own", [True, False], ids=["over its own", "into an empty one"])
def test_another_backup_after_a_restore_that_was_ended(
    durable: Stack, empty: tuple[Node, Path], tmp_path: Path, own: bool
) -> None:
    """Another backup with the same keys is put in, although one is in already."""
    node, path = empty
    keyring = Keyring.load(path) if own else durable.keyring
    op = VaultAdmin(node.address)
    root = op.with_token(keyring.root_token) if own else durable.operator
    policy = "sys/policies/acl/which"
    backups = []
    for name in ("first", "second"):
        root.request("PUT", policy, policy=f'path "{name}" {{ capabilities = ["read"] }}')
        made = make_backup(root, Keys(keyring), tmp_path / name, LOCK, mounts=[])
        backups.append(made.open(OPENER))
    root.request("DELETE", policy)
    first, second = backups

    with pytest.raises(OSError, match="ended"):
        restore([op], path, first, overwrite=True, checkpoint=_end_at("put the snapshot in"))
    done = restore([op], path, second, overwrite=True)

    assert not done.resumed
    with closing(op.with_token(keyring.root_token)) as acting:
        assert '"second"' in acting.request("GET", policy)["data"]["policy"]
    assert Keyring.load(path) == keyring
    assert not path.with_name("init.json.restoring").exists()


@pytest.mark.slow  # two restores
def test_a_restore_over_its_own_vault_whose_answer_was_lost(
    empty: tuple[Node, Path], tmp_path: Path
) -> None:
    """If the snapshot is in without a note, tokens from after the backup are gone.

    The earlier snapshot needs its root token, so that keyring is kept.
    """
    node, path = empty
    before = Keyring.load(path)
    op = VaultAdmin(node.address)
    root = op.with_token(before.root_token)
    root.request("POST", "sys/auth/approle", type="approle")
    backup = make_backup(root, Keys(before), tmp_path / "b", LOCK, mounts=[])
    made = root.request("POST", "auth/token/create", policies=["root"], no_parent=True)
    after = replace(before, root_token=made["auth"]["client_token"])
    after.save(path)
    opened = backup.open(OPENER)

    with pytest.raises(OSError, match="ended"):
        restore([op], path, opened, overwrite=True, checkpoint=_end_at("put the snapshot in"))
    path.with_name("init.json.restoring").unlink()
    done = restore([op], path, opened, overwrite=True)

    assert Keyring.load(path) == before
    assert done.kept is not None
    assert Keyring.load(done.kept) == after


def _end_at(wanted: str) -> Callable[[str], None]:
    def checkpoint(step: str) -> None:
        if step == wanted:
            raise OSError("ended")

    return checkpoint


def test_storage_that_makes_no_snapshots_is_named(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="not raft"):
        make_backup(stack.operator, None, tmp_path / "b", LOCK, mounts=["ecommerce"])
    assert not (tmp_path / "b").exists()


def test_a_comparison_names_every_difference(stack: Stack) -> None:
    contents = take_contents(stack.operator, ["ecommerce"])
    kv = Kv(stack.operator)
    kv.write("backend/new", {"A": "1"}, cas=0)
    kv.write("backend/django", {"A": "other"}, cas=1)
    kv.delete("backend/redis", 1)
    stack.operator.request("DELETE", "ecommerce/metadata/ai/openai")
    stack.operator.request("DELETE", "sys/policies/acl/backend")
    found = compare(stack.operator, contents)
    assert set(found.different) == {
        "ecommerce/backend/new: not in the backup",
        "ecommerce/backend/django: version 2, in the backup 1",
        "ecommerce/backend/redis: deleted, in the backup present",
        "ecommerce/ai/openai: missing",
        "policy backend: missing",
    }


def test_a_secret_written_during_a_backup_is_no_difference(
    durable: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kv = Kv(durable.operator)
    take = durable.operator.client.sys.take_raft_snapshot

    def slow() -> Any:
        answer = take()
        kv.write("backend/moving", {"A": "1"}, cas=kv.read("backend/moving").version)
        return answer

    monkeypatch.setattr(durable.operator.client.sys, "take_raft_snapshot", slow)
    backup = make_backup(durable.operator, None, tmp_path, LOCK, mounts=["ecommerce"])
    _, contents = backup.open_snapshot(OPENER)
    assert contents.moving == ("ecommerce/backend/moving",)
    assert compare(durable.operator, contents).different == ()


def test_keys_come_back_where_the_tasks_look(tmp_path: Path, durable: Stack) -> None:
    """Another keyring is replaced only on request, and kept."""
    path = tmp_path / "vault-data" / "init.json"
    assert restore_keys(Keys(durable.keyring, "token"), path).kept is None
    assert Keyring.load(path) == durable.keyring
    assert operator_token(path.parent) == "token"
    other = Keys(Keyring(("a", "b", "c"), 2, "t"))
    with pytest.raises(StackError, match="another keyring is there"):
        restore_keys(other, path)
    done = restore_keys(other, path, overwrite=True)
    assert Keyring.load(path) == other.keyring
    assert done.kept is not None
    assert Keyring.load(done.kept) == durable.keyring


@pytest.mark.parametrize("content", ["nonsense", "{}", "another Vault's"])
def test_keys_that_open_this_vault_replace_what_does_not(
    stack: Stack, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "init.json"
    path.write_text(content)
    if content == "another Vault's":
        Keyring(("a", "b", "c"), 2, "t").save(path)
    before = path.read_bytes()
    stack.operator.seal()
    op = VaultAdmin(stack.node.address)
    done = restore_keys(Keys(stack.keyring), path, op=op)
    assert done.unsealed
    assert not op.seal_status().sealed
    assert Keyring.load(path) == stack.keyring
    assert done.kept is not None
    assert done.kept.read_bytes() == before


def test_keys_of_another_vault_are_refused(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "init.json"
    stack.keyring.save(path)
    stack.operator.seal()
    op = VaultAdmin(stack.node.address)
    keys = [base64.b64encode(secrets.token_bytes(33)).decode() for _ in range(3)]
    other = Keys(Keyring(tuple(keys), 3, "t"))
    with pytest.raises(OperatorError, match="another Vault's backup"):
        restore_keys(other, path, op=op, overwrite=True)
    assert Keyring.load(path) == stack.keyring
    op.unseal(stack.keyring)


def test_a_newer_token_is_not_replaced_by_the_backups(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "init.json"
    install_operator(stack.operator, ["ecommerce"], tmp_path).close()
    stack.keyring.save(path)
    token = operator_token(tmp_path)
    older = Keys(replace(stack.keyring, root_token="dead"), "dead too")
    restore_keys(older, path, op=VaultAdmin(stack.node.address))
    assert Keyring.load(path) == stack.keyring
    assert operator_token(tmp_path) == token


@pytest.mark.slow  # each of its five restores waits for an election
def test_killed_after_any_step_the_next_restore_finishes(
    durable: Stack, engine: Engine, tmp_path: Path, killable: Callable[..., Any]
) -> None:
    backup = make_backup(
        durable.operator, Keys(durable.keyring), tmp_path / "b", LOCK, mounts=["ecommerce"]
    )
    step, killed = 1, True
    while killed:
        directory = tmp_path / str(step)
        node = engine.node(NodeSpec(name="e", directory=directory / "node", storage="raft"))
        node.start()
        op = VaultAdmin(node.address)
        keyring = op.init()
        path = directory / "init.json"
        keyring.save(path)
        op.unseal(keyring)
        arguments = {
            "addresses": [node.address],
            "keyring": str(path),
            "backup": str(backup.directory),
            "identity": PRIVATE,
        }
        killed = killable("restore", step, **arguments).killed
        if killed:
            ended = killable("restore", **arguments)
            assert ended.error is None, ended.error
        assert Keyring.load(path) == durable.keyring
        restored = op.with_token(durable.keyring.root_token)
        _, contents = Backup.load(backup.directory).open_snapshot(OPENER)
        assert compare(restored, contents).different == ()
        node.kill()
        step += 1
    assert step > 4
