from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
import trustme

from vault_harness.certificates import TlsFiles
from vault_harness.errors import CapabilityMissing, DeadlineExceeded, PortTaken, ServerDied
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.ports import PortLease
from vault_harness.local.engine.process.engine import ProcessEngine
from vault_harness.local.engine.shape import Capability, Engine, Node, NodeSpec
from vault_harness.local.stack.launching import launch
from vault_harness.local.toxiproxy.client import Toxiproxy
from vault_harness.settings import Settings
from vault_harness.waiting import wait_until


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ProcessEngine]:
    with ProcessEngine(Settings(engine="process"), directory=tmp_path / "engine") as engine:
        yield engine


def answers(node: Node, *, timeout: float = 5.0) -> bool:
    try:
        answer = requests.get(f"{node.address}/v1/sys/seal-status", timeout=timeout)
    except requests.RequestException:
        return False
    return bool(answer.ok)


def test_the_verbs_of_a_node(engine: ProcessEngine, tmp_path: Path) -> None:
    node = engine.node(NodeSpec(name="vault", directory=tmp_path / "vault"))
    assert isinstance(node, Node)
    assert not node.is_running()

    node.start()
    address, first = node.address, node.process_id
    assert answers(node)
    node.start()
    assert node.process_id == first, "a running server is not started twice"

    node.pause()
    assert node.is_running()
    assert not answers(node, timeout=0.3)
    node.resume()
    assert answers(node)

    node.restart()
    assert (node.address, answers(node)) == (address, True)
    assert node.process_id != first

    node.kill()
    assert not node.is_running()
    assert not answers(node)
    node.start()
    node.pause()
    node.stop()
    assert not node.is_running(), "a paused server can be stopped"


def test_only_loopback(engine: ProcessEngine, tmp_path: Path) -> None:
    node = engine.node(NodeSpec(name="vault", directory=tmp_path / "vault", storage="raft"))
    node.start()
    assert node.process_id is not None
    listening = [
        connection.laddr.ip
        for connection in psutil.Process(node.process_id).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert set(listening) == {"127.0.0.1"}


def test_its_files_are_private(engine: ProcessEngine, tmp_path: Path) -> None:
    node = engine.node(NodeSpec(name="vault", directory=tmp_path / "vault"))
    node.start()

    assert (tmp_path / "vault").stat().st_mode & 0o777 == 0o700
    assert node.configuration_path.stat().st_mode & 0o777 == 0o600


def test_a_wrong_configuration_is_reported_in_the_servers_words(
    engine: ProcessEngine, tmp_path: Path
) -> None:
    spec = NodeSpec(name="vault", directory=tmp_path / "vault", extra={"storage": {"nonsense": {}}})

    with pytest.raises(ServerDied, match="nonsense"):
        engine.node(spec).start()


def test_a_wanted_port_that_is_taken(engine: ProcessEngine, tmp_path: Path) -> None:
    first = engine.node(NodeSpec(name="one", directory=tmp_path / "one"))
    first.start()
    port = int(first.address.rsplit(":", 1)[1])

    with pytest.raises(PortTaken, match=str(port)):
        engine.node(NodeSpec(name="two", directory=tmp_path / "two", port=port))


def test_a_lost_port_is_replaced(engine: ProcessEngine, tmp_path: Path) -> None:
    """Another process took a free port first."""
    node = engine.node(NodeSpec(name="vault", directory=tmp_path / "vault"))
    lost = node.address
    squatter = engine.node(NodeSpec(name="squatter", directory=tmp_path / "squatter"))
    node._api.release()  # as on systems where a lease holds no port
    squatter._api.release()
    squatter._api = PortLease(int(lost.rsplit(":", 1)[1]))
    squatter._server = squatter._make_server()
    squatter.start()

    node.start()

    assert node.address != lost
    assert answers(node)


def test_an_address_that_clients_know_is_never_exchanged(
    engine: ProcessEngine, tmp_path: Path
) -> None:
    """A server that lost its known port while it was down fails and does not move."""
    node = engine.node(NodeSpec(name="vault", directory=tmp_path / "vault"))
    node.start()
    node.kill()
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", int(node.address.rsplit(":", 1)[1])))
        squatter.listen()

        with pytest.raises(PortTaken):
            node.start()
    node.start()


def test_raft_survives_a_kill_and_memory_does_not(engine: ProcessEngine, tmp_path: Path) -> None:
    """So the capability DURABLE is true."""
    blueprint = Blueprint.default()
    for storage, initialised in (("raft", True), ("inmem", False)):
        stack = launch(engine, blueprint, NodeSpec(directory=tmp_path / storage, storage=storage))  # type: ignore[arg-type] # of the tuple
        stack.node.kill()
        stack.node.start()

        assert (Capability.DURABLE in stack.node.capabilities) is initialised
        assert stack.operator.seal_status().initialised is initialised
        stack.close()


def test_audit_log_in_clear_only_when_asked(engine: ProcessEngine, tmp_path: Path) -> None:
    """`audit_raw` is for throw-away secrets."""
    blueprint = Blueprint.default().with_secret("backend/probe", {"KEY": "plainly-visible"})
    for raw in (False, True):
        directory = tmp_path / f"raw-{raw}"
        with launch(engine, blueprint, NodeSpec(directory=directory, audit_raw=raw)) as stack:
            path = stack.node.audit_path
            assert path is not None
            text = path.read_text()

        assert "ecommerce/data/backend/probe" in text
        assert ("plainly-visible" in text) is raw


def test_reload_reopens_the_audit_log(engine: ProcessEngine, tmp_path: Path) -> None:
    with launch(engine, Blueprint.default(), NodeSpec(directory=tmp_path / "vault")) as stack:
        path = stack.node.audit_path
        assert path is not None
        path.rename(path.with_suffix(".1"))
        stack.node.reload()
        wait_until(path.exists, "the audit log to be opened again", timeout=10)
        stack.operator.request("GET", "sys/mounts")

        assert json.loads(path.read_text().splitlines()[-1])["request"]["path"] == "sys/mounts"


def test_toxiproxy_in_front(engine: ProcessEngine, tmp_path: Path) -> None:
    node = engine.node(NodeSpec(name="vault", directory=tmp_path / "vault"))
    node.start()
    server = engine.toxiproxy(seed=7)
    listen = server.listen()
    proxy = Toxiproxy(server.api).create("vault", listen=listen, upstream=node.upstream)

    url = f"http://{server.reachable(listen)}/v1/sys/seal-status"
    assert requests.get(url, timeout=5).ok
    with proxy.disabled(), pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)
    assert server.is_running()
    server.stop()
    assert not server.is_running()


def test_closing_the_engine_ends_everything(tmp_path: Path) -> None:
    with open_engine(Settings(engine="process"), directory=tmp_path / "engine") as engine:
        assert isinstance(engine, Engine)
        node = engine.node(NodeSpec(name="vault", directory=tmp_path / "vault"))
        node.start()
        toxiproxy = engine.toxiproxy()

    assert not node.is_running()
    assert not toxiproxy.is_running()


LAUNCH = """
import signal, sys, time
from pathlib import Path
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.settings import Settings
from vault_harness.local.stack.launching import launch
# A shell's job in the background ignores it, and so would what that starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
directory = Path(sys.argv[1])
engine = open_engine(Settings(engine="process"), directory=directory)
stack = launch(engine, Blueprint.default(), NodeSpec(directory=directory / "vault"))
toxiproxy = engine.toxiproxy()
print(stack.node.process_id, toxiproxy.server.process.pid, flush=True)
time.sleep(300)
"""


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_server_survives_its_parent(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", LAUNCH, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        servers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(servers) == 2
        assert not any(gone(pid) for pid in servers)
        os.kill(parent.pid, how)

    wait_until(lambda: all(gone(pid) for pid in servers), "the servers to end", timeout=10)


def test_secrets_are_on_no_command_line(tmp_path: Path, engine: ProcessEngine) -> None:
    with launch(engine, Blueprint.default(), NodeSpec(directory=tmp_path / "vault")) as stack:
        secrets = [*stack.keyring.keys, stack.keyring.root_token]
        processes = psutil.Process().children(recursive=True)
        assert processes
        for process in processes:
            try:
                shown = " ".join([*process.cmdline(), *process.environ().values()])
            except psutil.Error:
                continue
            assert not any(secret in shown for secret in secrets)


def test_a_deadline_leaves_nothing_behind(engine: ProcessEngine, tmp_path: Path) -> None:
    node = engine.node(NodeSpec(name="vault", directory=tmp_path / "vault"))
    started = time.monotonic()

    with pytest.raises(DeadlineExceeded):
        node.start(timeout=0.001)

    assert time.monotonic() - started < 30
    assert not node.is_running()


def tls_files(directory: Path, ca: trustme.CA, *hosts: str) -> TlsFiles:
    issued = ca.issue_cert(*hosts)
    directory.mkdir(exist_ok=True)
    files = TlsFiles(
        certificate=directory / "certificate.pem",
        key=directory / "key.pem",
        ca=directory / "ca.pem",
    )
    issued.cert_chain_pems[0].write_to_path(files.certificate)
    issued.private_key_pem.write_to_path(files.key)
    ca.cert_pem.write_to_path(files.ca)
    return files


def test_a_node_with_tls_is_checked_by_its_ca(engine: ProcessEngine, tmp_path: Path) -> None:
    files = tls_files(tmp_path / "tls", trustme.CA(), "localhost", "127.0.0.1")
    node = engine.node(NodeSpec(name="vault", directory=tmp_path / "vault", tls=files))
    node.start()
    assert node.address.startswith("https://")
    url = f"{node.address}/v1/sys/seal-status"
    assert requests.get(url, timeout=5, verify=str(node.ca_cert)).ok
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url, timeout=5)


def test_a_new_certificate_is_taken_at_a_reload(engine: ProcessEngine, tmp_path: Path) -> None:
    files = tls_files(tmp_path / "tls", trustme.CA(), "localhost", "127.0.0.1")
    node = engine.node(NodeSpec(name="vault", directory=tmp_path / "vault", tls=files))
    node.start()
    tls_files(tmp_path / "tls", trustme.CA(), "localhost", "127.0.0.1")
    node.reload()
    url = f"{node.address}/v1/sys/seal-status"

    def taken() -> bool:
        try:
            return requests.get(url, timeout=5, verify=str(node.ca_cert)).ok
        except requests.exceptions.SSLError:
            return False

    wait_until(taken, "the new certificate", timeout=10)


def test_metrics_of_every_server(engine: ProcessEngine, tmp_path: Path) -> None:
    """An unsealed server has Prometheus metrics without a token."""
    with launch(engine, Blueprint.default(), NodeSpec(directory=tmp_path / "vault")) as stack:
        url = f"{stack.node.address}/v1/sys/metrics?format=prometheus"
        answer = requests.get(url, timeout=5)
        assert answer.ok
        assert "core_unsealed" in answer.text


def test_a_process_cannot_be_cut_off_from_loopback(engine: ProcessEngine, tmp_path: Path) -> None:
    node = engine.node(NodeSpec(name="vault", directory=tmp_path / "vault"))
    assert Capability.PARTITION not in node.capabilities | engine.capabilities
    with pytest.raises(CapabilityMissing, match="cut off"):
        node.disconnect()
    node.reconnect()
