from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from vault_harness.judge import cost
from vault_harness.judge.environment import open_environment
from vault_harness.judge.subjects import parse_subject
from vault_harness.settings import Settings

REFUSES = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "ok": False}), flush=True)
"""

OTHERS = """
command = ["sleep", "60"]
[[rendered]]
path = "shop/own"
file = "own.json"
"""


def test_a_subject_without_a_good_read_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "FIRST_READ", 1.0)
    program = tmp_path / "refuses.py"
    program.write_text(REFUSES)
    spec = parse_subject(f"command:{shlex.join([sys.executable, str(program)])}")
    with open_environment(Settings(engine="process"), spec, seed=1) as environment:
        found = cost.measure(environment)
    assert isinstance(found, cost.Cost)
    assert found.read is None
    assert "no good read" in str(found)
    assert found.workers(12, cores=2) >= 6


def test_a_deadline_too_long_replaces_the_cost(tmp_path: Path) -> None:
    program = tmp_path / "waits.py"
    program.write_text(REFUSES.replace('"ok": False', '"ok": True, "declares": {"deadline": 61}'))
    spec = parse_subject(f"command:{shlex.join([sys.executable, str(program)])}")
    with open_environment(Settings(engine="process"), spec, seed=1) as environment:
        found = cost.measure(environment)
    assert found == "its calls may take 61 s; configure it with at most 60 s"


def test_an_agent_of_other_secrets(tmp_path: Path) -> None:
    """It is started and not read; the scenarios report the rest."""
    config = tmp_path / "agent.toml"
    config.write_text(OTHERS)
    spec = parse_subject(f"agent:{config}")
    with open_environment(Settings(engine="process"), spec, seed=1) as environment:
        found = cost.measure(environment)
    assert isinstance(found, cost.Cost)
    assert found.read is None
