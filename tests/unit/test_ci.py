"""What CI runs for a change, according to `.ci/touched.py`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.in_ci import ROOT
from tests.running import ran

SCENARIO = """
import pytest

def _helper():
    return 1

@pytest.mark.scenario("AAA-01")
def test_one(lab):
    assert _helper()

@pytest.mark.scenario("AAA-02")
def test_two(lab):
    assert True
"""


def touched(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return ran(
        [sys.executable, ROOT / ".ci" / "touched.py", *words],
        cwd=folder,
        env={**os.environ, "CI_BASE": "start"},
    )


def _git(folder: Path, *words: str) -> None:
    author = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    subprocess.run(["git", *author, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "test_aaa.py").write_text(SCENARIO)
    (tmp_path / "scenarios" / "catalogue.toml").write_text("[AAA-01]\nttl = 8\n[AAA-02]\nttl = 8\n")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", "-A")
    _git(tmp_path, "commit", "-qm", "start")
    _git(tmp_path, "tag", "start")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "before", "after", "expected"),
    [
        ("test_aaa.py", "assert True", "assert 1", "AAA-02"),
        ("test_aaa.py", "return 1", "return 2", "AAA-01"),
        ("test_aaa.py", "import pytest\n", "import pytest, os\n", ""),
        ("catalogue.toml", "[AAA-02]\nttl = 8", "[AAA-02]\nttl = 9", "AAA-02"),
    ],
    ids=["its function", "its helper", "an import", "its entry"],
)
def test_scenarios_that_changed(
    repository: Path, file: str, before: str, after: str, expected: str
) -> None:
    """Its function, its helper and its entry touch it."""
    path = repository / "scenarios" / file
    path.write_text(path.read_text().replace(before, after))
    _git(repository, "commit", "-qam", "change")
    assert touched(repository, "scenarios").stdout.strip() == expected


def test_slow_tests_of_a_room_that_changed(repository: Path) -> None:
    room = repository / "harness" / "vault_harness" / "local" / "stack"
    room.mkdir(parents=True)
    (room / "new.py").touch()
    _git(repository, "add", "-A")
    _git(repository, "commit", "-qm", "change")
    assert touched(repository, "tests").stdout.split() == ["tests/engine/stack"]


def test_files_that_changed(repository: Path) -> None:
    """`files` ends with 0 if a matching file changed, otherwise with 1."""
    (repository / "dev").touch()
    _git(repository, "add", "-A")
    _git(repository, "commit", "-qm", "change")
    assert touched(repository, "files", "dev").returncode == 0
    assert touched(repository, "files", "compose/").returncode == 1


def test_every_slow_test_is_run_for_some_change() -> None:
    """Each folder with slow tests is named or has its own step."""
    text = (ROOT / ".ci" / "touched.py").read_text()
    named = [ROOT / path for path in re.findall(r'^    "(tests/\S+)":', text, re.MULTILINE)]
    own_step = [ROOT / "tests" / "engine" / "docker", ROOT / "tests" / "mutants"]
    assert all(path.exists() for path in named)
    slow = [
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if "mark.slow" in path.read_text()
        and not any(place in (path, *path.parents) for place in (*named, *own_step))
    ]
    assert slow == [Path(__file__)]


def test_rooms_that_run_slow_tests_exist() -> None:
    text = (ROOT / ".ci" / "touched.py").read_text()
    rooms = re.findall(r'f"\{PACKAGE\}/([\w/]+)"', text)
    package = ROOT / "harness" / "vault_harness"
    assert [room for room in rooms if not list(package.glob(f"{room}*"))] == []
