"""Before a Vault is stopped or sealed: whether it can be opened again, and how."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import KeyringMissing, OperatorError, StackError
from vault_harness.local.engine.provider import Endpoints, NodeEndpoint, ServiceState
from vault_harness.local.engine.seal import static_key_path
from vault_harness.local.stack import choice
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.opening import Opening
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.stack.sealing import write_stanza
from vault_harness.local.vault import cluster
from vault_harness.local.vault.keyring import Keyring
from vault_harness.settings import Settings

OPEN, SEALED, NEW, SILENT = 200, 503, 501, 0
KEYS = Keyring(("a", "b", "c", "d", "e"), 3, "")


class World:
    """A data directory and its servers, with their ``sys/health`` by node."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.health = {"vault": OPEN}
        self.threshold = 3
        names = ("vault", "vault-2")

        nodes = tuple(
            NodeEndpoint(
                name=name, address=f"http://{name}", proxy="", proxy_listen="", upstream=""
            )
            for name in names
        )
        StackRecord(endpoints=Endpoints(nodes=nodes, toxiproxy="")).save(data_dir)

    @property
    def keyring(self) -> Path:
        return self.data_dir / "init.json"

    def describe(self) -> list[ServiceState]:
        return [ServiceState(name=n, running=True, detail="", node=True) for n in self.health]

    def seal_status(self, endpoints: Endpoints, **_: Any) -> Any:
        said = {self.health.get(node.name, SILENT) for node in endpoints.nodes} - {SILENT}
        if not said:
            raise OperatorError("it does not answer")
        return SimpleNamespace(threshold=self.threshold, initialised=said != {NEW})

    @property
    def stack(self) -> LocalStack:
        return LocalStack(Settings(engine="process", data_dir=self.data_dir))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)

    def health(nodes: Any) -> list[int]:
        return [made.health.get(node.address.removeprefix("http://"), SILENT) for node in nodes]

    monkeypatch.setattr(Opening, "seal_status", lambda _, *a, **more: made.seal_status(*a, **more))
    monkeypatch.setattr(cluster, "health_of_all", health)
    monkeypatch.setattr(choice, "provider_here", lambda _settings: made)
    return made


def static(world: World) -> Path:
    """Let Vault unseal itself with a key file, and return the file."""
    write_stanza(world.data_dir, {"static": {"current_key_id": "stack"}})
    path = static_key_path(world.data_dir)
    path.write_bytes(base64.b64encode(bytes(32)))
    return path


def transit(world: World) -> Path:
    """Let Vault unseal itself with a second Vault, and return that one's keyring."""
    write_stanza(world.data_dir, {"transit": {"key_name": "stack"}})
    path = world.data_dir / "holder" / "init.json"
    path.parent.mkdir()
    KEYS.save(path)
    return path


def test_its_keys_open_it(world: World) -> None:
    """No server is asked."""
    KEYS.save(world.keyring)

    assert world.stack.before_closing("restarted") == "keys"
    assert world.stack.lost_by_ending() is None


def test_without_keys_it_is_not_closed(world: World) -> None:
    """The error says how to get them back, and names a copy beside them."""
    (world.data_dir / "init.json.20251231-235959").write_text("older")

    with pytest.raises(
        KeyringMissing, match=r"open this Vault again, so it was not restarted"
    ) as e:
        world.stack.before_closing("restarted")

    assert str(world.keyring) in e.value.looked_at
    assert "init.json.20251231-235959" in e.value.looked_at
    assert "restore.keys" in e.value.remedy
    assert "--leave-sealed" in e.value.remedy


def test_with_leave_sealed_the_stop_is_allowed(world: World) -> None:
    assert world.stack.before_closing("sealed", leave_sealed=True) is None


@pytest.mark.parametrize("health", [SEALED, NEW])
def test_what_is_closed_already_may_be_closed(world: World, health: int) -> None:
    """A restart loses nothing."""
    world.health["vault"] = health

    assert world.stack.before_closing("restarted") is None


def test_a_vault_that_does_not_answer_may_be_unsealed(world: World) -> None:
    """It may be paused."""
    world.health["vault"] = SILENT

    with pytest.raises(KeyringMissing):
        world.stack.before_closing("restarted")


def test_one_unsealed_node_of_several_counts(world: World) -> None:
    """If a single node is stopped, only that one counts."""
    world.health = {"vault": SEALED, "vault-2": OPEN}

    with pytest.raises(KeyringMissing):
        world.stack.before_closing("restarted")
    with pytest.raises(KeyringMissing, match="not killed"):
        world.stack.before_closing("killed", node="vault-2")
    assert world.stack.before_closing("killed", node="vault") is None
    del world.health["vault-2"]
    assert world.stack.before_closing("killed", node="vault-2") is None


@pytest.mark.parametrize("content", ["{}", "not JSON", '{"unseal_keys_b64": []}'])
def test_a_broken_keyring_opens_nothing(world: World, content: str) -> None:
    world.keyring.write_text(content)

    with pytest.raises(StackError, match=r"not sealed: init.json is not a keyring"):
        world.stack.before_closing("sealed")


@pytest.mark.parametrize("keys", [("a", "b", "c"), ("a", "a", "a", "b")])
def test_too_few_keys_open_nothing(world: World, keys: tuple[str, ...]) -> None:
    """Equal keys count once."""
    world.threshold = 4
    Keyring(keys, len(keys), "").save(world.keyring)

    with pytest.raises(KeyringMissing, match="too few of the unseal keys are here"):
        world.stack.before_closing("restarted")


@pytest.mark.parametrize("kind", [static, transit])
def test_an_auto_unsealed_vault_needs_no_keyring(
    world: World, kind: Callable[[World], Path]
) -> None:
    """After a seal by hand the keyring opens it."""
    kind(world)

    assert world.stack.before_closing("restarted") == "itself"
    KEYS.save(world.keyring)
    assert world.stack.before_closing("sealed") == "keys"


@pytest.mark.parametrize("kind", [static, transit])
def test_a_lost_key_of_a_seal_is_no_help(world: World, kind: Callable[[World], Path]) -> None:
    """Recovery keys do not replace it."""
    kind(world).unlink()
    KEYS.save(world.keyring)

    with pytest.raises(StackError, match="the key for that is not here"):
        world.stack.before_closing("restarted")


def test_what_an_end_would_lose(world: World) -> None:
    """A new or stopped Vault loses nothing."""
    for health in (OPEN, SEALED, SILENT):
        world.health = {"vault": health}
        assert isinstance(world.stack.lost_by_ending(), KeyringMissing)

    world.health = {"vault": NEW}
    assert world.stack.lost_by_ending() is None
    world.health = {}
    assert world.stack.lost_by_ending() is None
