from __future__ import annotations

import base64
import contextlib
import secrets
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import DeadlineExceeded, OperatorError
from vault_harness.local.engine.shape import Engine, Node, NodeSpec
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring


def start(engine: Engine, directory: Path, name: str, **extra: object) -> Node:
    spec = NodeSpec(name=name, directory=directory / name, storage="raft", extra=extra)
    node = engine.node(spec)
    node.start()
    return node


@contextlib.contextmanager
def at(nodes: Sequence[Node], keyring: Keyring | None = None) -> Iterator[tuple[VaultAdmin, ...]]:
    token = keyring.root_token if keyring is not None else None
    addresses = [node.address for node in nodes]
    with cluster.operators(addresses, keyring, token=token) as operators:
        yield operators


def test_one_node_is_a_cluster(engine: Engine, tmp_path: Path) -> None:
    node = start(engine, tmp_path, "only")
    with at([node]) as (operator,):
        keyring = operator.init()
        assert cluster.find_leader([operator]) is None
        with pytest.raises(DeadlineExceeded, match="one of the nodes") as caught:
            cluster.wait_for_active([operator], timeout=0.1)
        assert f"{node.address} is sealed" in caught.value.looked_at
        assert cluster.unseal_all([operator], keyring, timeout=30) is operator
        assert cluster.unseal_all([operator], keyring, timeout=30) is operator, "twice is once"
    with at([node], keyring) as (root,):
        assert cluster.wait_for_active([root], timeout=30) is root
        (peer,) = cluster.wait_for_voters(root, 1, timeout=30)
        assert (peer.node_id, peer.voter, peer.leader) == ("only", True, True)
        with pytest.raises(DeadlineExceeded, match="2 voters"):
            cluster.wait_for_voters(root, 2, timeout=0.1)
        cluster.seal_all([root])
        cluster.seal_all([root])
        assert cluster.find_leader([root]) is None


def test_a_vault_that_unseals_itself_has_recovery_keys(engine: Engine, tmp_path: Path) -> None:
    """The keyring and its file say so, and after a restart the Vault needs no key."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    seal = {"static": {"current_key_id": "1", "current_key": key}}
    node = start(engine, tmp_path, "auto", seal=seal)
    with at([node]) as (operator,):
        assert operator.seal_status().kind == "recovery"
        keyring = operator.init(shares=3, threshold=2)
        assert (keyring.kind, keyring.shares, keyring.threshold) == ("recovery", 3, 2)
        keyring.save(tmp_path / "init.json")
        assert Keyring.load(tmp_path / "init.json") == keyring
        cluster.unseal_all([operator], keyring, timeout=30)
        node.restart(timeout=60)
        cluster.unseal_all([operator], keyring, timeout=30)
    with at([node], keyring) as (root,):
        assert [peer.node_id for peer in cluster.peers(root)] == ["auto"]


def test_a_leader_that_cannot_for_now_is_asked_again(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [start(engine, tmp_path, f"node-{number}") for number in (1, 2)]
    refused, join = threading.Event(), cluster.join

    def noting(*given: Any, **more: Any) -> None:
        try:
            join(*given, **more)
        except OperatorError:
            refused.set()
            raise

    monkeypatch.setattr(cluster, "join", noting)
    with at(nodes) as (first, second), ThreadPoolExecutor(max_workers=1) as pool:
        keyring = first.init()
        cluster.unseal_all([first], keyring, timeout=30)
        with at(nodes[:1], keyring) as (root,):
            cluster.seal_all([root])
        admitted = pool.submit(cluster.admit, second, first, keyring, timeout=60)
        try:
            assert refused.wait(30), "the new node was not refused within 30 s"
        finally:
            cluster.unseal_all([first], keyring, timeout=30)
        admitted.result(timeout=60)
        assert cluster.wait_for_all([first, second], timeout=60, keyring=keyring) is first


@pytest.mark.slow
def test_three_nodes_lose_their_leader(engine: Engine, tmp_path: Path) -> None:
    nodes = [start(engine, tmp_path, f"node-{number}") for number in (1, 2, 3)]
    with at(nodes) as (first, second, third):
        keyring = first.init()
        cluster.unseal_all([first], keyring, timeout=30)
        for joining in (second, third):
            cluster.join(joining, first)
        leader = cluster.unseal_all([first, second, third], keyring, timeout=60)
        assert leader is first
    with at(nodes, keyring) as operators:
        found = cluster.wait_for_voters(operators[0], 3, timeout=90)
        assert {peer.node_id for peer in found} == {"node-1", "node-2", "node-3"}
        operators[0].request("POST", "sys/mounts/kv", type="kv", options={"version": "1"})
        operators[0].request("POST", "kv/x", value="kept")

        nodes[0].kill()
        leader = cluster.wait_for_active(operators, timeout=60)
        assert leader in operators[1:]
        assert cluster.find_leader(operators) is leader
        assert leader.request("GET", "kv/x")["data"] == {"value": "kept"}
        with pytest.raises(DeadlineExceeded, match="all nodes to serve") as caught:
            cluster.unseal_all(operators, Keyring((), 0, "", "recovery"), timeout=0.2)
        assert f"{nodes[0].address} does not answer" in caught.value.looked_at

        nodes[0].start()
        assert cluster.unseal_all(operators, keyring, timeout=60) is leader
