"""`subject new` writes a program that passes `subject check`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.running import ran
from vault_harness.judge.subjects import parse_subject
from vault_harness.judge.subjects.process import surroundings

TOOLS = {"python": (), "node": ("node", "npm"), "go": ("go",), "java": ("javac", "mvn")}


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell, without an activated environment."""
    environ = {**os.environ, "HARNESS_ENGINE": "process"}
    environ |= {"HARNESS_RUNNER": f"{sys.executable} -m vault_harness"}
    environ.pop("VIRTUAL_ENV", None)
    return ran(["/bin/sh", "-c", line], cwd=folder, env=environ, timeout=540)


def after(word: str, text: str) -> str:
    """Return the rest of the line that begins with a word."""
    return next(line for line in text.splitlines() if line.startswith(word))[len(word) :]


@pytest.mark.slow
@pytest.mark.parametrize("language", TOOLS)
def test_a_program_as_it_is_written(language: str, tmp_path: Path) -> None:
    """It has 40 lines, and the printed commands build and check it."""
    if lacking := [tool for tool in TOOLS[language] if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(lacking)} is not here")
    written = run(f"{sys.executable} -m vault_harness subject new {language}", tmp_path)
    [file] = tmp_path.iterdir()
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40
    assert sum("your own client" in line for line in lines) == 1
    if language != "python":  # hvac is installed already
        built = run(after("first: ", written.stdout), tmp_path)
        assert built.returncode == 0, built.stdout + built.stderr
    next_one = after("next: ", written.stdout)
    checked = run(next_one, tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "it keeps to its contract" in checked.stdout
    command = parse_subject(shlex.split(next_one)[-1].replace("./", f"{tmp_path}/")).command
    assert ends(command, tmp_path, by="the end of its input") == (0, [{"id": 1, "ok": False}])
    assert ends(command, tmp_path, by="SIGTERM") == (0, [{"id": 1, "ok": False}])


def ends(command: Sequence[str], folder: Path, *, by: str) -> tuple[int, list[dict[str, Any]]]:
    """Ask a program without a Vault; return its exit code and answers.

    Without the messages, which are each library's own.
    """
    environ = {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_MOUNT_POINT": "ecommerce"}
    environ |= {"VAULT_ROLE_ID": "role", "VAULT_SECRET_ID": "top-secret"}
    home = folder / "home"  # with the token of somebody else
    home.mkdir(exist_ok=True)
    (home / ".vault-token").write_text("a-foreign-token")
    environ |= {"VAULT_CLIENT_TIMEOUT": "2", "HOME": str(home)}
    program = subprocess.Popen(
        command,
        cwd=folder,
        env={**surroundings({}), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write('{"id": 1, "op": "read", "path": "a", "key": "b"}\n')
        program.stdin.flush()
        if by == "SIGTERM":
            said = [program.stdout.readline()]
            program.send_signal(signal.SIGTERM)
            code = program.wait(timeout=60)
        else:
            said = program.communicate(timeout=60)[0].splitlines()
            code = program.returncode
    assert "top-secret" not in "".join(said)
    answers = [json.loads(line) for line in said]
    return code, [{"id": one["id"], "ok": one["ok"]} for one in answers]
