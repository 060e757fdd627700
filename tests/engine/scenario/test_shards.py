from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.engine.scenario.conftest import ROOT, Suite
from tests.running import ran
from vault_harness.judge.report.join import join, journals_in

ONLY = ("--vault-only", "KV-01,KV-03,KV-05,TOK-19")


@pytest.mark.slow  # two runs
def test_two_parts_are_one_run(tmp_path: Path) -> None:
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
    done = ran(
        [sys.executable, "-m", "vault_harness", "report", "--join", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "harness")},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    whole = json.loads((tmp_path / "report" / "journal.json").read_text())
    assert {one["id"]: one["word"] for one in whole["scenarios"]} == words
    assert "3 of 4 scenarios pass; 1 fail (KV-03)" in done.stdout
    assert not set(words) & set(whole["left_out"])
    assert (tmp_path / "report" / "index.html").is_file()


@pytest.mark.slow  # an empty run
def test_a_part_for_which_none_is_left(tmp_path: Path) -> None:
    """A third part of two scenarios is empty, complete, and makes a complete whole."""
    words = ("--vault-only", "KV-03,TOK-19", "--vault-shard", "3/3")
    run = Suite(tmp_path).run("Good", *words)
    assert run.code == 0, run.out
    assert "part 3/3 has no scenario" in run.out
    assert (run.journal["complete"], run.journal["scenarios"]) == (True, [])
    assert (run.journal["shard"], len(run.journal["left_out"]) > 100) == ("3/3", True)
    # With the two complete other parts, the whole is complete.
    for number, name in ((1, "KV-03"), (2, "TOK-19")):
        one = {"id": name, "promise": "p", "severity": "high", "word": "pass", "seconds": 1.0}
        part = {**run.journal, "shard": f"{number}/3", "scenarios": [one]}
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "journal.json").write_text(json.dumps(part))
    whole = join(journals_in([tmp_path / "1", tmp_path / "2", run.report]))
    assert (whole["complete"], len(whole["scenarios"])) == (True, 2)
