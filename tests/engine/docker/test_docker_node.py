import json
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import requests

from vault_harness.certificates import Authority
from vault_harness.errors import CapabilityMissing, HarnessError, ProgramMissing, ServerDied
from vault_harness.judge.database import Database
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.docker.engine import DockerEngine
from vault_harness.local.engine.docker.node import DockerNode
from vault_harness.local.engine.process.postgresql import Postgresql
from vault_harness.local.engine.shape import Capability, Engine, Node
from vault_harness.local.programs import find_postgresql
from vault_harness.local.stack.launching import launch_cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.recorder.history import History
from vault_harness.recorder.secrets import Secrets
from vault_harness.waiting import wait_until

pytestmark = pytest.mark.docker


def seal_status(node: DockerNode, *, timeout: float = 5) -> dict[str, object]:
    answer = requests.get(f"{node.address}/v1/sys/seal-status", timeout=timeout)
    status: dict[str, object] = answer.json()
    return status


def test_it_has_the_shape(engine: DockerEngine, node: DockerNode) -> None:
    assert isinstance(engine, Engine)
    assert isinstance(node, Node)
    assert Capability.DURABLE not in node.capabilities
    assert {Capability.PAUSE, Capability.KILL, Capability.RELOAD} <= node.capabilities


def test_start_returns_when_the_api_answers(node: DockerNode) -> None:
    assert seal_status(node)["initialized"] is False
    node.start()
    assert node.is_running()


def test_its_port_is_on_loopback_only(node: DockerNode) -> None:
    from vault_harness.local.engine.docker_client import connected

    with connected() as client:
        bindings = client.containers.get(node.container_name).attrs["NetworkSettings"]["Ports"]
    published = [one for several in bindings.values() if several for one in several]
    assert [one["HostIp"] for one in published] == ["127.0.0.1"]


def test_paused_it_accepts_and_says_nothing(node: DockerNode) -> None:
    """Only a total deadline ends a call."""
    node.pause()
    host, port = node.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5):
        pass
    with pytest.raises(requests.exceptions.ReadTimeout):
        seal_status(node, timeout=0.3)
    assert node.is_running()
    node.resume()
    assert seal_status(node)["sealed"] is True


def test_killed_it_refuses_and_starts_at_the_same_address(node: DockerNode) -> None:
    address = node.address
    node.kill()
    assert not node.is_running()
    with pytest.raises(requests.exceptions.ConnectionError):
        seal_status(node)
    node.start()
    assert address == node.address
    assert seal_status(node)["sealed"] is True


def test_a_paused_one_can_be_killed_and_stopped(node: DockerNode) -> None:
    node.pause()
    node.kill()
    node.start()
    node.pause()
    node.stop()
    assert not node.is_running()


def test_verbs_need_a_running_server(node: DockerNode) -> None:
    node.stop()
    with pytest.raises(CapabilityMissing, match="does not run"):
        node.pause()
    node.stop()
    node.kill()
    node.resume()


def test_raft_survives_a_restart_sealed(make_node: Callable[..., DockerNode]) -> None:
    node = make_node(storage="raft")
    node.start()
    operator = VaultAdmin(node.address)
    keyring = operator.init()
    operator.unseal(keyring)
    root = operator.with_token(keyring.root_token)
    root.request("POST", "sys/mounts/kv", type="kv")
    node.restart()
    assert {"initialized": True, "sealed": True}.items() <= seal_status(node).items()
    operator.unseal(keyring)
    assert "kv/" in root.request("GET", "sys/mounts")["data"]
    for one in (operator, root):
        one.close()
    assert Capability.DURABLE in node.capabilities


@pytest.mark.slow
def test_a_second_node_joins_the_first(make_node: Callable[..., DockerNode]) -> None:
    """A node that is told an address of this machine joins over the network."""
    first = make_node("first", storage="raft")
    first.start()
    operator = VaultAdmin(first.address)
    keyring = operator.init()
    operator.unseal(keyring)
    root = operator.with_token(keyring.root_token)
    second = make_node("second", storage="raft", retry_join=(first.address,))
    second.start()
    wait_until(lambda: seal_status(second)["initialized"] is True, "the join", timeout=30)
    for key in keyring.keys[: keyring.threshold]:
        requests.post(f"{second.address}/v1/sys/unseal", json={"key": key}, timeout=10)

    def members() -> set[str]:
        configuration = root.request("GET", "sys/storage/raft/configuration")["data"]["config"]
        return {server["node_id"] for server in configuration["servers"]}

    wait_until(lambda: members() == {"first", "second"}, "two members", timeout=60)
    for one in (operator, root):
        one.close()


@pytest.mark.slow
def test_three_of_them_are_a_cluster(engine: DockerEngine, tmp_path: Path) -> None:
    blueprint = Blueprint(name="empty", mounts={})
    authority = Authority()
    with launch_cluster(
        engine, blueprint, directory=tmp_path / "nodes", authority=authority
    ) as stack:
        stack.operator.request("POST", "sys/mounts/kv", type="kv")
        lost = stack.leader()
        lost.kill()
        assert stack.leader(without=lost) is not lost
        assert "kv/" in stack.operator.request("GET", "sys/mounts")["data"]
        lost.start()
        stack.unseal()
        assert all(node.is_running() for node in stack.nodes)


def test_it_reaches_a_postgresql_of_this_machine(engine: DockerEngine, node: DockerNode) -> None:
    """Vault makes users in a PostgreSQL that listens at the gateway of the run's network."""
    try:
        programs = find_postgresql()
    except ProgramMissing as missing:
        pytest.skip(str(missing))
    operator = VaultAdmin(node.address)
    keyring = operator.init()
    operator.unseal(keyring)
    root = operator.with_token(keyring.root_token)
    with (
        closing(operator),
        closing(root),
        Postgresql(programs, host=engine.bind_host()) as server,
        closing(Database(server, History(), Secrets())) as database,
    ):
        database.mount(root)
        database.add_roles(ttl=60, max_ttl=60)
        made = root.request("GET", "database/creds/app")["data"]
        assert database.users() == {made["username"]}


def test_the_audit_log_is_a_file_here(node: DockerNode) -> None:
    audit = node.audit_path
    assert audit is not None
    operator = VaultAdmin(node.address)
    keyring = operator.init()
    operator.unseal(keyring)
    root = operator.with_token(keyring.root_token)
    root.request("GET", "sys/mounts")
    first = [json.loads(line) for line in audit.read_text().splitlines()]
    assert "sys/mounts" in {entry["request"]["path"] for entry in first}
    audit.rename(audit.with_suffix(".1"))
    node.reload()
    wait_until(audit.exists, "a new audit log after SIGHUP", timeout=10)
    for one in (operator, root):
        one.close()


def test_a_server_that_dies_says_why(make_node: Callable[..., DockerNode]) -> None:
    node = make_node(extra={"listener": {"tcp": {"address": "not an address"}}})
    with pytest.raises(ServerDied) as caught:
        node.start()
    assert "not an address" in caught.value.looked_at


def test_logs_have_the_servers_words(node: DockerNode) -> None:
    assert "server started" in node.logs()
    assert len(node.logs(tail=2).splitlines()) <= 2


def test_a_node_that_outlives_us_is_refused(make_node: Callable[..., DockerNode]) -> None:
    """`invoke up` makes such nodes."""
    with pytest.raises(HarnessError, match="end with it"):
        make_node(detached=True)


def test_closing_removes_the_container(
    make_node: Callable[..., DockerNode], objects_of: Callable[[str], dict[str, set[str]]]
) -> None:
    node = make_node()
    node.start()
    name = node.container_name
    assert name in objects_of("vault-harness.kind=vault")["containers"]
    node.close()
    assert name not in objects_of("vault-harness.kind=vault")["containers"]
