"""Whatever of a stack's certificates was half written when a task was ended: the next goes on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from vault_harness.certificates import CA_KEY_NAME, CA_NAME, Authority, TlsFiles, is_good
from vault_harness.errors import SettingsError
from vault_harness.stack._certificates import HOSTS, Certificates
from vault_harness.stack._client_certificates import load_or_make


class Ended:
    """The servers of a stack that does not run."""

    def describe(self) -> list[Any]:
        """None runs."""
        return []


@pytest.fixture
def tls(tmp_path: Path) -> TlsFiles:
    """What a stack shows, as its first start with TLS leaves it."""
    Certificates(tmp_path).prepare(Ended(), wanted=True)  # type: ignore[arg-type]
    files = TlsFiles.within(tmp_path / "tls")
    assert is_good(files)
    return files


def another(tmp_path: Path, **options: Any) -> TlsFiles:
    """A certificate of the same authority."""
    authority = Authority.load(tmp_path / "authority")
    return authority.issue(tmp_path / "another", *HOSTS, **options)


def of_another_key(tmp_path: Path, files: TlsFiles) -> None:
    """Ended between the key and the certificate."""
    files.key.write_bytes(another(tmp_path).key.read_bytes())


def of_another_authority(tmp_path: Path, files: TlsFiles) -> None:
    """Ended between the certificate and whom clients trust: the authority is a new one."""
    trusted = files.ca.read_bytes()
    new = Authority()
    new.save(tmp_path / "authority")
    new.issue(files.ca.parent, *HOSTS)
    files.ca.write_bytes(trusted)


def without_its_key(tmp_path: Path, files: TlsFiles) -> None:
    """Somebody has removed it."""
    files.key.unlink()


def out_of_its_time(tmp_path: Path, files: TlsFiles) -> None:
    """The clock was ahead when it was made."""
    made = another(tmp_path, begins=timedelta(days=2))
    files.key.write_bytes(made.key.read_bytes())
    files.certificate.write_bytes(made.certificate.read_bytes())


@pytest.mark.parametrize(
    "left", [of_another_key, of_another_authority, without_its_key, out_of_its_time]
)
def test_no_server_could_be_reached_with_it(tmp_path: Path, tls: TlsFiles, left: Any) -> None:
    """Nor renewed, which wants servers that run: the next start makes it anew."""
    left(tmp_path, tls)
    assert not is_good(tls)

    Certificates(tmp_path).prepare(Ended(), wanted=False)  # type: ignore[arg-type]

    assert is_good(tls)


def test_what_is_good_stays(tmp_path: Path, tls: TlsFiles) -> None:
    """A start is no renewal."""
    before = tls.certificate.read_bytes()
    Certificates(tmp_path).prepare(Ended(), wanted=True)  # type: ignore[arg-type]
    assert tls.certificate.read_bytes() == before


def test_an_authority_that_was_never_finished(tmp_path: Path) -> None:
    """Its key was written, and nothing by it: no backup has the rest."""
    Authority().save(tmp_path)
    (tmp_path / CA_NAME).unlink()
    made = load_or_make(tmp_path)
    assert Authority.load(tmp_path).certificate == made.certificate


def test_an_authority_whose_key_is_lost(tmp_path: Path) -> None:
    """What it signed is trusted still: it is not replaced unasked."""
    Authority().save(tmp_path)
    (tmp_path / CA_KEY_NAME).unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        load_or_make(tmp_path)


def test_a_change_of_authorities_ended_between_its_two_files(tmp_path: Path) -> None:
    """What that key signs nobody takes: it is said before anything is signed, with a way on."""
    Authority().save(tmp_path)
    certificate = (tmp_path / CA_NAME).read_bytes()
    Authority().save(tmp_path)
    (tmp_path / CA_NAME).write_bytes(certificate)
    with pytest.raises(SettingsError, match="key is not that of its certificate") as caught:
        Authority.load(tmp_path)
    assert "tls.renew --ca" in caught.value.remedy
