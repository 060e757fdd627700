"""The timers in the documentation."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.running import ran
from tests.unit.cli.test_named_commands import what_is_wrong

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "how-to" / "timers.md").read_text(encoding="utf-8")
UNITS = dict(
    re.findall(r"^```ini\n# /etc/systemd/system/(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
)
(CRONTAB,) = re.findall(r"^```cron\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SYSTEMD = shutil.which("systemd-analyze")
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
PROGRAM = re.compile(r"\S*\.venv/bin/vault-harness ([^>&\n]+)")


def commands(text: str) -> list[str]:
    return [one.strip() for one in PROGRAM.findall(text)]


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """An unknown key would cause a warning."""
    program = tmp_path / ".venv" / "bin" / "vault-harness"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    files = [tmp_path / name for name in UNITS]
    for file in files:
        file.write_text(UNITS[file.name].replace("/srv/vault", str(tmp_path)))
    done = ran([str(SYSTEMD), "verify", "--man=no", *map(str, files)])
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "vault-" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("name", [name for name in UNITS if name.endswith(".timer")])
def test_a_timer_has_its_service(name: str) -> None:
    assert name.replace(".timer", ".service") in UNITS
    timer = configparser.ConfigParser()
    timer.read_string(UNITS[name])
    assert timer["Install"]["WantedBy"] == "timers.target"
    if SYSTEMD is not None:
        moment = timer["Timer"]["OnCalendar"]
        subprocess.run([SYSTEMD, "calendar", moment], capture_output=True, check=True)


def test_lines_of_cron() -> None:
    lines = [line for line in CRONTAB.splitlines() if not line.startswith("#")]
    settings = [line for line in lines if re.match(r"[A-Z_]+=\S+$", line)]
    jobs = [line.split(maxsplit=6) for line in lines[len(settings) :]]
    assert len(settings) >= 3
    assert len(jobs) == 2
    for *moment, user, command in jobs:
        for field, (least, most) in zip(moment, FIELDS, strict=True):
            assert field == "*" or least <= int(field) <= most
        assert user == "vault"
        assert "%" not in command, "cron takes it for the end of the line"


def test_both_run_the_same_tasks() -> None:
    units = [commands(UNITS[f"vault-{one}.service"]) for one in ("backup", "rotate")]
    jobs = [commands(line) for line in CRONTAB.splitlines() if " vault cd " in line]
    assert units == jobs
    tasks = [[shlex.split(one)[0] for one in each] for each in jobs]
    assert tasks == [["backup"], ["rotate.secret-id", "rotate.secrets", "backup"]]
    assert [wrong for each in jobs for one in each if (wrong := what_is_wrong(one))] == []
