from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.walking import places
from vault_harness.certificates import Authority, client_context, shown_beside
from vault_harness.errors import SettingsError
from vault_harness.local.engine.external import external_trust
from vault_harness.settings import Settings


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two client certificates and keys, joined and separate, and a CA."""
    folder = tmp_path_factory.mktemp("issued")
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.certificate)
    for name in ("one", "another"):
        both = folder / f"{name}.pem"
        authority.issue_client(both, name)
        text = both.read_text()
        begin = text.index("-----BEGIN CERTIFICATE")
        key = text[:begin] if "PRIVATE KEY" in text[:begin] else text[text.rindex("-----BEGIN") :]
        (folder / f"{name}-key.pem").write_text(key)
        (folder / f"{name}-certificate.pem").write_text(text.replace(key, ""))
    return folder


def settings(issued: Path, *, cert: str = "", key: str = "", **more: object) -> Settings:
    given: dict[str, object] = {
        "engine": "external",
        "vault_addr": "https://vault.example:8200",
        "vault_cacert": issued / "ca.pem",
        "vault_client_cert": issued / cert if cert else None,
        "vault_client_key": issued / key if key else None,
    }
    return Settings(**(given | more))  # type: ignore[arg-type] # a test's own


@pytest.mark.parametrize(
    ("cert", "key"),
    [("one.pem", ""), ("one.pem", "one.pem"), ("one-certificate.pem", "one-key.pem")],
)
def test_certificate_and_key_are_beside_the_ca(
    issued: Path, tmp_path: Path, cert: str, key: str
) -> None:
    trusted = external_trust(settings(issued, cert=cert, key=key), tmp_path / "tls")

    assert trusted is not None
    assert trusted.read_bytes() == (issued / "ca.pem").read_bytes()
    own = shown_beside(trusted)
    assert own is not None
    assert own.stat().st_mode & 0o777 == 0o600
    assert own.parent.stat().st_mode & 0o777 == 0o700
    client_context(trusted).load_cert_chain(own)


def test_without_a_ca_certificate_the_systems_authorities_are_trusted(
    issued: Path, tmp_path: Path
) -> None:
    given = settings(issued, cert="one.pem", vault_cacert=None)
    trusted = external_trust(given, tmp_path / "tls")
    assert trusted is not None
    assert ssl.create_default_context(cafile=str(trusted)).get_ca_certs()


def test_nothing_is_shown_that_is_not_asked_for(issued: Path, tmp_path: Path) -> None:
    """The variables are not set, or it is plain HTTP."""
    ca_cert = issued / "ca.pem"
    assert external_trust(settings(issued), tmp_path / "tls") == ca_cert
    plain = settings(issued, cert="one.pem", vault_addr="http://vault.example:8200")
    assert external_trust(plain, tmp_path / "tls") == ca_cert
    assert not (tmp_path / "tls").exists()


@pytest.mark.parametrize(
    ("cert", "key", "says"),
    [
        ("", "one-key.pem", "VAULT_CLIENT_KEY is set, and VAULT_CLIENT_CERT is not"),
        ("nowhere.pem", "", "VAULT_CLIENT_CERT names a file that cannot be read"),
        ("one.pem", "nowhere.pem", "VAULT_CLIENT_KEY names a file that cannot be read"),
        ("one-certificate.pem", "", "are not both there"),
        ("one-certificate.pem", "another-key.pem", "the key is another certificate's"),
    ],
)
def test_what_cannot_be_shown(issued: Path, tmp_path: Path, cert: str, key: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        external_trust(settings(issued, cert=cert, key=key), tmp_path / "tls")
    assert says in str(caught.value)
    assert not [*tmp_path.glob("tls/*.pem")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "names a file that cannot be read"),
        (b"", "has no certificate in it"),
        (b"nothing of the kind", "has no certificate in it"),
        (
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            "has no certificate in it",
        ),
    ],
    ids=["not there", "empty", "a text", "damaged"],
)
@pytest.mark.parametrize("cert", ["", "one.pem"])
def test_an_unusable_ca_is_refused_before_any_request(
    issued: Path, tmp_path: Path, text: bytes | None, says: str, cert: str
) -> None:
    """Plain HTTP ignores it."""
    wrong = tmp_path / "ca.pem"
    if text is not None:
        wrong.write_bytes(text)
    with pytest.raises(SettingsError, match="VAULT_CACERT") as caught:
        external_trust(settings(issued, cert=cert, vault_cacert=wrong), tmp_path / "tls")
    assert says in str(caught.value)
    plain = settings(issued, vault_cacert=wrong, vault_addr="http://vault.example:8200")
    assert external_trust(plain, tmp_path / "tls") == wrong


def test_a_folder_is_no_file(issued: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="VAULT_CACERT names a file that cannot be read"):
        external_trust(settings(issued, vault_cacert=tmp_path), tmp_path / "tls")


def test_remarks_in_a_ca_file_may_have_any_encoding(issued: Path, tmp_path: Path) -> None:
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes("# Autorité\n".encode("latin-1") + (issued / "ca.pem").read_bytes())
    assert external_trust(settings(issued, vault_cacert=trusted), tmp_path / "tls") == trusted


def test_a_key_in_the_place_of_its_file_is_not_repeated(issued: Path, tmp_path: Path) -> None:
    key = (issued / "one-key.pem").read_text()
    wrong = settings(issued, cert="one.pem", vault_client_key=Path(key))
    with pytest.raises(SettingsError, match="VAULT_CLIENT_KEY names a file") as caught:
        external_trust(wrong, tmp_path / "tls")
    assert key.splitlines()[1] not in str(caught.value)


@pytest.mark.parametrize("word", ["hvs.not-a-file", "c29tZWtleQ=="])
def test_a_word_in_the_place_of_a_file_is_not_repeated(
    issued: Path, tmp_path: Path, word: str
) -> None:
    """Settings make it a path."""
    wrong = settings(issued, cert="one.pem", vault_client_key=Path.cwd() / word)
    with pytest.raises(SettingsError, match="VAULT_CLIENT_KEY names a file") as caught:
        external_trust(wrong, tmp_path / "tls")
    assert word not in str(caught.value)


@pytest.mark.parametrize("end", [b"", b"\xff"], ids=["without a certificate", "not text"])
def test_no_frame_and_no_cause_has_the_key(issued: Path, tmp_path: Path, end: bytes) -> None:
    key = (issued / "one-key.pem").read_text()
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(key.encode() + end)
    with pytest.raises(SettingsError) as caught:
        external_trust(settings(issued, vault_client_cert=wrong), tmp_path / "tls")
    assert places(caught.value, [key.splitlines()[1]], of=__file__) == []


def test_a_key_with_a_passphrase(issued: Path, tmp_path: Path) -> None:
    """A prompt would stop the run."""
    key = load_pem_private_key((issued / "one-key.pem").read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"of a test"))
    )
    given = settings(issued, cert="one-certificate.pem", vault_client_key=locked)
    with pytest.raises(SettingsError, match="has a passphrase"):
        external_trust(given, tmp_path / "tls")
