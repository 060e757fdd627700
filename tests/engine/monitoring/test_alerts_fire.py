"""Each alert of ``compose/monitoring`` fires by the very fault that it is for."""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from vault_harness.blueprint import Blueprint
from vault_harness.engine import Engine, NodeSpec, TlsFiles
from vault_harness.faults import Fault, Signature, VaultFaults
from vault_harness.settings import resources
from vault_harness.stack import Stack, launch
from vault_harness.vault import cluster

pytestmark = pytest.mark.slow

Watching = Callable[..., Any]


class Journal:
    """Nobody reads what was noted."""

    def begin_fault(
        self, name: str, signature: Signature, detail: Any = None, *, optional: bool = False
    ) -> Fault:
        """A fault is in force."""
        return Fault(name, signature, dict(detail or {}), 0.0, optional=optional)

    def end_fault(self, fault: Fault) -> None:
        """It is undone."""


@pytest.fixture
def stack(engine: Engine, tmp_path: Path) -> Iterator[Stack]:
    """A seeded Vault of the test's own, which survives a restart."""
    blueprint = Blueprint.default()
    with launch(engine, blueprint, directory=tmp_path / "vault", storage="raft") as own:
        yield own


def log_in(stack: Stack, **ids: str) -> int:
    """A login's status."""
    address = f"{stack.node.address}/v1/auth/approle/login"
    return requests.post(address, json=ids, timeout=10).status_code


@contextlib.contextmanager
def making_tokens(stack: Stack) -> Iterator[None]:
    """A hundred tokens a second, by callers beside each other, until the block ends.

    On this clock 500 in 15 s are many: a third of that. One caller would make so many on an idle
    machine only, and some hundreds at once are forgotten where that takes a busy one 15 s.
    """
    callers, each_second, over = 4, 100, threading.Event()
    address = f"{stack.node.address}/v1/auth/token/create"
    head = {"X-Vault-Token": str(stack.operator.client.token)}
    body = {"ttl": "1h", "policies": ["default"]}

    def make() -> None:
        due = time.monotonic()
        with requests.Session() as session:
            while not over.wait(max(0.0, due - time.monotonic())):
                session.post(address, json=body, headers=head, timeout=30).raise_for_status()
                due += callers / each_second

    with concurrent.futures.ThreadPoolExecutor(callers) as pool:
        made = [pool.submit(make) for _ in range(callers)]
        try:
            yield
        finally:
            over.set()
    for each in made:
        each.result()


def test_sealed_and_down(stack: Stack, watching: Watching) -> None:
    """A Vault that was sealed, one that came back sealed, and one that is gone."""
    prometheus = watching(stack.node.address)
    assert prometheus.firing() == set()
    stack.operator.seal()
    prometheus.await_alert("VaultSealed")
    assert "VaultHasNoLeader" not in prometheus.firing()
    stack.node.kill()
    prometheus.await_alert("VaultDown")
    assert "VaultSealed" not in prometheus.firing(), "nobody knows whether it is sealed"
    stack.node.start()
    prometheus.await_alert("VaultSealed")


def test_refused_logins(stack: Stack, watching: Watching) -> None:
    """Logins that work are none of its business; a dozen bad ones are."""
    role = "auth/approle/role/backend"
    ids = {
        "role_id": stack.operator.request("GET", f"{role}/role-id")["data"]["role_id"],
        "secret_id": stack.operator.request("POST", f"{role}/secret-id")["data"]["secret_id"],
    }
    prometheus = watching(stack.node.address)
    assert {log_in(stack, **ids) for _ in range(30)} == {200}
    prometheus.await_samples("vault_core_handle_login_request_count >= 30")
    assert prometheus.firing() == set()
    assert 200 not in {log_in(stack, role_id="nobody", secret_id="wrong") for _ in range(30)}
    prometheus.await_alert("VaultLoginsFail")


def test_growing_leases(stack: Stack, watching: Watching) -> None:
    """A client that makes a token for each request, for as long as it takes to be noticed."""
    prometheus = watching(stack.node.address)
    prometheus.await_samples("vault_expire_num_leases < 100")
    with making_tokens(stack):
        prometheus.await_alert("VaultLeasesGrow")


def test_audit_log_that_fails(stack: Stack, watching: Watching) -> None:
    """The audit log cannot be opened: Vault refuses everything."""
    prometheus = watching(stack.node.address)
    prometheus.await_samples("vault_audit_log_request_failure == 0")
    with VaultFaults(stack, Journal()).audit_unwritable():
        prometheus.await_alert("VaultAuditFails")


def test_audit_log_that_blocks(stack: Stack, watching: Watching) -> None:
    """The audit log takes nothing: what was asked hangs."""
    prometheus = watching(stack.node.address)
    assert "VaultAuditBlocked" not in prometheus.firing()
    with VaultFaults(stack, Journal()).audit_blocked():
        prometheus.await_alert("VaultAuditBlocked")
        assert "VaultSealed" not in prometheus.firing()


def test_lost_quorum(engine: Engine, tmp_path: Path, watching: Watching) -> None:
    """Two nodes of three die: the third is unsealed, and nobody leads."""
    specs = [
        NodeSpec(name=f"node-{number}", directory=tmp_path / str(number), storage="raft")
        for number in (1, 2, 3)
    ]
    nodes = [engine.node(spec) for spec in specs]
    for node in nodes:
        node.start()
    addresses = [node.address for node in nodes]
    with cluster.operators(addresses, None, token=None) as (first, second, third):
        keyring = first.init()
        cluster.unseal_all([first], keyring, timeout=30)
        for joining in (second, third):
            cluster.join(joining, first)
        cluster.unseal_all([first, second, third], keyring, timeout=60)
    with cluster.operators(addresses, keyring, token=keyring.root_token) as (root, *_):
        cluster.wait_for_voters(root, 3, timeout=90)
    prometheus = watching(*addresses)
    assert prometheus.firing() == set()
    for node in nodes[1:]:
        node.kill()
    prometheus.await_alert("VaultHasNoLeader")
    assert "VaultSealed" not in prometheus.firing()


def test_certificate_near_its_end(engine: Engine, tmp_path: Path, watching: Watching) -> None:
    """A server whose certificate ends in ten days."""
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=10)
    ca = trustme.CA()
    issued = ca.issue_cert("localhost", "127.0.0.1", not_after=end)
    files = TlsFiles(
        certificate=tmp_path / "chain.pem", key=tmp_path / "key.pem", ca=tmp_path / "ca.pem"
    )
    files.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(files.key)
    ca.cert_pem.write_to_path(files.ca)
    node = engine.node(NodeSpec(name="tls", directory=tmp_path / "tls", tls=files))
    node.start()
    with contextlib.closing(node):  # type: ignore[type-var]
        prometheus = watching(node.address, certificate=True)
        prometheus.await_alert("VaultCertificateNearItsEnd")
        (left,) = prometheus.query("probe_ssl_earliest_cert_expiry - time()")
        assert 9 * 86400 < float(left["value"][1]) < 10 * 86400


def test_every_panel_of_the_dashboard_has_data(stack: Stack, watching: Watching) -> None:
    """Its questions are good PromQL, and a real Vault has an answer to each."""
    text = (resources() / "monitoring/grafana/dashboards/vault.json").read_text()
    asked = [
        target["expr"].replace("$__rate_interval", "5s")
        for panel in json.loads(text)["panels"]
        for target in panel["targets"]
    ]
    prometheus = watching(stack.node.address)
    with concurrent.futures.ThreadPoolExecutor(5) as threads:
        statuses = threads.map(lambda _: log_in(stack, role_id="a", secret_id="b"), range(5))
        assert 200 not in set(statuses)
    for expression in asked:
        if "probe_ssl" in expression:
            assert prometheus.query(expression) == [], "plain HTTP has no certificate"
        else:
            prometheus.await_samples(expression)
