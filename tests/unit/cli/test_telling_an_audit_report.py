"""What the summary of an audit log tells a person."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vault_harness.cli._audit import _show
from vault_harness.vault.audit import AuditReport

NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    ("look", "delete"),
    [
        ("vault -- policy read reports", "vault -- policy delete reports"),
        ("vault -- read auth/approle/role/idle", "vault -- delete auth/approle/role/idle"),
    ],
    ids=["policy", "role"],
)
def test_it_says_how_to_look_before_how_to_delete(
    look: str, delete: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log knows of its own time and of AppRoles alone, and says no more than that."""
    report = AuditReport(NOW, NOW, 1, {}, 0, ("idle",), ("reports",), (), {}, ())
    _show(report)
    told = capsys.readouterr().out
    assert told.index(look) < told.index(delete)
    assert "nobody;" not in told
    assert "never" not in told
    assert "a role of another auth method may have it" in told
