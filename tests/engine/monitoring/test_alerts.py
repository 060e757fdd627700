from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from tests.engine.monitoring.conftest import MONITORING, Prometheus, quick
from vault_harness.certificates import TlsFiles
from vault_harness.judge.faults import VaultFaults
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.programs import find_vault
from vault_harness.local.stack.launching import Stack, launch
from vault_harness.local.vault import cluster
from vault_harness.recorder.fault import Fault, Signature
from vault_harness.settings import Settings

Watching = Callable[..., Prometheus]

OF_SERVERS = frozenset({"VaultDown", "VaultSealed", "VaultHasNoLeader"})
"""Alerts that fire for a moment if a busy machine takes seconds to start a server."""

STATES: dict[str, frozenset[str]] = {
    # one server, and one Prometheus all the time
    "fresh": frozenset(),
    "sealed": frozenset({"VaultSealed"}),
    "unsealed again": frozenset(),
    "restarted": frozenset({"VaultSealed"}),
    "restarted and unsealed": frozenset(),
    "sealed after a restart": frozenset({"VaultSealed"}),
    "down": frozenset({"VaultDown"}),
    # logins
    "new secret-ids": frozenset(),
    "good logins": frozenset(),
    "requests without a token": frozenset(),
    "wrong secret-ids of one role": frozenset({"VaultLoginsFail"}),
    # the audit log
    "audit log fails": frozenset({"VaultAuditFails"}),
    "audit log works again": frozenset(),
    "audit log blocks": frozenset({"VaultAuditBlocked"}),
    "restarted, audit log cannot be opened": frozenset({"VaultHasNoLeader"}),
    # three nodes
    "three voters": frozenset(),
    "another leader": frozenset(),
    "former leader sealed": frozenset({"VaultSealed"}),
    "quorum lost": frozenset({"VaultDown", "VaultHasNoLeader"}),
    # the rest
    "a token for each request": frozenset({"VaultLeasesGrow"}),
    "certificate ends in ten days": frozenset({"VaultCertificateNearItsEnd"}),
}


def reach(state: str, prometheus: Prometheus) -> None:
    prometheus.await_exactly(STATES[state])


class FaultLog:
    """A journal that keeps nothing."""

    def begin_fault(
        self, name: str, signature: Signature, detail: Any = None, *, optional: bool = False
    ) -> Fault:
        return Fault(name, signature, dict(detail or {}), 0.0, optional=optional)

    def end_fault(self, fault: Fault) -> None:
        """Note nothing."""


@pytest.fixture
def stack(engine: Engine, tmp_path: Path) -> Iterator[Stack]:
    blueprint = Blueprint.default()
    with launch(engine, blueprint, NodeSpec(directory=tmp_path / "vault", storage="raft")) as own:
        yield own


def restart(stack: Stack) -> None:
    stack.node.kill()
    stack.node.start()


def log_in(stack: Stack, **ids: str) -> int:
    address = f"{stack.node.address}/v1/auth/approle/login"
    return requests.post(address, json=ids, timeout=10).status_code


def panel(prometheus: Prometheus, title: str) -> list[float]:
    """Return the values that a panel of the dashboard shows now."""
    dashboard = json.loads((MONITORING / "grafana/dashboards/vault.json").read_text())
    (found,) = [one for one in dashboard["panels"] if one["title"] == title]
    values: list[float] = []
    for target in found["targets"]:
        expression = quick(target["expr"]).replace("$__rate_interval", "5s")
        prometheus.await_samples(expression)
        values += prometheus.query(expression)
    return values


def test_each_alert_fires_in_a_state() -> None:
    """Every alert of the rules fires in a state, and every state of the table is reached."""
    alerts = re.findall(r"- alert: (\w+)", (MONITORING / "rules.yml").read_text())
    assert set(alerts) == frozenset().union(*STATES.values())
    reached = re.findall(r'reach\(\s*"(.+?)"', Path(__file__).read_text())
    assert reached == list(STATES)


@pytest.mark.slow
def test_sealed_restarted_and_down(stack: Stack, watching: Watching) -> None:
    prometheus = watching(stack.node.address)
    reach("fresh", prometheus)
    assert panel(prometheus, "Sealed") == panel(prometheus, "Leader") == [1]
    stack.operator.seal()
    reach("sealed", prometheus)
    assert panel(prometheus, "Sealed") == panel(prometheus, "Leader") == [0]
    stack.operator.unseal(stack.keyring)
    reach("unsealed again", prometheus)
    restart(stack)
    reach("restarted", prometheus)
    stack.operator.unseal(stack.keyring)
    reach("restarted and unsealed", prometheus)
    assert panel(prometheus, "Sealed") == panel(prometheus, "Leader") == [1]
    stack.operator.seal()
    reach("sealed after a restart", prometheus)
    assert panel(prometheus, "Sealed") == panel(prometheus, "Leader") == [0]
    assert panel(prometheus, "Alerts") == [1]
    stack.node.kill()
    reach("down", prometheus)
    assert panel(prometheus, "Answers") == [0]
    assert prometheus.fired() <= OF_SERVERS


@pytest.mark.slow
def test_refused_logins(stack: Stack, watching: Watching) -> None:
    """Neither requests without a token nor new secret-ids count."""
    role = "auth/approle/role/backend"
    role_id = stack.operator.request("GET", f"{role}/role-id")["data"]["role_id"]

    def secret_id() -> str:
        made = stack.operator.request("POST", f"{role}/secret-id")
        return str(made["data"]["secret_id"])

    prometheus = watching(stack.node.address)
    given = [secret_id() for _ in range(12)][-1]
    prometheus.await_samples("vault_route_update_auth_approle__count >= 12")
    reach("new secret-ids", prometheus)
    assert {log_in(stack, role_id=role_id, secret_id=given) for _ in range(30)} == {200}
    prometheus.await_samples("vault_core_handle_login_request_count == 30")
    reach("good logins", prometheus)
    # The new secret-ids must leave the rule's window.
    prometheus.await_samples(quick("delta(vault:auth_updates_without_login[20m]) == 0"))
    program = find_vault(Settings()).path
    for token in (str(stack.operator.client.token), ""):
        names = {"VAULT_ADDR": stack.node.address, "VAULT_TOKEN": token}
        names |= {name.replace("VAULT", "BAO"): value for name, value in names.items()}
        command = [str(program), "kv", "get", "-mount=ecommerce", "backend/django"]
        for _ in range(4):
            ran = subprocess.run(command, env=os.environ | names, capture_output=True, check=False)
            assert (ran.returncode == 0) is bool(token), ran.stderr
    for path in ("sys/internal/ui/mounts/ecommerce", "identity/oidc/.well-known/keys"):
        for _ in range(10):
            requests.get(f"{stack.node.address}/v1/{path}", timeout=10)
    prometheus.await_samples("vault_core_handle_login_request_count == 58")
    reach("requests without a token", prometheus)
    assert "VaultLoginsFail" not in prometheus.fired()
    refused = [log_in(stack, role_id=role_id, secret_id="wrong") for _ in range(30)]
    assert set(refused) == {400, 403}, "Vault locks the role"
    reach("wrong secret-ids of one role", prometheus)
    assert panel(prometheus, "Refused logins")[0] >= 5
    assert len(panel(prometheus, "Requests")) == 2


@pytest.mark.slow
def test_audit_log_that_takes_nothing(stack: Stack, watching: Watching) -> None:
    """The alert fires if the audit log fails, blocks, or cannot be opened at the unseal."""
    restart(stack)  # Vault has no series of failed responses before one is audited
    stack.operator.unseal(stack.keyring)
    prometheus = watching(stack.node.address)
    faults = VaultFaults(stack, FaultLog())
    with faults.audit_unwritable():
        with requests.Session() as session, asking(session, stack):
            reach("audit log fails", prometheus)
        assert panel(prometheus, "Audit failures")[0] > 0
    reach("audit log works again", prometheus)
    with faults.audit_blocked():
        reach("audit log blocks", prometheus)
        assert panel(prometheus, "Requests inside")[0] > 0
    assert panel(prometheus, "Audit failures")[1] == 0
    log = stack.node.audit_path
    assert log is not None
    stack.node.kill()
    log.unlink()
    log.mkdir()
    stack.node.start()
    stack.operator.give_keys(stack.keyring)
    reach("restarted, audit log cannot be opened", prometheus)


@contextlib.contextmanager
def asking(session: requests.Session, stack: Stack) -> Iterator[None]:
    """Ask for a secret five times a second until the block ends."""
    over = threading.Event()
    address = f"{stack.node.address}/v1/ecommerce/data/backend/django"

    def ask() -> None:
        while not over.wait(0.2):
            session.get(address, headers={"X-Vault-Token": "none"}, timeout=30)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        try:
            yield
        finally:
            over.set()
    asked.result()


@contextlib.contextmanager
def making_tokens(stack: Stack) -> Iterator[None]:
    """Make a hundred tokens a second until the block ends.

    On this clock 500 in 15 s are many. A single caller reaches it only on an idle machine.
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


@pytest.mark.slow
def test_three_nodes(engine: Engine, tmp_path: Path, watching: Watching) -> None:
    """A node that led and a node that never led have different series, and alerts fit both."""
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
    with cluster.operators(addresses, keyring, token=keyring.root_token) as (first, *_):
        cluster.wait_for_voters(first, 3, timeout=90)
        prometheus = watching(*addresses)
        reach("three voters", prometheus)
        assert sorted(panel(prometheus, "Leader")) == [0, 0, 1]
        first.request("PUT", "sys/step-down")
        prometheus.await_samples(f"vault:leads{{instance!={json.dumps(host(addresses[0]))}}} == 1")
        reach("another leader", prometheus)
        assert sorted(panel(prometheus, "Leader")) == [0, 0, 1]
        assert panel(prometheus, "Sealed") == [1, 1, 1]
        nodes[0].kill()
        nodes[0].start()
        reach("former leader sealed", prometheus)
        assert sorted(panel(prometheus, "Sealed")) == [0, 1, 1]
        first.give_keys(keyring)
        prometheus.await_samples("sum(vault:unsealed) == 3")
        for node in nodes[1:]:
            node.kill()
        reach("quorum lost", prometheus)
        assert prometheus.fired() <= OF_SERVERS


def host(address: str) -> str:
    """Return the ``host:port`` of a base URL, which is Prometheus' name of an instance."""
    return address.split("://")[1]


@pytest.mark.slow
def test_growing_leases(stack: Stack, watching: Watching) -> None:
    prometheus = watching(stack.node.address)
    prometheus.await_samples("vault_expire_num_leases < 100")
    with making_tokens(stack):
        reach("a token for each request", prometheus)
        assert panel(prometheus, "Leases")[0] > 500


@pytest.mark.slow
def test_certificate_near_its_end(engine: Engine, tmp_path: Path, watching: Watching) -> None:
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
    with (
        contextlib.closing(node),
        cluster.operators([node.address], None, token=None, ca_cert=files.ca) as (operator,),
    ):
        operator.unseal(operator.init(), timeout=30)
        prometheus = watching(node.address, ca=files.ca)
        reach("certificate ends in ten days", prometheus)
        (left,) = panel(prometheus, "Certificate ends in")
        assert 9 * 86400 < left < 10 * 86400
