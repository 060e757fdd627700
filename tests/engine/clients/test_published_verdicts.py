"""Real clients, made from their pins and judged again: their pages still tell the truth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vault_harness.clients import find, missing_tools, settled
from vault_harness.report import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("whole suite"),  # its verdicts depend on what else takes the cores
]

# Short, since what is broken is asked four times, and critical where one that is broken is short.
ASKED = {
    "hvac": ["KV-01", "SRV-01", "TOK-11", "POL-01", "TOK-21"],
    "go-vault-api": ["KV-01", "SRV-01", "TOK-11", "POL-01", "TOK-21"],
    "node-vault": ["KV-01", "SRV-01", "TOK-21", "POL-01", "KV-03"],
}


@pytest.mark.parametrize("name", ASKED)
def test_a_client_is_judged_as_published(name: str, tmp_path: Path) -> None:
    """It keeps and breaks what its score says, and the task `clients` says so."""
    client = find(name)
    if lacking := missing_tools(client):
        pytest.skip(f"{', '.join(lacking)} is not here")
    asked = [one for one in ASKED[name] if one not in client.flaky]
    only = [word for one in asked for word in ("--only", one)]
    done = subprocess.run(
        [sys.executable, "-m", "vault_harness", "clients", name, *only, "--report", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "as published, in all that was asked" in done.stdout
    # The task counts no verdict that says nothing of the client; here each has to say something.
    first, again = load(tmp_path / "journal.json"), load(tmp_path / "again" / "journal.json")
    published = client.score()
    assert published is not None
    expected = {one: published.scenarios[one].verdict for one in asked}
    assert set(expected.values()) == {"pass", "fail"}
    actual = settled(client, first, again).scenarios
    assert {one: judged.verdict for one, judged in actual.items()} == expected
