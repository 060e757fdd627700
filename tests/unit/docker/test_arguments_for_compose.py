"""Compose acts on the stack's project only, whatever the shell's variables are."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from vault_harness.local.engine.docker.compose import Compose

DOCKER = """#!/bin/sh
[ "$2" = version ] || {python} -c '
import json, os, sys
print(json.dumps(dict(os.environ)))
'
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("docker")
def test_compose_variables_of_another_project_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {
        "COMPOSE_FILE": "theirs.yml",
        "COMPOSE_PROFILES": "debug",
        "COMPOSE_ENV_FILES": ".env.production",
        "COMPOSE_REMOVE_ORPHANS": "1",
        "COMPOSE_IGNORE_ORPHANS": "false",
    }
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DOCKER_CONTEXT", "theirs")

    told = json.loads(Compose("ours", {"VAULT_PORT": "1"}, [])("ps"))

    seen = {name: value for name, value in told.items() if name.startswith("COMPOSE_")}
    assert seen == {"COMPOSE_IGNORE_ORPHANS": "true", "COMPOSE_DISABLE_ENV_FILE": "true"}
    assert (told["VAULT_PORT"], told["DOCKER_CONTEXT"]) == ("1", "theirs")
