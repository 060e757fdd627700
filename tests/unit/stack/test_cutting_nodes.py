"""What `node.cut` refuses before it acts, and how the errors read."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from vault_harness.cli import run
from vault_harness.cli import stack as stack_module
from vault_harness.errors import (
    CapabilityMissing,
    EngineError,
    PortTaken,
    SettingsError,
    StackError,
    named,
)
from vault_harness.local.engine.process.stack import ProcessStack
from vault_harness.local.engine.provider import (
    Endpoints,
    NodeEndpoint,
    StackProvider,
)
from vault_harness.local.stack import members
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault import cluster
from vault_harness.local.vault.keyring import Keyring
from vault_harness.settings import Settings


def node(name: str) -> NodeEndpoint:
    return NodeEndpoint(
        name=name, address="http://127.0.0.1:1", proxy="", proxy_listen="", upstream="127.0.0.1:1"
    )


def nodes(tmp_path: Path, *names: str, balanced: bool = True) -> Nodes:
    settings = Settings(engine="process", data_dir=tmp_path / "vault-data", lock_timeout=1)
    record = StackRecord(
        engine="process",
        endpoints=Endpoints(
            nodes=tuple(map(node, names)),
            toxiproxy="http://127.0.0.1:1",
            balancer=node("vault") if balanced else None,
        ),
    )
    record.save(settings.data_dir)
    return Nodes(LocalStack(settings))


def test_an_unknown_node(tmp_path: Path) -> None:
    for verb in (nodes(tmp_path, "vault", "vault-2").cut, nodes(tmp_path, "vault", "vault-2").join):
        with pytest.raises(SettingsError, match="there is no node vault-9") as caught:
            verb("vault-9")
        assert caught.value.remedy == "name one of vault, vault-2"


def test_a_node_that_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="vault-2 does not run") as caught:
        nodes(tmp_path, "vault", "vault-2").cut("vault-2")
    assert caught.value.remedy.endswith("node.start vault-2")


def test_the_only_node(tmp_path: Path) -> None:
    """A cluster of one and a single server have no node to cut off."""
    with pytest.raises(StackError, match="no other node to cut it off from"):
        nodes(tmp_path, "vault").cut("vault")
    with pytest.raises(StackError, match="the stack is not a cluster"):
        nodes(tmp_path, "vault", balanced=False).cut("vault")


def test_a_single_server_is_not_made_cuttable(tmp_path: Path) -> None:
    """It is refused before any folder is made."""
    settings = Settings(engine="process", data_dir=tmp_path / "vault-data")
    with pytest.raises(SettingsError, match="one node has no others") as caught:
        LocalStack(settings).up(cuttable=True)
    assert caught.value.remedy.endswith("up --ha --cuttable")
    assert list(tmp_path.iterdir()) == []


def test_nothing_would_be_cut(tmp_path: Path) -> None:
    """A cut that lets both directions pass is refused."""
    with pytest.raises(SettingsError, match="is not cut off"):
        nodes(tmp_path, "vault", "vault-2").cut("vault-2", hears=True, is_heard=True)


def test_nodes_that_reach_each_other_directly(tmp_path: Path) -> None:
    """The relay is missing, and the error names the start option."""
    provider = nodes(tmp_path, "vault", "vault-2")._stack.provider()
    with pytest.raises(CapabilityMissing, match="reach each other directly") as caught:
        provider.cut_node("vault-2")
    assert "up --ha --cuttable" in caught.value.remedy
    assert provider.join_node("vault-2") is False
    assert provider.cut_nodes() == []


def test_a_relay_that_is_gone(tmp_path: Path) -> None:
    stack = nodes(tmp_path, "vault", "vault-2")._stack
    record = StackRecord.load(stack.data_dir)
    record.services["relay"] = {"api": "http://127.0.0.1:1"}
    record.save(stack.data_dir)
    provider = stack.provider()
    assert provider.cut_nodes() == []
    (stack.data_dir / "relay").mkdir()
    with pytest.raises(EngineError, match="the relay between the nodes does not run") as caught:
        provider.cut_node("vault-2")
    assert "up starts another" in caught.value.remedy


def test_an_address_between_the_nodes_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the process, and no server starts."""
    stack = nodes(tmp_path, "vault", "vault-2")._stack
    monkeypatch.setattr(stack_module, "local_stack", lambda: stack)
    (stack.data_dir / "relay").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        record = StackRecord.load(stack.data_dir)
        assert record.endpoints is not None
        first, second = record.endpoints.nodes
        known = (first, replace(second, cluster=listen))
        record.endpoints = replace(record.endpoints, nodes=known)
        record.save(stack.data_dir)
        with pytest.raises(SystemExit) as ended:
            run(["up"])
    cause, looked_at, remedy = capsys.readouterr().err.splitlines()
    assert ended.value.code == PortTaken.exit_code
    assert f"port {listen.partition(':')[2]} on 127.0.0.1 is taken" in cause
    assert cause.endswith("; the other nodes know vault-2 by that port")
    assert looked_at == f"  looked at: {listen}"
    assert remedy.startswith("  what to do: end ")
    assert remedy.endswith(f"; then {named('up')} again")
    assert list((stack.data_dir / "relay").iterdir()) == []


def test_a_node_that_died_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay may still report it."""
    provider = nodes(tmp_path, "vault", "vault-2")._stack.provider()
    relay = SimpleNamespace(state=lambda: {"cut": {"vault-2": {}}})
    monkeypatch.setattr(type(provider), "_relay_of", lambda *_: relay)
    assert provider.cut_nodes() == []
    runs = {"vault-2": ["its process"]}
    monkeypatch.setattr(type(provider), "_all_running", lambda *_: runs)
    assert provider.cut_nodes() == ["vault-2"]


def test_cutting_processes_works_on_linux_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere nothing is made."""
    provider = nodes(tmp_path, "vault", "vault-2")._stack.provider()
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(CapabilityMissing, match="only be cut off on Linux"):
        provider.make_cuttable()
    assert not (tmp_path / "vault-data" / "relay").exists()


def test_a_cut_off_node_is_no_part_of_a_quorum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = nodes(tmp_path, "vault", "vault-2", "vault-3")
    monkeypatch.setattr(cluster, "health_of_all", lambda asked: [200] * len(asked))
    endpoints = three._stack.known_endpoints()
    assert endpoints is not None

    three._refuse_losing_quorum(endpoints, "vault-3")
    monkeypatch.setattr(ProcessStack, "cut_nodes", lambda _provider: ["vault-2"])
    with pytest.raises(StackError, match="no quorum: 1 of the other 2 nodes") as caught:
        three._refuse_losing_quorum(endpoints, "vault-3")
    assert "node.join NAME" in caught.value.remedy
    three._refuse_losing_quorum(endpoints, "vault-2")  # itself: the others do without it


@pytest.mark.parametrize("leads", [True, False])
def test_a_dry_run_removes_no_node(
    leads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses like the real run."""
    three = nodes(tmp_path, "vault", "vault-2", "vault-3")
    endpoints = three._stack.known_endpoints()
    assert endpoints is not None
    where = [replace(one, address=f"http://{one.name}") for one in endpoints.nodes]
    acting = where[1 if leads else 0].address
    monkeypatch.setattr(
        three, "_cluster", lambda _name: (None, replace(endpoints, nodes=tuple(where)))
    )
    monkeypatch.setattr(
        three._stack,
        "operator",
        lambda _namespace: SimpleNamespace(address=acting, close=lambda: None),
    )
    monkeypatch.setattr(three._stack.migrations, "check_settled", lambda: None)
    monkeypatch.setattr(ProcessStack, "cut_nodes", lambda _provider: [])
    monkeypatch.setattr(cluster, "health_of_all", lambda asked: [200] * len(asked))
    told = three.remove("vault-2", dry=True)
    assert told[0].startswith("vault-2")
    assert ("leads" in told[0]) is leads
    assert str(tmp_path / "vault-data") in told[1]
    with pytest.raises(SettingsError, match="the node vault cannot be removed"):
        three.remove("vault", dry=True)


def test_nothing_that_all_take_part_in_begins_while_one_is_cut_off() -> None:
    cut: list[str] = []
    provider = cast("StackProvider", SimpleNamespace(name="process", cut_nodes=lambda: cut))
    members.refuse_cut(provider, "a restore")
    cut.append("vault-2")
    with pytest.raises(StackError, match=r"vault-2 is cut off .* part in a restore") as caught:
        members.refuse_cut(provider, "a restore")
    assert "node.join vault-2" in caught.value.remedy


def test_during_a_migration_of_the_seal_no_node_starts_or_joins(tmp_path: Path) -> None:
    """It would get the old seal."""
    three = nodes(tmp_path, "vault", "vault-2", "vault-3")
    Keyring(("a", "b", "c"), 3, "").save(three._stack.keyring_path)
    three._stack.migrations.begin("shamir", "static")
    for refused in (three.add, lambda: three.start("vault-2")):
        with pytest.raises(StackError, match="from shamir to static was ended half-way"):
            refused()
