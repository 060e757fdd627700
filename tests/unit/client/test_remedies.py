from __future__ import annotations

import errno
import os
import socket
import ssl
from pathlib import Path

import h11
import httpcore
import pytest

from resilient_vault_client import SecretNotFound, VaultClient
from resilient_vault_client._errors import from_outside
from resilient_vault_client._translate import from_answer, from_exception
from resilient_vault_client._transport import Api

ADDRESS = "https://vault:8200"


def refused(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def untrusted(code: int) -> ssl.SSLError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


def broken(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "handshake failed")
    error.reason = reason
    return error


def told(cause: BaseException, authorities: Path | None = None) -> str:
    error = httpcore.ConnectError()
    error.__cause__ = cause
    return str(from_exception(error, ADDRESS, authorities))


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        (
            refused(errno.ECONNREFUSED),
            "refused; does Vault run there, and is VAULT_ADDR right?",
        ),
        (refused(errno.EHOSTUNREACH), "is VAULT_ADDR right, and does a firewall"),
        (TimeoutError(), "not in time; is VAULT_ADDR right, and does a firewall"),
        (socket.gaierror(-2, "x"), "does not resolve; is the host in VAULT_ADDR right"),
        (untrusted(20), "the system's authorities were looked at: set VAULT_CACERT"),
        (untrusted(62), "VAULT_ADDR must have a name that is in Vault's certificate"),
        (untrusted(10), "or the clock of this machine is wrong"),
        (broken("WRONG_VERSION_NUMBER"), "VAULT_ADDR begins with http://"),
        (broken("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "set VAULT_CLIENT_CERT"),
        (broken("TLSV1_ALERT_UNKNOWN_CA"), "does not trust what is in VAULT_CLIENT_CERT"),
    ],
)
def test_a_failed_connection_names_the_address_and_variable(
    cause: BaseException, remedy: str
) -> None:
    text = told(cause)

    assert ADDRESS in text
    assert remedy in text


def test_too_many_open_files_is_no_trouble_of_vault() -> None:
    """The error does not point to VAULT_ADDR."""
    assert told(refused(errno.EMFILE)).endswith("Too many open files")


def test_which_authorities_were_looked_at(tmp_path: Path) -> None:
    """The files of a directory need the names that `openssl rehash` gives."""
    file = tmp_path / "ca.pem"

    assert f"in VAULT_CACERT were looked at, {file}:" in told(untrusted(20), file)
    assert "rehash" not in told(untrusted(20), file)
    assert "`openssl rehash`" in told(untrusted(20), tmp_path)


def test_one_side_speaks_tls_and_the_other_does_not() -> None:
    """It is recognised from Go's text, or from bytes that are not HTTP."""
    said = b"Client sent an HTTP request to an HTTPS server.\n"
    error = httpcore.RemoteProtocolError()
    error.__cause__ = h11.RemoteProtocolError("illegal status line")

    assert "begin with https://" in str(from_answer(400, said, {}, address="http://v"))
    assert "begin with https://" in str(from_exception(error, "http://v"))


def test_a_mount_that_is_not_there() -> None:
    body = b'{"errors":["no handler for route \\"kv/data/a\\". route entry not found."]}'
    text = str(from_answer(404, body, {}, address=ADDRESS))

    assert 'no handler for route "kv/data/a"' in text
    for name in ("VAULT_MOUNT_POINT", "VAULT_AUTH_MOUNT", "VAULT_NAMESPACE"):
        assert name in text


@pytest.mark.parametrize(
    ("version", "said"), [(None, "no kv/a/b:"), (7, "no version 7 of kv/a/b:")]
)
def test_a_secret_that_is_not_there(
    version: int | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a mount of version 1 no path has an answer."""

    def missing(*_: object, **__: object) -> None:
        raise SecretNotFound("there is no such secret", status=404)

    login = {"auth": {"client_token": "t", "lease_duration": 600}}
    monkeypatch.setattr(Api, "log_in", lambda *_: login)
    monkeypatch.setattr(Api, "revoke", lambda *_: None)
    monkeypatch.setattr(Api, "read_secret", missing)
    environ = {"VAULT_ADDR": ADDRESS, "VAULT_ROLE_ID": "r", "VAULT_SECRET_ID": "s"}
    with (
        VaultClient(environ=environ, renew=False, mount_point="kv") as client,
        pytest.raises(SecretNotFound, match=said) as failed,
    ):
        client.read("a/b", version=version)

    assert (failed.value.path, failed.value.status) == ("a/b", 404)
    assert from_outside(failed.value).__cause__ is None
