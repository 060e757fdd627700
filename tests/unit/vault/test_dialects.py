from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.local import dialect


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OpenBao v2.7.2, built 2026-10-26\n", dialect.OPENBAO),
        ("Vault v1.20.0 (6fdd6b5), built 2025-06-23\n", dialect.VAULT),
        ("Vaultwarden 1\n", None),
        ("", None),
    ],
)
def test_by_what_the_binary_prints(text: str, expected: dialect.Dialect | None) -> None:
    assert dialect.of_version_output(text) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"version": "2.7.2", "commit_date": "2026-10-26T20:32:27Z"}, dialect.OPENBAO),
        ({"version": "2.1.0", "build_date": "2024-11-29T15:34:50Z"}, dialect.OPENBAO),
        ({"version": "1.15.6", "build_date": "2024-02-28T17:07:34Z"}, dialect.VAULT),
        ({"version": "1.20.0", "removed_from_cluster": False}, dialect.VAULT),
        ({"version": "2.0.0", "removed_from_cluster": False}, dialect.VAULT),
    ],
)
def test_by_the_seal_status(status: dict[str, object], expected: dialect.Dialect) -> None:
    """Every server gives it in every state."""
    assert dialect.of_seal_status(status) is expected


def test_audit_devices() -> None:
    """OpenBao declares them in its file, HashiCorp Vault creates them over the API."""
    path = Path("/log")

    assert dialect.VAULT.audit_configuration(path, raw=False) == {}
    declared = {"type": "file", "path": "file", "options": {"file_path": "/log", "log_raw": "true"}}
    assert dialect.OPENBAO.audit_configuration(path, raw=True) == {"audit": [declared]}


def test_memory_locking() -> None:
    """HashiCorp Vault must be told not to lock memory; OpenBao does not know the setting."""
    assert dialect.VAULT.base_configuration() == {"disable_mlock": True}
    assert dialect.OPENBAO.base_configuration() == {}
