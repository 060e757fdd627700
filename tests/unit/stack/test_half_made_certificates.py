"""The next start repairs certificates that an interrupted task left half written."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from vault_harness.certificates import CA_KEY_NAME, CA_NAME, Authority, TlsFiles, is_good
from vault_harness.errors import SettingsError
from vault_harness.local.stack.certificates import HOSTS, Certificates, load_or_make


class Ended:
    def describe(self) -> list[Any]:
        return []


@pytest.fixture
def tls(tmp_path: Path) -> TlsFiles:
    Certificates(tmp_path).prepare(Ended(), wanted=True)  # type: ignore[arg-type]
    files = TlsFiles.within(tmp_path / "tls")
    assert is_good(files)
    return files


def another(tmp_path: Path, **options: Any) -> TlsFiles:
    authority = Authority.load(tmp_path / "authority")
    return authority.issue(tmp_path / "another", *HOSTS, **options)


def of_another_key(tmp_path: Path, files: TlsFiles) -> None:
    """Stop between the key and the certificate."""
    files.key.write_bytes(another(tmp_path).key.read_bytes())


def of_another_authority(tmp_path: Path, files: TlsFiles) -> None:
    """Stop between the certificate and the CA file, with a new authority."""
    trusted = files.ca.read_bytes()
    new = Authority()
    new.save(tmp_path / "authority")
    new.issue(files.ca.parent, *HOSTS)
    files.ca.write_bytes(trusted)


def without_its_key(tmp_path: Path, files: TlsFiles) -> None:
    files.key.unlink()


def out_of_its_time(tmp_path: Path, files: TlsFiles) -> None:
    """Use a certificate from a clock that was ahead."""
    made = another(tmp_path, begins=timedelta(days=2))
    files.key.write_bytes(made.key.read_bytes())
    files.certificate.write_bytes(made.certificate.read_bytes())


@pytest.mark.parametrize(
    "left", [of_another_key, of_another_authority, without_its_key, out_of_its_time]
)
def test_no_server_could_be_reached_with_it(tmp_path: Path, tls: TlsFiles, left: Any) -> None:
    """It is replaced at the next start; renewing needs running servers."""
    left(tmp_path, tls)
    assert not is_good(tls)

    Certificates(tmp_path).prepare(Ended(), wanted=False)  # type: ignore[arg-type]

    assert is_good(tls)


def test_what_is_good_stays(tmp_path: Path, tls: TlsFiles) -> None:
    before = tls.certificate.read_bytes()
    Certificates(tmp_path).prepare(Ended(), wanted=True)  # type: ignore[arg-type]
    assert tls.certificate.read_bytes() == before


def test_an_authority_that_was_never_finished(tmp_path: Path) -> None:
    """Nothing was signed by it, so it is replaced."""
    Authority().save(tmp_path)
    (tmp_path / CA_NAME).unlink()
    made = load_or_make(tmp_path)
    assert Authority.load(tmp_path).certificate == made.certificate


def test_an_authority_whose_key_is_lost(tmp_path: Path) -> None:
    """It is not replaced unasked, since its certificates are trusted."""
    Authority().save(tmp_path)
    (tmp_path / CA_KEY_NAME).unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        load_or_make(tmp_path)


def test_a_change_of_authorities_ended_between_its_two_files(tmp_path: Path) -> None:
    Authority().save(tmp_path)
    certificate = (tmp_path / CA_NAME).read_bytes()
    Authority().save(tmp_path)
    (tmp_path / CA_NAME).write_bytes(certificate)
    with pytest.raises(SettingsError, match="key and certificate do not match") as caught:
        Authority.load(tmp_path)
    assert "tls.renew --ca" in caught.value.remedy
