"""A Vault that unseals itself opens without recovery keys, or the error says why not."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from vault_harness.errors import DeadlineExceeded, KeyringMissing, named
from vault_harness.local.stack.opening import Opening
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring

NO_KEYS = Keyring((), 0, "", kind="recovery")


@pytest.mark.parametrize(
    ("health", "error"),
    [
        ([503, 429, 429], KeyringMissing),
        ([429, 429, 429], DeadlineExceeded),  # open, and none leads
        ([0, 200, 429], DeadlineExceeded),
    ],
)
def test_keys_are_missed_where_a_node_is_sealed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, health: list[int], error: type[Exception]
) -> None:
    """A missing leader is no missing key."""

    def unseal_all(*_: object, **__: object) -> NoReturn:
        raise DeadlineExceeded("waited 30 s for all nodes to serve")

    monkeypatch.setattr(cluster, "unseal_all", unseal_all)
    monkeypatch.setattr(cluster, "health_of_all", lambda _: health)
    nodes: list[VaultAdmin] = []
    with pytest.raises(error):
        Opening(tmp_path)._unseal_all(nodes, NO_KEYS)


def test_keys_that_were_never_kept_are_no_reason_to_destroy(tmp_path: Path) -> None:
    """The remedy moves the data."""
    (tmp_path / "init.started").write_text("2026-01-01T00:00:00+00:00")
    error = Opening(tmp_path).keyring_missing()
    assert named("destroy") not in str(error)
    assert named("restore.keys") not in str(error)
    assert str(tmp_path / "vault" / "data") in error.remedy


def test_keys_that_were_kept_where_a_link_leads_are_named(tmp_path: Path) -> None:
    data, stick = tmp_path / "vault-data", tmp_path / "stick"
    data.mkdir()
    stick.mkdir()
    (data / "init.json").symlink_to(stick / "keys.json")
    kept = stick / "keys.json.20260101-000000"
    kept.write_text("{}")

    assert f"beside it: {kept}" in Opening(data).keyring_missing().looked_at


def test_keys_on_a_disk_that_is_away_are_fetched_by_mounting_it(tmp_path: Path) -> None:
    """The remedy comes before any backup."""
    (tmp_path / "init.json").symlink_to(tmp_path / "stick" / "keys.json")
    errors = [Opening(tmp_path).keyring_missing()]
    with pytest.raises(KeyringMissing) as caught:
        Opening(tmp_path).check_keys()
    errors.append(caught.value)
    with pytest.raises(KeyringMissing) as caught:
        Keyring.load(tmp_path / "init.json")
    errors.append(caught.value)
    for error in errors:
        assert str(tmp_path / "stick" / "keys.json") in str(error)
        assert error.remedy.startswith("mount the disk that has")
