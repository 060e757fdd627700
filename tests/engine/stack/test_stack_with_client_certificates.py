"""The stack of `invoke up --client-certs`: it refuses clients without a certificate."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from resilient_vault_client import VaultClient
from tests.engine.stack.over_tls import backend, own_ca, read_meanwhile, secret_key
from vault_harness.addresses import host_and_port
from vault_harness.certificates import Authority, end_of, in_file
from vault_harness.errors import StackError
from vault_harness.judge.faults import Order
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.ports import ask, seal_status_url
from vault_harness.local.stack.env import service_environment
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault.metrics import numbers

pytestmark = pytest.mark.slow  # each starts and ends a stack

BLUEPRINT = Blueprint.default()


@pytest.fixture
def up(stack: LocalStack) -> LocalStack:
    stack.up(client_certs=True)
    stack.seed(BLUEPRINT)
    return stack


@pytest.fixture
def client(up: LocalStack) -> Iterator[VaultClient]:
    with backend(up) as found:
        yield found


def answer(address: str, stack: LocalStack, own: Path | None) -> int:
    """Return the server's status for this client certificate; its own is verified.

    Raises:
        ssl.SSLError: The server ends the handshake.
    """
    context = ssl.create_default_context(cafile=own_ca(stack))
    # In TLS 1.3 the client's handshake ends before the server has checked the certificate.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if own is not None:
        context.load_cert_chain(own)
    host, port = host_and_port(address)
    with closing(http.client.HTTPSConnection(host, port, timeout=10, context=context)) as one:
        one.request("GET", "/v1/sys/seal-status")
        return one.getresponse().status


def test_a_client_without_a_certificate_is_refused_at_the_handshake(
    up: LocalStack, client: VaultClient, tmp_path: Path
) -> None:
    """So is one with a certificate of another authority, even the servers'."""
    assert secret_key(client)
    names = {Path(service_environment(up, s)["VAULT_CLIENT_CERT"]).name for s in BLUEPRINT.services}
    assert names == {f"{service}-certificate.pem" for service in BLUEPRINT.services}
    assert (up.status().state, up.status().obstacles) == ("ready", ())
    assert numbers(up.endpoints().vault, ca_cert=own_ca(up)).unsealed
    servers = Authority.load(up.authority_directory)
    for number, other in enumerate((Authority(), servers)):
        other.issue_client(tmp_path / f"{number}.pem", "backend")
    for address in (up.endpoints().vault, up.endpoints().proxy):
        for own in (None, tmp_path / "0.pem", tmp_path / "1.pem"):
            with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
                answer(address, up, own)
            assert ask(seal_status_url(address), own=own) is None
        assert answer(address, up, up.data_dir / "backend-certificate.pem") == 200


def test_it_stays_what_it_is(up: LocalStack, client: VaultClient) -> None:
    key = secret_key(client)
    up.restart()
    up.unseal()
    assert secret_key(client) == key
    up.down()
    (up.data_dir / "stack.json").unlink()
    up.up()
    assert StackRecord.load(up.data_dir).client_certs
    with pytest.raises(ssl.SSLError):
        answer(up.endpoints().vault, up, None)
    up.down()
    (up.data_dir / "tls" / "clients.pem").unlink()  # and by the record alone
    up.up()
    with pytest.raises(ssl.SSLError):
        answer(up.endpoints().vault, up, None)


def test_tls_alone_becomes_it(stack: LocalStack) -> None:
    stack.up(tls=True)
    stack.seed(BLUEPRINT)
    variables = service_environment(stack, "backend")
    with closing(VaultClient(environ=variables)) as client:
        key = secret_key(client)
    with pytest.raises(StackError, match="asks for no client certificate") as caught:
        stack.up(client_certs=True)
    assert "--client-certs" in caught.value.remedy
    assert answer(stack.endpoints().vault, stack, None) == 200
    stack.down()
    stack.up(client_certs=True)
    with backend(stack) as client:
        assert secret_key(client) == key


def test_up_gets_over_own_certificates_that_have_ended(up: LocalStack) -> None:
    """The tasks cannot connect with them."""
    signing = Authority.load(up.authority_directory / "clients")
    (up.data_dir / "tls" / "balancer.pem").unlink()
    signing.issue_client(
        up.data_dir / "tls" / "operator.pem", "operator", life=-timedelta(minutes=1)
    )
    up.up()
    assert up.status().state == "ready"


def test_renewals_under_a_client_that_reads(up: LocalStack, client: VaultClient) -> None:
    key, own = secret_key(client), up.data_dir / "backend-certificate.pem"
    shown, first = {own.read_bytes()}, in_file(up.data_dir / "tls" / "clients.pem")[0]
    kept = up.data_dir.parent / "before.pem"
    kept.write_bytes(own.read_bytes())
    with read_meanwhile(client, key):
        for ca in (False, True, False):
            done = up.renew_certificate(ca=ca)
            assert {"operator", "backend", "celery_worker"} <= set(done.clients)
            shown.add(own.read_bytes())
            assert answer(up.endpoints().proxy, up, own) == 200
    assert len(shown) == 4
    with backend(up) as again:
        assert secret_key(again) == key
    # The running server trusts the former authority, and a server that starts now does not.
    assert first not in in_file(up.data_dir / "tls" / "clients.pem")
    assert answer(up.endpoints().vault, up, kept) == 200
    up.restart()
    up.unseal()
    with pytest.raises(ssl.SSLError):
        answer(up.endpoints().vault, up, kept)
    assert secret_key(client) == key


def test_a_second_exchange_wants_a_restart(up: LocalStack, client: VaultClient) -> None:
    """A server reads its CAs at the start."""
    key = secret_key(client)
    up.renew_certificate(ca=True)
    before = own_ca(up).read_bytes(), (up.data_dir / "tls" / "clients.pem").read_bytes()
    with pytest.raises(StackError, match="would refuse certificates of the next"):
        up.renew_certificate(ca=True)
    assert (
        own_ca(up).read_bytes(),
        (up.data_dir / "tls" / "clients.pem").read_bytes(),
    ) == before
    assert secret_key(client) == key
    up.restart()
    up.unseal()
    up.renew_certificate(ca=True)
    assert secret_key(client) == key


def test_requests_are_disturbed_by_hand(up: LocalStack, client: VaultClient) -> None:
    key = secret_key(client)
    up.fault_requests(Order(act="fail", targets=("read",), first=1).to_json())
    for renewed in (False, True):
        if renewed:
            up.renew_certificate()
        with pytest.raises(ssl.SSLError):
            answer(up.endpoints().proxy, up, None)
        with backend(up) as again:
            assert secret_key(again) == key
    recorder = up.status().recorder
    assert recorder is not None
    assert [fault.acted for fault in recorder.faults] == [1]
    up.heal()
    assert secret_key(client) == key


def test_keys_are_in_no_report_log_or_command_line(up: LocalStack, client: VaultClient) -> None:
    assert secret_key(client)
    up.renew_certificate(ca=True)
    holding = [
        p for p in up.data_dir.rglob("*") if p.is_file() and b"PRIVATE KEY" in p.read_bytes()
    ]
    assert {path.suffix for path in holding} == {".pem"}
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
    assert "PRIVATE KEY" not in json.dumps(up.status().to_json())
    mine = [
        p.info["cmdline"]
        for p in psutil.process_iter(["cmdline"])
        if any(str(up.data_dir) in word for word in p.info["cmdline"] or [])
    ]
    assert mine
    assert not any("PRIVATE KEY" in word for words in mine for word in words)


@pytest.mark.usefixtures("haproxy")
def test_three_nodes(stack: LocalStack) -> None:
    stack.up(ha=True, client_certs=True)
    stack.seed(BLUEPRINT)
    with backend(stack) as client:
        key = secret_key(client)
        with read_meanwhile(client, key):
            done = stack.renew_certificate(ca=True)
            assert done.nodes == ("vault", "vault-2", "vault-3")
        balancer = stack.data_dir / "tls" / "balancer.pem"
        assert (end := end_of(balancer)) is not None
        assert end.date() == done.ends.date()
        for address in (*stack.endpoints().addresses, stack.endpoints().vault):
            with pytest.raises(ssl.SSLError):
                answer(address, stack, None)
        # The balancer finds the next leader with the new certificate.
        with read_meanwhile(client, key):
            Nodes(stack).step_down()
        added = Nodes(stack).add()
        assert {node.name: node.role for node in stack.status().nodes}[added.name] == "standby"
        assert secret_key(client) == key
