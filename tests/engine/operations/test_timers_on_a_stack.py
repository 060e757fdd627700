from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.operations.test_walking_the_guide import Shell
from tests.running import ran
from tests.unit.operations.test_timers_of_the_page import CRONTAB, PAGE, ROOT
from vault_harness.local.stack.local import LocalStack
from vault_harness.settings import Settings

pytestmark = pytest.mark.slow  # starts a server and runs each command of the page

JOBS = re.findall(r"^\d.* vault (cd .*)$", CRONTAB, re.MULTILINE)
VARIABLES = dict(re.findall(r"^([A-Z_]+)=(\S+)$", CRONTAB, re.MULTILINE))
BUSY, SEALED = 5, 6  # as the page says


class Machine:
    """A folder in place of `/srv/vault`, and the timers that start commands there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command with `sh` and the few variables of a timer."""
        here = {name: self.here(value) for name, value in VARIABLES.items()}
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.directory), **here, **more}
        return ran([environment["SHELL"], "-c", self.here(command)], cwd="/", env=environment)

    def here(self, text: str) -> str:
        return text.replace("/srv/vault", str(self.directory))

    def backups(self) -> int:
        return len([*self.directory.glob("vault-backups/*/snapshot.age")])


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A seeded stack with a key pair made as the page says."""
    shell = Shell(tmp_path)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    try:
        shell.invoke("up")
        shell.invoke("seed")
        machine = Machine(tmp_path)
        once, _ = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        done = machine.run(f"set -e\n{once}")
        assert done.returncode == 0, done.stderr
        yield machine
    finally:
        shell.close()


def test_cron_runs_its_lines(machine: Machine) -> None:
    """They print nothing that cron would mail."""
    ended = [machine.run(job) for job in JOBS]
    assert [(one.returncode, one.stdout, one.stderr) for one in ended] == [(0, "", "")] * 2
    assert machine.backups() == 2
    log = (machine.directory / "timers.log").read_text()
    assert "backend: destroyed the secret-id" in log
    assert "ecommerce/backend/database is at version 2" in log


def test_a_failure_is_mailed_and_has_its_code(machine: Machine) -> None:
    before = machine.directory.joinpath("vault-data", "backend-secret-id").read_text()
    stack = LocalStack(Settings(engine="process", data_dir=machine.directory / "vault-data"))
    stack.seal()
    ended = [machine.run(job) for job in JOBS]
    assert [one.returncode for one in ended] == [SEALED] * 2
    assert all("unseal" in one.stderr for one in ended)
    assert machine.backups() == 0
    assert machine.directory.joinpath("vault-data", "backend-secret-id").read_text() == before


def test_the_page_has_these_codes() -> None:
    codes = dict(re.findall(r"^\| (\d) \| (.*) \|", PAGE, re.MULTILINE))
    assert "unseal" in codes[str(SEALED)]
    assert f"| {BUSY} | another task" in PAGE


def test_a_stack_that_is_held_is_waited_for(machine: Machine) -> None:
    """It is waited for as long as the setting says; then the job ends without a change."""
    stack = LocalStack(Settings(engine="process", data_dir=machine.directory / "vault-data"))
    with stack.held():
        done = machine.run(JOBS[0], HARNESS_LOCK_TIMEOUT="0.2")
    assert done.returncode == BUSY, done.stderr
    assert "another task holds the stack" in done.stderr
    assert machine.backups() == 0
