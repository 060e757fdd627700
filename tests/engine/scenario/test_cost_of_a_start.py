"""What is measured before a run, on a subject that does not do what it should."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from vault_harness.scenario import cost, open_environment
from vault_harness.settings import Settings
from vault_harness.subjects import parse_subject

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
    """Its author is to read soon, from the scenarios, why there is none; and it is not dear."""
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


def test_a_subject_that_nobody_waits_for(tmp_path: Path) -> None:
    """The reason is told in place of what it costs; the scenarios say the same."""
    program = tmp_path / "waits.py"
    program.write_text(REFUSES.replace('"ok": False', '"ok": True, "declares": {"deadline": 61}'))
    spec = parse_subject(f"command:{shlex.join([sys.executable, str(program)])}")
    with open_environment(Settings(engine="process"), spec, seed=1) as environment:
        found = cost.measure(environment)
    assert found == "its calls may take 61 s; configure it with at most 60 s"


def test_an_agent_of_other_secrets(tmp_path: Path) -> None:
    """It is started and not read from; that the scenarios' secret is not served, they say."""
    config = tmp_path / "agent.toml"
    config.write_text(OTHERS)
    spec = parse_subject(f"agent:{config}")
    with open_environment(Settings(engine="process"), spec, seed=1) as environment:
        found = cost.measure(environment)
    assert isinstance(found, cost.Cost)
    assert found.read is None
