from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.in_ci import ROOT, gitlab, step

pytestmark = pytest.mark.slow

ASKED = ("KV-03", "POL-03")
OURS = ("PYTEST_", "VAULT_", "BAO_", "HARNESS_", "PYTHONPATH")


def shell(script: str, place: Path, **environ: str) -> str:
    given = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    given["HARNESS_ENGINE"] = "process"
    # The snippets cannot choose scenarios, since a team wants all of them.
    given["PYTEST_ADDOPTS"] = " ".join(f"--vault-only {name}" for name in ASKED)
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=place,
        env={**given, "PIP_COMPILE": "0", **environ},  # most is never imported
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def client(place: Path, python: str) -> None:
    program = place / "my-client"
    program.write_text(f'#!/bin/sh\nexec "{python}" -m vault_harness.judge.subjects reference\n')
    program.chmod(0o755)


@pytest.mark.long
def test_the_steps_of_the_action(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    given = {
        "HERE": str(ROOT),
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_STEP_SUMMARY": str(page),
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        **dict.fromkeys(("DECLARE", "KNOWN", "SHARD", "STRICT", "ARTIFACT"), ""),
        "SUBJECT": "command:./my-client",
        "AGAINST": "score.json",
        "REGRESSIONS": "false",
    }
    place = tmp_path / "work"
    place.mkdir()
    given["PYTHON"] = sys.executable  # what actions/setup-python reports
    shell(step("Install the suite"), place, **given)
    client(place, str(tmp_path / "vault-harness" / "bin" / "python"))
    first = given | {"AGAINST": ""}  # no score is committed yet
    said = shell(step("Judge the client"), place, **first)
    assert f"{len(ASKED)} of {len(ASKED)} scenarios pass" in said
    shutil.copy(place / "report" / "score.json", place / "score.json")
    shell(step("What changed, in the job's page"), place, **given, JUDGED="0")  # as that step ended
    told = page.read_text()
    assert "No verdict changed." in told
    assert (tmp_path / "outputs").read_text().endswith("\ncode=0\ngrade=none\n")
    assert all(f"| {name} | pass |" in told for name in ASKED)


@pytest.mark.long
def test_the_lines_for_gitlab(tmp_path: Path) -> None:
    python = tmp_path / "image" / "bin" / "python"  # the image's Python, without packages
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "image"], check=True)
    place = tmp_path / "work"
    place.mkdir()
    (place / "vault-harness").symlink_to(ROOT)
    client(place, str(python))
    path = f"{python.parent}:{os.environ['PATH']}"
    said = shell(gitlab("script"), place, PATH=path)
    assert f"{len(ASKED)} of {len(ASKED)} scenarios pass" in said
    assert (place / "report" / "junit.xml").is_file()
    shell(gitlab("after_script"), place, PATH=path)  # before a score is committed
    shutil.copy(place / "report" / "score.json", place / "score.json")
    shell(gitlab("after_script"), place, PATH=path)
    assert "No verdict changed." in (place / "report" / "change.md").read_text()
