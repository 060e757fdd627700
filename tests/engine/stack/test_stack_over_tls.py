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
    assert (up.status().state, up.status().obstacles) == ("ready", ())
    for address in (up.endpoints().vault, up.endpoints().proxy):
        with pytest.raises(requests.exceptions.SSLError):  # without the CA
            hvac.Client(url=address).sys.read_seal_status()
    keys = [up.data_dir / "tls" / "key.pem", up.authority_directory / "ca-key.pem"]
    assert [path.stat().st_mode & 0o777 for path in keys] == [0o600, 0o600]


def test_it_stays_what_it_is(up: LocalStack, client: VaultClient) -> None:
    before, key = shown_by(up.endpoints().vault, ca_cert=own_ca(up)), secret_key(client)
    up.restart()
    up.unseal()
    assert shown_by(up.endpoints().vault, ca_cert=own_ca(up)) == before
    up.down()
    (up.data_dir / "stack.json").unlink()
    assert up.up().vault.startswith("https://")
    assert StackRecord.load(up.data_dir).tls
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


def test_renewals_under_a_client_that_reads(up: LocalStack, client: VaultClient) -> None:
    """After a renewal of the authority both are trusted until the next one."""
    serials = [shown_by(up.endpoints().vault, ca_cert=own_ca(up)).serial]
    with read_meanwhile(client, secret_key(client)) as seen:
        for ca in (False, True, False):
            done = up.renew_certificate(ca=ca)
            assert done.nodes == ("vault",)
            assert done.serial == shown_by(up.endpoints().proxy, ca_cert=own_ca(up)).serial
            serials.append(done.serial)
            assert len(in_file(own_ca(up))) == (2 if ca else 1)
            goes_on(seen)
    assert len(set(serials)) == 4
    (old,) = in_file(own_ca(up))
    Authority().save(up.authority_directory)  # an exchange that was ended before it signed
    up.renew_certificate()
    assert in_file(own_ca(up))[1] == old


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


def test_plain_http_becomes_tls_only_after_a_stop(stack: LocalStack) -> None:
    stack.up()
    stack.seed(BLUEPRINT)
    variables = service_environment(stack, "backend")
    assert "VAULT_CACERT" not in variables
    with closing(VaultClient(environ=variables)) as client:
        key = secret_key(client)
    with pytest.raises(StackError, match="runs in plain HTTP"):
        stack.up(tls=True)
    with pytest.raises(StackError, match="no certificate to renew"):
        stack.renew_certificate()
    assert stack.up().vault.startswith("http://")
    assert stack.status().ca_cert is None
    stack.down()
    stack.up(tls=True)
    with backend(stack) as client:
        assert secret_key(client) == key
