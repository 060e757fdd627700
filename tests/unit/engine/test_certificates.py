from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from vault_harness.certificates import CA_KEY_NAME, CA_NAME, Authority, end_of, shown_beside
from vault_harness.errors import SettingsError
from vault_harness.local.vault.admin import VaultAdmin


def issued(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_what_a_certificate_says(tmp_path: Path) -> None:
    files = Authority().issue(tmp_path, "127.0.0.1", "vault.test", life=timedelta(days=3))
    made = issued(files.certificate)
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["vault.test"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    left = made.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=2, hours=23) < left <= timedelta(days=3)


def test_certificates_out_of_their_time(tmp_path: Path) -> None:
    authority, now = Authority(), datetime.now(UTC)
    ended = issued(authority.issue(tmp_path / "1", "v", life=timedelta(hours=-2)).certificate)
    assert ended.not_valid_before_utc < ended.not_valid_after_utc < now
    coming = issued(authority.issue(tmp_path / "2", "v", begins=timedelta(days=1)).certificate)
    assert now < coming.not_valid_before_utc < coming.not_valid_after_utc


def test_private_keys_are_readable_only_by_their_owner(tmp_path: Path) -> None:
    authority = Authority()
    authority.save(tmp_path / "ca")
    files = authority.issue(tmp_path / "leaf", "127.0.0.1")
    for path in (tmp_path / "ca" / CA_KEY_NAME, files.key):
        assert path.stat().st_mode & 0o077 == 0


def test_an_authority_that_was_saved(tmp_path: Path) -> None:
    """Users of the saved one trust certificates of the loaded one."""
    first = Authority()
    first.save(tmp_path)
    again = Authority.load(tmp_path)
    assert again.certificate == first.certificate == (tmp_path / CA_NAME).read_bytes()
    files = again.issue(tmp_path / "leaf", "127.0.0.1")
    issued(files.certificate).verify_directly_issued_by(issued(tmp_path / CA_NAME))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key)


def test_what_a_client_shows(tmp_path: Path) -> None:
    file = tmp_path / "backend.pem"
    Authority().issue_client(file, "backend", life=timedelta(days=3))
    made = issued(file)
    (name,) = made.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == "backend"
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["client.invalid"]
    assert end_of(file) == made.not_valid_after_utc
    assert file.stat().st_mode & 0o077 == 0
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(file)


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nx\n"])
def test_what_is_no_certificate_has_no_end(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "own.pem"
    if content is not None:
        file.write_text(content)
    assert end_of(file) is None


def test_the_operators_certificate_is_beside_the_ca(tmp_path: Path) -> None:
    """Without it none is presented."""
    files = Authority().issue(tmp_path, "127.0.0.1")
    assert shown_beside(files.ca) is None
    assert shown_beside(None) is None
    Authority().issue_client(tmp_path / "operator.pem", "operator")
    assert shown_beside(files.ca) == tmp_path / "operator.pem"
    assert VaultAdmin("https://127.0.0.1:1", None, files.ca).client.adapter._kwargs["cert"] == str(
        tmp_path / "operator.pem"
    )


@pytest.mark.parametrize("lost", [CA_NAME, CA_KEY_NAME])
def test_half_an_authority(tmp_path: Path, lost: str) -> None:
    Authority().save(tmp_path)
    (tmp_path / lost).write_text("nothing")
    with pytest.raises(SettingsError, match="cannot be read") as caught:
        Authority.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "backup" in str(caught.value)
