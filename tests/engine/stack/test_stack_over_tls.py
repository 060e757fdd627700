from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hvac
import pytest
import requests

from resilient_vault_client import VaultClient
from tests.engine.stack.over_tls import backend, goes_on, own_ca, read_meanwhile, secret_key
from vault_harness.addresses import host_and_port
from vault_harness.certificates import Authority, in_file, shown_by
from vault_harness.errors import StackError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack.env import service_environment
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord

pytestmark = pytest.mark.slow  # each starts and ends a stack

BLUEPRINT = Blueprint.default()


@pytest.fixture
def up(stack: LocalStack) -> LocalStack:
    stack.up(tls=True)
    stack.seed(BLUEPRINT)
    return stack


@pytest.fixture
def client(up: LocalStack) -> Iterator[VaultClient]:
    with backend(up) as found:
        yield found


def test_a_client_reads_with_what_env_gives(up: LocalStack, client: VaultClient) -> None:
    variables = service_environment(up, "backend")
    assert variables["VAULT_ADDR"] == up.endpoints().proxy
    assert up.endpoints().proxy.startswith("https://")
    assert up.endpoints().vault.startswith("https://")
    assert Path(variables["VAULT_CACERT"]) == own_ca(up)
    assert secret_key(client)
    assert up.status().state == "ready"
    assert up.status().obstacles == ()


def test_without_the_ca_a_client_sends_nothing(up: LocalStack) -> None:
    for address in (up.endpoints().vault, up.endpoints().proxy):
        with pytest.raises(ssl.SSLCertVerificationError):
            shown_by(address, ca_cert=None)
        with pytest.raises(requests.exceptions.SSLError):
            hvac.Client(url=address).sys.read_seal_status()


def test_private_keys_are_readable_only_by_their_owner(up: LocalStack) -> None:
    keys = [up.data_dir / "tls" / "key.pem", up.authority_directory / "ca-key.pem"]
    assert [path.stat().st_mode & 0o777 for path in keys] == [0o600, 0o600]


def test_it_stays_what_it_is(up: LocalStack, client: VaultClient) -> None:
    before, key = shown_by(up.endpoints().vault, ca_cert=own_ca(up)), secret_key(client)
    up.restart()
    up.unseal()
    assert shown_by(up.endpoints().vault, ca_cert=own_ca(up)) == before
    up.down()
    up.up()
    assert shown_by(up.endpoints().proxy, ca_cert=own_ca(up)) == before
    with backend(up) as again:
        assert secret_key(again) == key


def test_a_certificate_that_ended_while_it_was_down(up: LocalStack, client: VaultClient) -> None:
    key = secret_key(client)
    (trusted,) = in_file(own_ca(up))
    up.down()
    authority = Authority.load(up.authority_directory)
    authority.issue(up.data_dir / "tls", "127.0.0.1", life=-timedelta(minutes=1))
    up.up()
    assert shown_by(up.endpoints().proxy, ca_cert=own_ca(up)).ends > datetime.now(UTC)
    assert in_file(own_ca(up)) == (trusted,)
    with backend(up) as again:
        assert secret_key(again) == key


def test_without_its_record_it_stays_what_it_is(up: LocalStack) -> None:
    up.down()
    (up.data_dir / "stack.json").unlink()
    assert up.up().vault.startswith("https://")
    assert StackRecord.load(up.data_dir).tls


def test_a_half_made_certificate_is_replaced(stack: LocalStack) -> None:
    stack.up(tls=True)
    stack.down()
    (stack.data_dir / "tls" / "certificate.pem").unlink()
    assert stack.up().vault.startswith("https://")
    assert shown_by(stack.endpoints().vault, ca_cert=own_ca(stack)).serial


def test_renewals_under_a_client_that_reads(up: LocalStack, client: VaultClient) -> None:
    serials = [shown_by(up.endpoints().vault, ca_cert=own_ca(up)).serial]
    with read_meanwhile(client, secret_key(client)) as seen:
        for ca in (False, True, False):
            done = up.renew_certificate(ca=ca)
            assert done.nodes == ("vault",)
            assert done.serial == shown_by(up.endpoints().proxy, ca_cert=own_ca(up)).serial
            serials.append(done.serial)
            goes_on(seen)
    assert len(set(serials)) == 4


def test_a_connection_outlives_a_renewal(up: LocalStack) -> None:
    """The certificate is asked for once."""
    host, port = host_and_port(up.endpoints().vault)
    context = ssl.create_default_context(cafile=str(own_ca(up)))
    connection = http.client.HTTPSConnection(host, port, timeout=10, context=context)
    connection.auto_open = 0  # no other connection may replace it
    connection.connect()
    with closing(connection):
        for _ in range(2):
            connection.request("GET", "/v1/sys/seal-status")
            assert b'"sealed":false' in connection.getresponse().read()
            up.renew_certificate()


def test_the_old_authority_goes_with_the_next_renewal(up: LocalStack) -> None:
    """After a renewal of the authority both are trusted until the next one."""
    (old,) = in_file(own_ca(up))
    up.renew_certificate(ca=True)
    new, beside = in_file(own_ca(up))
    assert beside == old != new
    up.renew_certificate()
    assert in_file(own_ca(up)) == (new,)


def test_an_interrupted_change_keeps_trusting_the_old_authority(up: LocalStack) -> None:
    """The new authority has signed nothing."""
    (old,) = in_file(own_ca(up))
    Authority().save(up.authority_directory)
    up.renew_certificate()
    assert in_file(own_ca(up))[1] == old


def test_destroy_leaves_no_key(up: LocalStack) -> None:
    planned = up.destroy(dry=True)
    assert up.authority_directory.is_dir()
    removed = up.destroy()
    assert str(up.authority_directory) in planned
    assert str(up.authority_directory) in removed
    assert not up.data_dir.exists()


def test_plain_http_while_it_runs(stack: LocalStack) -> None:
    stack.up()
    with pytest.raises(StackError, match="runs in plain HTTP"):
        stack.up(tls=True)
    with pytest.raises(StackError, match="no certificate to renew"):
        stack.renew_certificate()
    assert stack.up().vault.startswith("http://")
    assert stack.status().ca_cert is None


def test_plain_http_becomes_tls(stack: LocalStack) -> None:
    stack.up()
    stack.seed(BLUEPRINT)
    variables = service_environment(stack, "backend")
    assert "VAULT_CACERT" not in variables
    with closing(VaultClient(environ=variables)) as client:
        key = secret_key(client)
    stack.down()
    stack.up(tls=True)
    with backend(stack) as client:
        assert secret_key(client) == key


@pytest.mark.slow  # a cluster takes ten seconds
@pytest.mark.usefixtures("haproxy")
def test_three_nodes(stack: LocalStack) -> None:
    stack.up(ha=True, tls=True)
    stack.seed(BLUEPRINT)
    assert sorted(node.role for node in stack.status().nodes) == ["leader", "standby", "standby"]
    done = stack.renew_certificate(ca=True)
    assert done.nodes == ("vault", "vault-2", "vault-3")
    endpoints = stack.endpoints()
    for address in (*endpoints.addresses, endpoints.vault, endpoints.proxy):
        assert shown_by(address, ca_cert=own_ca(stack)).serial == done.serial
    with backend(stack) as client:
        assert secret_key(client)
