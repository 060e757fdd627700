from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vault_harness.cli.audit import Chosen, _show
from vault_harness.cli.command import seconds_in
from vault_harness.operator.audit import AuditReport

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
    report = AuditReport(NOW, NOW, 1, {}, 0, ("idle",), ("reports",), (), {}, ())
    _show(report)
    told = capsys.readouterr().out
    assert told.index(look) < told.index(delete)
    assert "nobody;" not in told
    assert "never" not in told
    assert "a role of another auth method may have it" in told


@pytest.mark.parametrize("since", ["7d", "36h", "90s", "15m", "1.5s"])
def test_how_to_write_it_is_the_same_report(since: str) -> None:
    words = Chosen(since=seconds_in(since), file="a b.log").words()
    assert words == ["--since", since, "--file", "a b.log"]
    assert Chosen(node="vault-2").words() == ["--node", "vault-2"]


def test_a_time_before_all_times_leaves_nothing_out() -> None:
    assert Chosen(since=seconds_in("999999d")).filter().since is None
