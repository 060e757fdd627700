from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vault_harness.judge.clients import find, missing_tools, score_of_client
from vault_harness.judge.report import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("whole suite"),  # its verdicts depend on what else uses the cores
]

# Short scenarios, since a broken promise costs six runs, and critical ones if a short one fails.
ASKED = {
    "hvac": ["KV-01", "SRV-01", "TOK-11", "POL-01", "TOK-21"],
    "go-vault-api": ["KV-01", "SRV-01", "TOK-11", "POL-01", "TOK-21"],
    "node-vault": ["KV-01", "SRV-01", "TOK-21", "POL-01"],
}


@pytest.mark.parametrize("name", ASKED)
def test_a_client_is_judged_as_published(name: str, tmp_path: Path) -> None:
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
    # The task ignores verdicts that say nothing about the client. Here each verdict must say
    # something.
    published = client.score()
    assert published is not None
    expected = {one: published.scenarios[one].verdict for one in asked}
    assert set(expected.values()) == {"pass", "fail"}
    actual = score_of_client(client, load(tmp_path / "journal.json")).scenarios
    assert {one: judged.verdict for one, judged in actual.items()} == expected
