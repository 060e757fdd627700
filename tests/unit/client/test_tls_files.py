"""The files of TLS: what cannot be used is told, and nobody is asked for anything."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from resilient_vault_client import Config
from resilient_vault_client._tls import TlsFiles


@pytest.fixture
def encrypted(tmp_path: Path) -> Config:
    """Settings with a client's key that has a passphrase."""
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


def test_nobody_is_asked_for_a_passphrase(encrypted: Config) -> None:
    """OpenSSL would ask at the terminal, and the call would end when somebody answers."""
    with pytest.raises(ssl.SSLError, match="is encrypted, and there is nobody to ask"):
        TlsFiles(encrypted).context()
