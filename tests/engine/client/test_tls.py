from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

import pytest
import trustme

from resilient_vault_client import (
    RedirectRefused,
    TlsFailed,
    VaultError,
    VaultTimeout,
    VaultUnavailable,
)
from tests.engine.client.lab import Lab, until
from tests.engine.client.route import http


def server_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def secure(lab: Lab, ca: trustme.CA) -> ssl.SSLContext:
    context = server_context(ca)
    lab.route.secure(context)
    return context


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(file)
    return file


def environ(lab: Lab, ca_file: Path) -> dict[str, str]:
    lab.make_role()
    return lab.environ(VAULT_CACERT=str(ca_file))


def test_trusts_the_given_authority(lab: Lab, ca_file: Path) -> None:
    client = lab.client(environ(lab, ca_file))

    assert client.get_secret(lab.path, "KEY") == lab.value
    client.close()
    assert lab.tokens() == 0


@pytest.mark.parametrize("trusted", ["another", "none", "missing"])
def test_nothing_is_sent_to_an_untrusted_server(
    lab: Lab, ca_file: Path, tmp_path: Path, trusted: str
) -> None:
    given = environ(lab, ca_file)
    if trusted == "another":
        trustme.CA().cert_pem.write_to_path(ca_file)
    elif trusted == "none":
        del given["VAULT_CACERT"]
    else:
        given["VAULT_CACERT"] = str(tmp_path / "missing.pem")
    client = lab.client(given, timeout=1.0)
    with pytest.raises(TlsFailed, match=r"no secure connection|cannot read") as failed:
        client.get_secret(lab.path)

    assert not failed.value.sent
    assert lab.route.requests == []


def test_verification_can_be_switched_off(lab: Lab, ca_file: Path) -> None:
    given = environ(lab, ca_file)
    del given["VAULT_CACERT"]
    given["VAULT_SKIP_VERIFY"] = "true"

    assert lab.client(given).get_secret(lab.path, "KEY") == lab.value


def test_authority_that_is_rotated(lab: Lab, ca_file: Path) -> None:
    client = lab.client(environ(lab, ca_file), timeout=1.0)
    client.get_secret(lab.path)
    new = trustme.CA()
    lab.route.secure(server_context(new))
    lab.route.break_connections()
    assert client.read(lab.path, "KEY").stale
    fresh = ca_file.with_suffix(".new")
    new.cert_pem.write_to_path(fresh)
    fresh.replace(ca_file)

    until(lambda: client.read(lab.path, "KEY").source == "vault", "a fresh read", 6.0)
    assert lab.route.count("login") == 1


def test_client_certificate(
    lab: Lab, secure: ssl.SSLContext, ca: trustme.CA, ca_file: Path
) -> None:
    ca.configure_trust(secure)
    secure.verify_mode = ssl.CERT_REQUIRED
    given = environ(lab, ca_file)
    with pytest.raises(VaultError):
        lab.client(given, timeout=1.0).get_secret(lab.path)
    mine = ca.issue_cert("client.example.org")
    certificate, key = ca_file.with_name("cert.pem"), ca_file.with_name("key.pem")
    for number, blob in enumerate(mine.cert_chain_pems):
        blob.write_to_path(certificate, append=number > 0)
    mine.private_key_pem.write_to_path(key)
    given |= {"VAULT_CLIENT_CERT": str(certificate), "VAULT_CLIENT_KEY": str(key)}

    assert lab.client(given).get_secret(lab.path, "KEY") == lab.value


def test_dripping_answer_ends_in_time(lab: Lab, ca_file: Path) -> None:
    client = lab.client(environ(lab, ca_file), timeout=1.0)
    client.authenticate()
    started = time.monotonic()
    with lab.route.dripping(0.2), pytest.raises(VaultTimeout):
        client.get_secret(lab.path)

    assert time.monotonic() - started < 5.0  # all bytes would take minutes


def test_handshake_that_hangs_ends_in_time(lab: Lab, ca_file: Path) -> None:
    given = environ(lab, ca_file)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        given["VAULT_ADDR"] = f"https://127.0.0.1:{silent.getsockname()[1]}"
        client = lab.client(given, timeout=0.5)
        started = time.monotonic()
        with pytest.raises(VaultUnavailable):
            client.get_secret(lab.path)
        assert time.monotonic() - started < 5.0  # it would never end


def test_no_redirect_without_encryption(lab: Lab, ca_file: Path) -> None:
    plain = lab.stack.node.upstream
    given = environ(lab, ca_file) | {"VAULT_REDIRECT_HOSTS": plain}
    client = lab.client(given, timeout=0.5)
    client.authenticate()
    location = f"http://{plain}/v1/ecommerce/data/{lab.path}"
    with (
        lab.route.answering(http(307, "", Location=location)),
        pytest.raises(RedirectRefused, match="without encryption"),
    ):
        client.get_secret(lab.path)
