import contextlib
import socket
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest
import requests

from tests.running import Handler, serving
from vault_harness.errors import EngineError
from vault_harness.local.engine.docker.engine import DockerEngine
from vault_harness.local.engine.docker.network import POOL, DockerToxiproxy
from vault_harness.local.engine.docker.node import DockerNode
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.ports import answers
from vault_harness.local.engine.shape import ToxiproxyProcess
from vault_harness.local.toxiproxy.client import Toxiproxy
from vault_harness.local.toxiproxy.toxics import Latency
from vault_harness.waiting import wait_until

pytestmark = pytest.mark.docker


@pytest.fixture
def front(toxiproxy: DockerToxiproxy) -> Iterator[Toxiproxy]:
    front = Toxiproxy(toxiproxy.api)
    yield front
    for proxy in front.proxies().values():
        proxy.delete()


@contextlib.contextmanager
def recorder(engine: DockerEngine) -> Iterator[int]:
    """The port of an HTTP server of this process that containers can reach."""

    class Answer(Handler):
        def answer(self) -> None:
            self.say("", status=299)

    with serving(ThreadingHTTPServer((engine.bind_host(), 0), Answer)) as server:
        yield server.server_port


def test_it_has_the_shape(toxiproxy: DockerToxiproxy) -> None:
    assert isinstance(toxiproxy, ToxiproxyProcess)
    assert toxiproxy.is_running()
    assert Toxiproxy(toxiproxy.api).version()


def test_through_it_vault_is_reached(
    toxiproxy: DockerToxiproxy, front: Toxiproxy, node: DockerNode
) -> None:
    """Toxiproxy finds the node by its network name; a client here finds the proxy."""
    proxy = front.create("vault", listen=toxiproxy.listen(), upstream=node.upstream)
    url = f"http://{toxiproxy.reachable(proxy.listen)}/v1/sys/seal-status"
    assert requests.get(url, timeout=5).json()["initialized"] is False
    with proxy.toxic(Latency(latency=300)):
        assert requests.get(url, timeout=5).elapsed.total_seconds() > 0.3


def test_a_disabled_proxy_refuses_the_client(
    toxiproxy: DockerToxiproxy, front: Toxiproxy, node: DockerNode
) -> None:
    """No relay accepts in Toxiproxy's place."""
    proxy = front.create("vault", listen=toxiproxy.listen(), upstream=node.upstream)
    host, port = toxiproxy.reachable(proxy.listen).split(":")
    with proxy.disabled(), socket.socket() as client:
        client.settimeout(5)
        assert client.connect_ex((host, int(port))) != 0


def test_cut_off_it_swallows_the_first_packet(
    toxiproxy: DockerToxiproxy, front: Toxiproxy, node: DockerNode
) -> None:
    """A cut network drops even the first packet, which no toxic can do."""
    proxy = front.create("vault", listen=toxiproxy.listen(), upstream=node.upstream)
    host, port = toxiproxy.reachable(proxy.listen).split(":")
    toxiproxy.disconnect()
    try:
        with pytest.raises(TimeoutError):
            socket.create_connection((host, int(port)), timeout=1.0)
    finally:
        toxiproxy.reconnect()
    assert toxiproxy.reachable(proxy.listen) == f"{host}:{port}"
    url = f"http://{host}:{port}/v1/sys/seal-status"
    assert requests.get(url, timeout=5).json()["initialized"] is False


def test_a_node_that_is_cut_off_is_not_refused_but_silent(
    toxiproxy: DockerToxiproxy, front: Toxiproxy, node: DockerNode
) -> None:
    """Toxiproxy accepts for a cut node and gets no answer, unlike with a dead server."""
    proxy = front.create("vault", listen=toxiproxy.listen(), upstream=node.upstream)
    url = f"http://{toxiproxy.reachable(proxy.listen)}/v1/sys/seal-status"
    assert requests.get(url, timeout=5).ok
    address = node.address
    node.disconnect()
    try:
        with pytest.raises(requests.exceptions.RequestException):
            requests.get(url, timeout=1.0)
        assert node.is_running()
    finally:
        node.reconnect()
    assert node.address == address
    assert requests.get(f"{address}/v1/sys/seal-status", timeout=5).ok
    wait_until(lambda: answers(url), "Vault through Toxiproxy again", timeout=15)


def test_nothing_of_it_is_published(engine: DockerEngine, toxiproxy: DockerToxiproxy) -> None:
    """Clients use the container's own address, so no port is published."""
    with connected() as client:
        (container,) = client.containers.list(
            filters={
                "label": [f"vault-harness.run={engine.run.name}", "vault-harness.kind=toxiproxy"]
            }
        )
    assert not [one for one in container.attrs["NetworkSettings"]["Ports"].values() if one]


def test_it_reaches_a_listener_of_this_process(
    engine: DockerEngine, toxiproxy: DockerToxiproxy, front: Toxiproxy
) -> None:
    """The recorder of a scenario runs in this process."""
    with recorder(engine) as port:
        upstream = engine.reachable_from_toxiproxy(port)
        proxy = front.create("recorder", listen=toxiproxy.listen(), upstream=upstream)
        url = f"http://{toxiproxy.reachable(proxy.listen)}/"
        assert requests.get(url, timeout=5).status_code == 299


def test_listeners_of_this_process_are_not_on_every_interface(engine: DockerEngine) -> None:
    """The recorder sees secrets."""
    assert engine.bind_host() not in {"", "0.0.0.0", "::"}  # noqa: S104 -- what must not be


def test_ports_of_the_pool_are_handed_out_once(
    toxiproxy: DockerToxiproxy, front: Toxiproxy
) -> None:
    proxies = [
        front.create(f"proxy-{number}", listen=toxiproxy.listen(), upstream="127.0.0.1:1")
        for number in range(len(POOL))
    ]
    assert len(POOL) == len({toxiproxy.reachable(proxy.listen) for proxy in proxies})
    with pytest.raises(EngineError, match="in use"):
        toxiproxy.listen()
    freed = proxies[5].listen.rpartition(":")[2]
    proxies[5].delete()
    assert freed == toxiproxy.listen().rpartition(":")[2]
