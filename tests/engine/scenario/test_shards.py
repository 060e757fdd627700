"""A suite in two parts, each a run of its own, and what they come to together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.scenario.conftest import ROOT, Suite

ONLY = ("--vault-only", "KV-01,KV-03,KV-05,TOK-19")


@pytest.mark.slow  # two runs
def test_two_parts_are_one_run(tmp_path: Path) -> None:
    """Each scenario is run once; the whole fails for what one part found."""
    words: dict[str, str] = {}
    for part in ("1", "2"):
        folder = tmp_path / part
        folder.mkdir()
        run = Suite(folder).run(
            "Blurred", *ONLY, "--vault-shard", f"{part}/2", "--vault-workers", "2"
        )
        assert run.journal["complete"], run.out
        assert not set(words) & set(run.words)
        assert set(run.words) < {"KV-01", "KV-03", "KV-05", "TOK-19"}
        words |= run.words
    assert words == {"KV-01": "pass", "KV-03": "fail", "KV-05": "pass", "TOK-19": "pass"}
    done = subprocess.run(
        [sys.executable, "-m", "vault_harness", "report", "--join", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "harness")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    whole = json.loads((tmp_path / "report" / "journal.json").read_text())
    assert {one["id"]: one["word"] for one in whole["scenarios"]} == words
    assert "3 of 4 scenarios pass; fail: KV-03" in done.stdout
    assert not set(words) & set(whole["left_out"])
    assert (tmp_path / "report" / "index.html").is_file()
