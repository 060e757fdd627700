from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.engine.accidents.alone import a_leader_alone_confirms_nothing, whole
from tests.engine.clusters import THREE, all_vote, backend, reads_again, secret_key
from tests.engine.docker.by_hand import by_hand
from vault_harness.errors import CapabilityMissing, DeadlineExceeded, StackError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.docker.cluster import DockerCluster
from vault_harness.local.engine.docker.compose import project_name
from vault_harness.local.engine.docker.state import require
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.ports import PortLease, answers
from vault_harness.local.engine.provider import lacking
from vault_harness.local.images.build import LOCAL_BALANCER
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.settings import Settings
from vault_harness.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.slow]

Objects = dict[str, set[str]]


@pytest.fixture
def left(stack: LocalStack, objects_of: Callable[[str], Objects]) -> Callable[[], Objects]:
    return lambda: objects_of(f"com.docker.compose.project={project_name(stack.data_dir)}")


def test_the_life_of_a_cluster(stack: LocalStack, left: Callable[[], Objects]) -> None:
    endpoints = stack.up(ha=True)
    stack.seed(Blueprint.default())
    nodes = Nodes(stack)
    with backend(stack) as client:
        key = secret_key(client)
        status = stack.status()
        assert (status.state, status.obstacles) == ("ready", ())
        assert [node.name for node in status.nodes] == THREE
        all_vote(stack)
        assert lacking(stack.provider().describe()) == []

        before, after, _ = nodes.step_down()
        assert before != after == stack.status().leader
        reads_again(client, key)

        assert len(nodes.kill(after)) == 1
        reads_again(client, key)
        lost = stack.status()
        assert (lost.state, lost.next_step) == ("ready", f"invoke node.start {after}")
        assert {node.name: node.role for node in lost.nodes}[after] == "down"
        assert nodes.kill(after) == []
        nodes.start(after)
        all_vote(stack)

        stack.restart()
        assert {node.role for node in stack.status().nodes} == {"sealed"}
        with contextlib.closing(VaultAdmin(endpoints.proxy, timeout=5)) as operator:
            wait_until(lambda: operator.health() == 503, "clients to hear 503", timeout=10)
        stack.unseal()
        reads_again(client, key)

        ended = stack.down()
        assert len([line for line in ended if line.startswith("container")]) == 5
        assert (left()["containers"], left()["networks"]) == (set(), set())
        assert stack.up() == endpoints, "a cluster stays one"
        reads_again(client, key)
        present = [path.stat() for path in (stack.data_dir / "nodes").rglob("*")]
        assert {(status.st_uid, status.st_mode & 0o077) for status in present} == {(os.getuid(), 0)}
    stack.destroy()
    assert left() == {"containers": set(), "networks": set(), "volumes": set()}
    assert not stack.data_dir.exists()


def test_nodes_come_and_go(stack: LocalStack) -> None:
    stack.up(ha=True)
    stack.seed(Blueprint.default())
    nodes = Nodes(stack)
    with backend(stack) as client:
        key = secret_key(client)
        assert nodes.add().name == "vault-4"
        all_vote(stack, 4)
        assert secret_key(client) == key, "the balancer kept the client"
        leader = stack.status().leader
        if leader == "vault":
            _, leader, _ = nodes.step_down()
        assert leader is not None
        removed = nodes.remove(leader)
        assert str(stack.data_dir / "nodes" / leader) in removed
        assert sorted([*(n.name for n in stack.status().nodes), leader]) == [*THREE, "vault-4"]
        all_vote(stack)
        reads_again(client, key)
        stack.down()
        stack.up()
        all_vote(stack)
        reads_again(client, key)


def test_one_server_becomes_three_and_no_other_engine_opens_them(stack: LocalStack) -> None:
    single = stack.up()
    stack.seed(Blueprint.default())
    with backend(stack) as client:
        key = secret_key(client)
        with pytest.raises(StackError, match="one server runs"):
            stack.up(ha=True)
        assert secret_key(client) == key, "the server that runs is left alone"
        stack.down()
        three = stack.up(ha=True)
        assert (three.vault, three.proxy) == (single.vault, single.proxy)
        Nodes(stack).kill("vault")  # the node that had the data
        reads_again(client, key)
        stack.down()
        other = LocalStack(stack.settings.model_copy(update={"engine": "process"}))
        with pytest.raises(StackError, match="addresses of the docker engine"):
            other.up()
        assert stack.up() == three
        reads_again(client, key)


def test_an_up_that_fails_takes_nothing_down(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = stack.up(ha=True)
    Nodes(stack).kill("vault-3")
    monkeypatch.setattr("vault_harness.local.engine.docker.stack.answers", lambda _url, **_: False)
    impatient = LocalStack(stack.settings.model_copy(update={"start_timeout": 0.3}))
    with pytest.raises(DeadlineExceeded):
        impatient.up()
    running = {each.name for each in stack.provider().describe() if each.running}
    assert running == {"vault", "vault-2", "balancer", "toxiproxy"}
    assert answers(f"{endpoints.vault}/v1/sys/health")


def test_by_hand_on_the_stack_of_the_tasks(stack: LocalStack) -> None:
    endpoints = stack.up(ha=True)
    env_file = ("--env-file", str(stack.data_dir / "compose.env"))
    assert set(by_hand(*env_file, "ps", "--services").split()) == {*THREE, "balancer", "toxiproxy"}
    by_hand(*env_file, "down")
    by_hand(*env_file, "up", "-d")
    wait_until(lambda: stack.status().state == "sealed", "all to answer", timeout=30)
    assert stack.up() == endpoints
    all_vote(stack)


def test_a_kill_ends_a_node_that_always_restarts(stack: LocalStack) -> None:
    """A node that restarts all the time mostly has no process."""
    stack.up()
    provider = stack.provider()
    assert isinstance(provider, DockerCluster)
    (stack.data_dir / "vault" / "vault.json").write_text("no configuration")
    with connected() as client:
        labels = [f"com.docker.compose.project={project_name(stack.data_dir)}"]
        labels.append("com.docker.compose.service=vault")
        (container,) = client.containers.list(filters={"label": labels})
        container.restart(timeout=1)

        def status() -> str:
            container.reload()
            return str(container.status)

        # After some restarts the node is between two starts when it is killed.
        wait_until(
            lambda: status() == "restarting" and container.attrs["RestartCount"] > 3,
            "the engine to have started it a few times",
            timeout=30,
        )
        assert provider.kill_node("vault") == [f"container {container.name}"]
        assert status() == "exited"
        assert provider.kill_node("vault") == []
    stack.up()
    assert stack.status().state == "ready", "what was wrong is written again"


def joined(node: VaultAdmin) -> bool:
    return node.seal_status().initialised


def follows(node: VaultAdmin) -> bool:
    return node.health() == 429


def test_by_hand_without_a_task(settings: Settings, stack: LocalStack, tmp_path: Path) -> None:
    with connected() as client:
        vault, toxiproxy = require(client, settings)
    names = ("VAULT", "VAULT_2", "VAULT_3", "BALANCER", "BALANCER_STATUS", "TOXIPROXY", "PROXY")
    leases = {f"{name}_PORT": PortLease() for name in names}
    variables = {name: str(lease.port) for name, lease in leases.items()}
    for lease in leases.values():
        lease.release()
    program = vault.dialect.program
    variables |= {
        "VAULT_IMAGE": vault.name,
        "VAULT_PROGRAM": program,
        "VAULT_CONFIG": f"/vault/config/{program}.json",
        "NODES_CONFIG": f"/vault/config/{program}-ha.json",
        "TOXIPROXY_IMAGE": toxiproxy.name,
        "HAPROXY_IMAGE": LOCAL_BALANCER,
    }
    files = ("base", "vault", "toxiproxy", "ha", "nodes")
    words = [word for name in files for word in ("-f", f"compose/{name}.yml")]
    project = ("-p", f"by-hand-{tmp_path.name[-20:]}".replace("_", "-"))
    try:
        by_hand(*project, *words, "up", "-d", **variables)
        addresses = [f"http://127.0.0.1:{variables[f'{name}_PORT']}" for name in names[:3]]
        with contextlib.ExitStack() as closing:
            nodes = [closing.enter_context(contextlib.closing(VaultAdmin(at))) for at in addresses]
            for at in addresses:
                url = f"{at}/v1/sys/seal-status"
                wait_until(partial(answers, url), f"{url} to answer", timeout=30)
            keyring = nodes[0].init()
            nodes[0].unseal(keyring)
            for node in nodes[1:]:
                wait_until(partial(joined, node), "it to join", timeout=30)
                node.give_keys(keyring)
                wait_until(partial(follows, node), "it to serve", timeout=30)
        url = f"http://127.0.0.1:{variables['PROXY_PORT']}/v1/sys/health"
        wait_until(lambda: answers(url), "Toxiproxy to lead to the active node", timeout=30)
    finally:
        by_hand(*project, *words, "down", "--volumes", **variables)


@pytest.mark.parametrize("client_certs", [False, True], ids=["plain", "client certificates"])
def test_over_tls(stack: LocalStack, client_certs: bool) -> None:
    """Nodes join by the names in their certificate, and a renewal reaches each, a lost one too."""
    stack.up(ha=True, tls=True, client_certs=client_certs)
    stack.seed(Blueprint.default())
    all_vote(stack)
    Nodes(stack).kill("vault-3")
    done = stack.renew_certificate(ca=not client_certs)
    assert (done.nodes, done.later) == (("vault", "vault-2"), ("vault-3",))
    Nodes(stack).start("vault-3")
    all_vote(stack)
    with backend(stack) as client:
        assert secret_key(client)


def test_a_leader_that_is_cut_off_confirms_nothing(stack: LocalStack) -> None:
    a_leader_alone_confirms_nothing(stack)

    nodes = Nodes(stack)
    with pytest.raises(CapabilityMissing, match="cannot be cut off in only one direction"):
        nodes.cut("vault-2", hears=True)
    nodes.cut("vault-2")
    nodes.kill("vault-3")
    nodes.start("vault-3")
    assert {node.name for node in stack.status().nodes if node.cut} == {"vault-2"}
    assert stack.heal() == ["joined vault-2 to the other nodes again"]
    whole(stack)

    nodes.cut("vault-2")
    nodes.kill("vault-2")
    nodes.start("vault-2")
    whole(stack)
    nodes.cut("vault-3")
    stack.restart()
    stack.unseal()
    whole(stack)
