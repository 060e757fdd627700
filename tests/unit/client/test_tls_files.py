from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from resilient_vault_client import Config
from resilient_vault_client._network import TlsFiles


@pytest.fixture
def encrypted(tmp_path: Path) -> Config:
    """Settings with a client key that has a passphrase."""
    made = trustme.CA().issue_cert("client.example")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made.cert_chain_pems[0].write_to_path(certificate)
    clear = serialization.load_pem_private_key(made.private_key_pem.bytes(), None)
    key.write_bytes(
        clear.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    return Config(address="https://vault:8200", client_cert=certificate, client_key=key)


def test_openssl_does_not_prompt_for_a_passphrase(encrypted: Config) -> None:
    """The call would wait for a person."""
    with pytest.raises(ssl.SSLError, match="is encrypted, and there is nobody to ask"):
        TlsFiles(encrypted).context()


def issue(folder: Path, *names: str) -> None:
    """Put the named files of a new pair into the folder."""
    made = trustme.CA().issue_cert("client.example")
    blobs = {"cert.pem": made.cert_chain_pems[0], "key.pem": made.private_key_pem}
    for name in names:
        fresh = folder / f"{name}.new"
        blobs[name].write_to_path(fresh)
        fresh.replace(folder / name)


def test_the_last_pair_has_to_do_while_the_next_one_is_put_there(tmp_path: Path) -> None:
    issue(tmp_path, "cert.pem", "key.pem")
    files = TlsFiles(
        Config(
            address="https://vault:8200",
            client_cert=tmp_path / "cert.pem",
            client_key=tmp_path / "key.pem",
        )
    )
    before = files.context()
    issue(tmp_path, "key.pem")
    assert files.context() is before
    issue(tmp_path, "cert.pem", "key.pem")
    after = files.context()
    assert after is not before
    assert files.context() is after


def test_a_pair_that_never_matched_is_an_error(tmp_path: Path) -> None:
    """There is no earlier pair."""
    issue(tmp_path, "cert.pem", "key.pem")
    issue(tmp_path, "key.pem")
    config = Config(
        address="https://vault:8200",
        client_cert=tmp_path / "cert.pem",
        client_key=tmp_path / "key.pem",
    )
    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        TlsFiles(config).context()
