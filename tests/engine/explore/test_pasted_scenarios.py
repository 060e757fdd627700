from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.running import ran
from vault_harness.judge.explore.points import Point
from vault_harness.judge.explore.schedule import Baseline, Schedule, Step
from vault_harness.judge.explore.telling import scenario

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
GIVES_UP = "python:tests.mutants.clients:GivesUpRenewing"
PROMISE = "the token is renewed, or replaced, before its end"

SCHEDULE = Schedule(
    (Step(Point("renew", "auth/token/renew-self", "renewal due", "first"), "500"),),
    promise=PROMISE,
    baseline=Baseline(rate=8, own=1, keeps=True),
)


@pytest.fixture
def pasted(tmp_path: Path) -> Path:
    """A folder with the scenario and its catalogue entry, as a reader would paste them."""
    text = scenario(SCHEDULE)
    head, _, code = text.partition("\nimport pytest\n")
    entry = [line.removeprefix("# ") for line in head.splitlines()[2:]]
    (tmp_path / "catalogue.toml").write_text("\n".join(entry) + "\n")
    (tmp_path / "test_pasted.py").write_text(f"import pytest\n{code}")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


@pytest.mark.parametrize(("subject", "code"), [(GIVES_UP, 1), ("reference", 0)])
def test_a_pasted_scenario_tells_clients_apart(subject: str, code: int, pasted: Path) -> None:
    """The client that was found fails by the promise that was told; the reference client passes."""
    done = ran(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "--vault-subject", subject],
        cwd=pasted,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HARNESS_ENGINE": "process"},
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "EXP-01" in said
    assert (PROMISE in said) == bool(code), said
