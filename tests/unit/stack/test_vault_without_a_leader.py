"""The server's log tells why an unsealed Vault does not serve."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vault_harness.local.stack.opening import Opening

COMPLETE = "[INFO]  core: post-unseal setup complete"
START = "[INFO]  core: post-unseal setup starting"
UNOPENED = '[ERROR] core: sanity check failed; unable to open "audit.log" for writing'
FAILED = '[ERROR] core: read-only post-unseal setup failed: error="failed to setup audit table"'
WHY = 'sanity check failed; unable to open "audit.log" for writing'


TWICE = [START, UNOPENED, FAILED] * 2


@pytest.mark.parametrize(
    ("log", "why"),
    [
        (TWICE, WHY),
        ([START, FAILED] * 2, FAILED.removeprefix("[ERROR] core: ")),
        ([*TWICE, START], WHY),
        ([*TWICE, START, COMPLETE], ""),
        ([START, UNOPENED, FAILED], ""),
        ([START, UNOPENED, FAILED, START, FAILED], ""),
        (["==> Vault server started!", "", START], ""),
    ],
    ids=["twice", "one error", "tries again", "leads", "once", "changes", "no trouble"],
)
def test_an_error_that_comes_again_is_the_cause(log: list[str], why: str, tmp_path: Path) -> None:
    """A later attempt that worked excuses it."""
    lines = [f"2026-12-01T14:59:30.{number}00Z {line}" for number, line in enumerate(log)]
    opening = Opening(tmp_path, lambda: lines)
    assert opening.why_none_leads(datetime(2026, 12, 1, 14, tzinfo=UTC)) == why
    assert opening.why_none_leads(datetime(2026, 12, 1, 15, tzinfo=UTC)) == ""
