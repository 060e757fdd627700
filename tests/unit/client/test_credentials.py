from __future__ import annotations

from pathlib import Path

import pytest

from resilient_vault_client import Config, CredentialsMissing
from resilient_vault_client._credentials import Credentials, CredentialSource, told

UUID = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
OTHER = "6fa459ea-ee8a-3ca4-894e-db77e160355e"


def source(file: Path, environ: dict[str, str] | None = None) -> CredentialSource:
    return CredentialSource(Config(role_id="role", secret_id_file=file), environ or {})


def test_arguments_before_files_before_variables(tmp_path: Path) -> None:
    file = tmp_path / "id"
    file.write_text("from-file")
    environ = {"VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": "from-environ"}
    given = CredentialSource(Config(secret_id="given", secret_id_file=file), environ)
    by_file = CredentialSource(Config(secret_id_file=file), environ)
    by_environ = CredentialSource(Config(), environ)

    found = [one.load().secret_id for one in (given, by_file, by_environ)]
    assert found == ["given", "from-file", "from-environ"]


def test_whitespace_around_an_id(tmp_path: Path) -> None:
    file = tmp_path / "id"
    file.write_text(f"  {UUID}\r\n")

    assert source(file).load().secret_id == UUID


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n",
        UUID[:9].encode(),
        UUID[:35].encode(),
        b"two words",
        b"\xff\xfe\x00",
        b"x" * 5000,
    ],
)
def test_unfinished_file_keeps_the_last_good_id(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "id"
    file.write_text(UUID)
    ids = source(file)
    ids.load()
    file.write_bytes(content)

    assert ids.load().secret_id == UUID
    file.write_text(OTHER)
    assert ids.load().secret_id == OTHER
    file.unlink()
    assert ids.load().secret_id == OTHER


def test_short_beginning_counts_only_after_a_whole_one(tmp_path: Path) -> None:
    """A short id is accepted, unless the last good id was a whole UUID."""
    file = tmp_path / "id"
    file.write_text("abc")
    ids = source(file)
    assert ids.load().secret_id == "abc"
    file.write_text(UUID)
    assert ids.load().secret_id == UUID
    file.write_text(UUID[:4])
    assert ids.load().secret_id == UUID


@pytest.mark.parametrize("content", [None, "", UUID[:20]])
def test_nothing_to_begin_with(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "id"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CredentialsMissing, match=r"VAULT_SECRET_ID_FILE is .*id"):
        source(file).load()


def test_an_id_in_the_place_of_its_file_is_not_repeated() -> None:
    for given in (UUID, "x" * 5000):
        with pytest.raises(CredentialsMissing, match="VAULT_SECRET_ID_FILE is a word") as missing:
            source(Path(given)).load()
        assert given not in str(missing.value)


def test_a_folder_that_is_not_there_is_named() -> None:
    """The folder of a secret may not be mounted."""
    with pytest.raises(CredentialsMissing, match="/nowhere/at/all"):
        source(Path("/nowhere/at/all")).load()


def test_the_fingerprint_differs_for_another_id() -> None:
    """It contains neither id."""
    one, two = Credentials("role", UUID), Credentials("role", OTHER)

    assert one.fingerprint != two.fingerprint
    assert one.fingerprint == Credentials("role", UUID).fingerprint
    assert UUID not in repr(one) + one.fingerprint


def test_an_unreadable_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", closed)
    assert told(Path("/run/secrets/secret-id")) == "/run/secrets/secret-id"
