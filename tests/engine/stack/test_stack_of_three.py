from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import hvac
import hvac.exceptions
import psutil
import pytest

from tests.engine.clusters import THREE, all_vote, backend, reads_again, secret_key
from tests.engine.stack.conftest import servers
from vault_harness.errors import DeadlineExceeded, OperatorError, SettingsError, StackError
from vault_harness.judge.faults import Order
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack import members
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,  # a cluster takes ten seconds
    pytest.mark.usefixtures("haproxy"),
]

BLUEPRINT = Blueprint.default()


@pytest.fixture
def client(stack: LocalStack) -> Iterator[hvac.Client]:
    stack.up(ha=True)
    stack.seed(BLUEPRINT)
    with backend(stack) as found:
        yield found


def roles(stack: LocalStack) -> dict[str, str]:
    return {node.name: node.role for node in stack.status().nodes}


def test_the_life_of_a_cluster(stack: LocalStack, client: hvac.Client) -> None:
    nodes, key = Nodes(stack), secret_key(client)
    status = stack.status()
    assert (status.state, status.obstacles) == ("ready", ())
    assert [node.name for node in status.nodes] == THREE
    all_vote(stack)
    assert [proxy.name for proxy in status.proxies] == ["vault"]

    before, after, _ = nodes.step_down()
    assert (before, after) == (status.leader, stack.status().leader)
    reads_again(client, key)

    # The recorder stands before the balancer, whichever node leads.
    stack.fault_requests(Order(act="fail", targets=("read",), first=1, status=500).to_json())
    with pytest.raises(hvac.exceptions.InternalServerError):
        secret_key(client)
    assert secret_key(client) == key
    stack.heal()

    assert len(nodes.kill(after)) == 1
    reads_again(client, key)
    lost = stack.status()
    assert lost.state == "ready", "a client finds another node"
    assert {node.name: node.role for node in lost.nodes}[after] == "down"
    assert lost.next_step == f"invoke node.start {after}"
    assert nodes.kill(after) == []
    home = stack.data_dir if after == "vault" else stack.data_dir / "nodes"
    shutil.rmtree(home / after / "data")  # which it gets again from the others
    nodes.start(after)
    all_vote(stack)

    stack.restart()
    assert set(roles(stack).values()) == {"sealed"}
    assert stack.status().state == "sealed"
    with contextlib.closing(VaultAdmin(stack.endpoints().proxy, timeout=5)) as front:
        # Clients get 503, not a connection that ends.
        wait_until(lambda: front.health() == 503, "the balancer to lead to a node", timeout=10)
    stack.unseal()
    reads_again(client, key)

    endpoints = stack.known_endpoints()
    assert len(stack.down()) == 5
    assert servers(stack) == []
    assert stack.up() == endpoints, "a cluster stays one"
    reads_again(client, key)
    stack.down()
    (stack.data_dir / "stack.json").unlink()  # its folders tell the nodes and their addresses
    stack.up()
    all_vote(stack)
    reads_again(client, key)

    stack.destroy()
    assert servers(stack) == []
    assert not stack.data_dir.exists()


def test_nodes_come_and_go(stack: LocalStack, client: hvac.Client) -> None:
    """A fourth node becomes a voter, and a leader can be removed, but not the first node."""
    nodes, key = Nodes(stack), secret_key(client)
    assert nodes.add().name == "vault-4"
    all_vote(stack, 4)
    leader = stack.status().leader
    if leader == "vault":
        _, leader, _ = nodes.step_down()
    assert leader is not None

    removed = nodes.remove(leader)
    assert str(stack.data_dir / "nodes" / leader) in removed
    left = [node.name for node in stack.status().nodes]
    assert sorted([*left, leader]) == [*THREE, "vault-4"]
    all_vote(stack)
    reads_again(client, key)

    with pytest.raises(SettingsError, match="the node vault cannot be removed"):
        nodes.remove("vault")
    with pytest.raises(SettingsError, match=f"there is no node {leader}"):
        nodes.kill(leader)
    nodes.kill("vault")
    wait_until(
        lambda: stack.status().leader is not None, "another leader", timeout=30, interval=0.25
    )
    with pytest.raises(StackError, match="there is no quorum"):
        nodes.remove(left[-1])
    nodes.start("vault")
    all_vote(stack)


def test_up_replaces_a_removed_node(stack: LocalStack, client: hvac.Client) -> None:
    gone, nodes, key = "vault-2", Nodes(stack), secret_key(client)
    nodes.remove(gone)
    stack.up(ha=True)
    assert sorted(roles(stack)) == THREE
    wait_until(
        lambda: all(node.voter for node in stack.status().nodes),
        "the third to vote",
        timeout=60,
        interval=0.25,
    )
    wait_until(
        lambda: gone == stack.status().leader or gone == nodes.step_down()[1],
        "it to lead",
        timeout=120,
        interval=0.25,
    )
    reads_again(client, key)


def test_one_server_becomes_three(stack: LocalStack) -> None:
    single = stack.up()
    stack.seed(BLUEPRINT)
    with backend(stack) as client:
        key = secret_key(client)
        with pytest.raises(StackError, match="the stack is not a cluster"):
            Nodes(stack).step_down()
        with pytest.raises(StackError, match="one server runs"):
            stack.up(ha=True)
        assert secret_key(client) == key, "the server that runs is left alone"
        stack.down()
        three = stack.up(ha=True)
        assert (three.vault, three.proxy) == (single.vault, single.proxy)
        assert len(three.nodes) == 3
        reads_again(client, key)
        Nodes(stack).kill("vault")  # the node that had the data
        reads_again(client, key)


def test_seal_names_a_paused_node(stack: LocalStack, client: hvac.Client) -> None:
    nodes, status = Nodes(stack), stack.status()
    standby = next(node.name for node in status.nodes if node.name != status.leader)
    paused = psutil.Process(int(StackRecord.load(stack.data_dir).services[standby]["pid"]))
    paused.suspend()
    with pytest.raises(StackError, match=f"{standby} did not answer, and may") as caught:
        stack.seal()
    assert f"node.kill {standby}" in caught.value.remedy
    others = [role for name, role in roles(stack).items() if name != standby]
    assert others == ["sealed", "sealed"]
    nodes.kill(standby)
    stack.seal()
    nodes.start(standby)
    all_vote(stack)
    assert client.auth.token.lookup_self()


def test_unseal_names_a_paused_node(stack: LocalStack) -> None:
    stack.up(ha=True)
    stack.restart()
    frozen = psutil.Process(int(StackRecord.load(stack.data_dir).services["vault-3"]["pid"]))
    frozen.suspend()
    done = stack.unseal()
    assert (done.opened, done.before, done.silent) == (("vault", "vault-2"), (), ("vault-3",))
    frozen.resume()
    done = stack.unseal()
    assert (done.opened, done.before, done.silent) == (("vault-3",), ("vault", "vault-2"), ())
    all_vote(stack)


def test_a_node_that_was_refused_is_named_and_gone_on_with(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that an overloaded leader refused can be removed or join later."""
    stack.up(ha=True)
    nodes = Nodes(stack)

    def refused(*_: object, **__: object) -> None:
        error = OperatorError("cannot POST sys/storage/raft/join: failed to get raft challenge")
        error.passing = True
        raise error

    def add() -> DeadlineExceeded:
        with monkeypatch.context() as patch:
            patch.setattr(cluster, "join", refused)
            patch.setattr(members, "_JOIN_SECONDS", 0.5)
            with pytest.raises(DeadlineExceeded, match="vault-4 runs now, and may") as caught:
                nodes.add()
        return caught.value

    told = add()
    assert "to become a member of the cluster" in told.cause
    assert "node.remove vault-4" in told.remedy
    assert roles(stack)["vault-4"] == "not a member"
    nodes.remove("vault-4")
    assert sorted(roles(stack)) == THREE
    add()
    stack.unseal()
    all_vote(stack, 4)
