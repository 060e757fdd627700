"""The keys of a backup are tried on every node, and saved as the kind that they have now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from vault_harness.errors import DeadlineExceeded, OperatorError
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.connection import SealStatus
from vault_harness.local.vault.keyring import KeyKind, Keyring
from vault_harness.operator.backup import Keys, restore_keys, restore_seal_key
from vault_harness.operator.backup import keys as keys_module

KEYS = Keys(Keyring(("a", "b", "c"), 3, "root"))


class Node:
    """A node that accepts `KEYS`; it may be `away`, and it `knows` one valid token."""

    def __init__(
        self, *, kind: KeyKind = "shamir", sealed: bool = False, away: bool = False, knows: str = ""
    ) -> None:
        self.address = "http://node"
        self.kind, self.sealed, self.away, self.knows = kind, sealed, away, knows

    def seal_status(self) -> SealStatus:
        if self.away:
            raise OperatorError("it does not answer")
        return SealStatus(True, self.sealed, 5, 3, 0, "2.7.2", "openbao", kind=self.kind)

    def give_keys(self, keyring: Keyring) -> None:
        if self.away:
            raise OperatorError("it does not answer")
        if keyring.keys != KEYS.keyring.keys:
            raise OperatorError("these keys do not unseal this Vault")
        self.sealed = False


def as_operators(*nodes: Node) -> Sequence[VaultAdmin]:
    return cast("Sequence[VaultAdmin]", nodes)


@pytest.fixture(autouse=True)
def vault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elect a leader once most of three nodes are unsealed, and make waits short."""

    def health(nodes: Sequence[Any]) -> list[int]:
        leads = sum(not node.sealed for node in nodes) * 2 > 3 or len(nodes) == 1
        first = 200 if leads else 429
        return [503 if n.sealed else (first if n is nodes[0] else 429) for n in nodes]

    monkeypatch.setattr(cluster, "health_of_all", health)
    monkeypatch.setattr(keys_module, "_UNSEAL_SECONDS", 0.1)
    monkeypatch.setattr(keys_module, "_lives", lambda node, token: token == node.knows != "")


def test_every_node_is_opened(tmp_path: Path) -> None:
    """A single node has no quorum."""
    nodes = [Node(sealed=True) for _ in range(3)]

    done = restore_keys(KEYS, tmp_path / "init.json", nodes=as_operators(*nodes))

    assert [node.sealed for node in nodes] == [False, False, False]
    assert (done.proven, done.unsealed) == (True, True)


def test_nodes_that_took_the_keys_and_do_not_serve_have_proven_them(tmp_path: Path) -> None:
    nodes = [Node(sealed=True), Node(away=True), Node(away=True)]

    def never(*_: object, **__: object) -> VaultAdmin:
        raise DeadlineExceeded("waited 0.1 s for all nodes to serve")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "wait_for_all", never)
        done = restore_keys(KEYS, tmp_path / "init.json", nodes=as_operators(*nodes))

    assert done.proven
    assert Keyring.load(tmp_path / "init.json") == KEYS.keyring


def test_keys_that_a_node_does_not_take_are_refused(tmp_path: Path) -> None:
    other = Keys(Keyring(("x", "y", "z"), 3, ""))

    with pytest.raises(OperatorError, match="another Vault's backup"):
        restore_keys(other, tmp_path / "init.json", nodes=as_operators(Node(sealed=True)))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("now", ["shamir", "recovery"])
@pytest.mark.parametrize("before", ["shamir", "recovery"])
@pytest.mark.parametrize("there", [False, True], ids=["lost", "there"])
def test_keys_are_saved_as_what_they_are_now(
    tmp_path: Path, before: KeyKind, now: KeyKind, there: bool
) -> None:
    """A seal exchange changes their kind."""
    path = tmp_path / "init.json"
    keys = Keys(Keyring(("a", "b", "c"), 3, "root", kind=before))
    if there:
        keys.keyring.save(path)

    done = restore_keys(keys, path, nodes=as_operators(Node(kind=now, knows="root")))

    assert Keyring.load(path).kind == now
    assert done.proven
    assert done.kept is None


def test_a_vault_that_does_not_say_leaves_the_backups_kind(tmp_path: Path) -> None:
    keys = Keys(Keyring(("a", "b", "c"), 3, "", kind="recovery"))

    done = restore_keys(keys, tmp_path / "init.json", nodes=as_operators(Node(away=True)))

    assert Keyring.load(tmp_path / "init.json").kind == "recovery"
    assert not done.proven


def test_what_is_on_a_disk_of_its_own_is_put_back_there(tmp_path: Path) -> None:
    """Keyring, token and seal key are restored through links."""
    data, stick = tmp_path / "vault-data", tmp_path / "stick"
    (data / "seal").mkdir(parents=True)
    stick.mkdir()
    for link in ("operator-token", "seal/static.key"):
        (stick / Path(link).name).write_text("of before")
        (data / link).symlink_to(stick / Path(link).name)
    keys = replace(KEYS, operator_token="of the backup", static_key="of the backup")

    done = restore_keys(keys, data / "init.json", overwrite=True)

    kept = [done.kept_token, done.seal.kept]
    for link, old in zip(("operator-token", "seal/static.key"), kept, strict=True):
        assert (data / link).is_symlink()
        assert (stick / Path(link).name).read_text() == "of the backup"
        assert old is not None
        assert (old.parent, old.read_text()) == (stick, "of before")


def test_what_is_no_token_is_kept_too(tmp_path: Path) -> None:
    """The file may hold more than the token."""
    token = tmp_path / "operator-token"
    token.write_text("of the operator:\ns.4711")

    done = restore_keys(replace(KEYS, operator_token="of the backup"), tmp_path / "init.json")

    assert token.read_text() == "of the backup"
    assert done.kept_token is not None
    assert done.kept_token.read_text() == "of the operator:\ns.4711"


def test_another_static_key_is_not_lost(tmp_path: Path) -> None:
    keys, path = replace(KEYS, static_key="of the backup"), tmp_path / "seal" / "static.key"
    path.parent.mkdir()
    path.write_text("another one")
    assert restore_seal_key(keys, tmp_path).action == "left"
    assert path.read_text() == "another one"

    done = restore_seal_key(keys, tmp_path, overwrite=True)

    assert done.kept is not None
    assert done.kept.read_text() == "another one"
    assert restore_seal_key(keys, tmp_path).action == "there"
