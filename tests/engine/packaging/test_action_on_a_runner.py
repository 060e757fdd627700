"""``action.yml`` as a runner reads it: act (github.com/nektos/act) runs it on this machine.

GitHub's own actions have stand-ins, since a runner without a network cannot load them: setup-python
names the local Python, and upload-artifact copies into a folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WORKFLOW = ROOT / ".github" / "workflows" / "scenarios.yml"

pytestmark = pytest.mark.slow

SETUP_PYTHON = """\
name: names the Python that is here
description: "no other version, and nothing put on PATH"
inputs:
  python-version: {description: any}
  update-environment: {description: any}
outputs:
  python-path:
    description: where it is
    value: ${{ steps.here.outputs.python }}
runs:
  using: composite
  steps:
    - id: here
      shell: bash
      run: echo "python=$(command -v python3)" >>"$GITHUB_OUTPUT"
"""

UPLOAD_ARTIFACT = """\
name: copies an artifact
description: into the folder of the test
inputs:
  name: {description: of the artifact}
  path: {description: of what is in it}
runs:
  using: composite
  steps:
    - shell: bash
      env:
        NAME: ${{ inputs.name }}
        FROM: ${{ inputs.path }}
      run: mkdir -p "$ARTIFACTS/$NAME" && cp -r "$FROM/." "$ARTIFACTS/$NAME"
"""

KNOWN_TO_FAIL = """\
on: push
jobs:
  action:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: ./
        with:
          subject: reference
          shard: 1/60
          known: {known}
          artifact: mine
"""


def program(name: str) -> str:
    """Return a program that reads GitHub's files, or skip and name it."""
    variable = f"{name.upper()}_BINARY"
    found = shutil.which(os.environ.get(variable) or name)
    if not found:
        pytest.skip(f"no {name} on PATH, nor where {variable} says")
    return found


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


def ran(workflow: Path, tmp_path: Path, artifacts: Path) -> subprocess.CompletedProcess[str]:
    words = [program("act"), "push", "-W", str(workflow), "-j", "action", "--no-cache-server"]
    words += ["-P", "ubuntu-latest=-self-hosted", "--action-cache-path", str(tmp_path / "cache")]
    words += ["--env", f"ARTIFACTS={artifacts}"]
    for action, text in (
        ("actions/setup-python@v5", SETUP_PYTHON),
        ("actions/upload-artifact@v4", UPLOAD_ARTIFACT),
    ):
        folder = tmp_path / action
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "action.yml").write_text(text)
        words += ["--local-repository", f"{action}={folder}"]
    ours = ("PYTEST_", "VAULT_", "BAO_", "HARNESS_", "PYTHONPATH")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        words,
        cwd=ROOT,
        env={**environ, "HOME": str(tmp_path), "PIP_COMPILE": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=540,
    )


def test_the_workflow_is_one() -> None:
    done = subprocess.run(
        [program("actionlint"), "-no-color", str(WORKFLOW)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.xdist_group("action")
def test_a_client_that_keeps_its_promises_passes_the_job(tmp_path: Path, artifacts: Path) -> None:
    done = ran(WORKFLOW, tmp_path, artifacts)
    assert done.returncode == 0, done.stdout[-6000:]
    folder = artifacts / "vault-harness-report-part-1-of-16"
    assert (folder / "index.html").is_file()
    journal = json.loads((folder / "journal.json").read_text())
    assert journal["complete"]
    words = {scenario["word"] for scenario in journal["scenarios"]}
    # A scenario that needs more than a runner has (PostgreSQL, say) is skipped.
    assert {"pass"} <= words <= {"pass", "not claimed", "skipped"}


@pytest.mark.xdist_group("action")
def test_a_failing_step_fails_the_job_unless_for_regressions_alone(
    tmp_path: Path, artifacts: Path
) -> None:
    """Every scenario is a known failure here, so each pass ends the step with 1.

    Compared with the run's own score nothing got worse.
    """
    catalogue = (ROOT / "scenarios" / "catalogue.toml").read_text()
    ids = [line[1:-1] for line in catalogue.splitlines() if line[:1] == "["]
    known = tmp_path / "known.toml"
    known.write_text("[known-failing]\n" + "".join(f'{each} = "not so"\n' for each in ids))
    workflow = tmp_path / "workflow.yml"
    workflow.write_text(KNOWN_TO_FAIL.format(known=known))
    done = ran(workflow, tmp_path, artifacts)
    assert done.returncode == 1, done.stdout[-6000:]
    kept = artifacts / "mine-part-1-of-60"
    assert (kept / "index.html").is_file(), done.stdout[-6000:]
    compared = f"          against: {kept / 'score.json'}\n          regressions: true\n"
    workflow.write_text(KNOWN_TO_FAIL.format(known=known) + compared)
    done = ran(workflow, tmp_path, artifacts)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "judge ended with 1; the comparison with" in done.stdout
