from __future__ import annotations

import importlib.util
import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.engine.mounts import new_kv
from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault.kv import Kv

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@dataclass(frozen=True)
class Ended:
    killed: bool
    steps: list[str]
    error: str | None


RunKillable = Callable[..., Ended]


@pytest.fixture
def kv(shared: Stack) -> Kv:
    return new_kv(shared.operator, f"kv-{secrets.token_hex(4)}")


@pytest.fixture(scope="session")
def killable() -> Iterator[RunKillable]:
    """Runs a task of ``killable_tasks`` in its own process: ``killable("migrate", 3, ...)``."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "killable_tasks.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def run(task: str, kill_after: int | None = None, **arguments: Any) -> Ended:
        job = {"task": task, "kill_after": kill_after, "arguments": arguments}
        stdin.write(json.dumps(job) + "\n")
        stdin.flush()
        return Ended(**json.loads(stdout.readline()))

    yield run
    stdin.close()
    process.wait(timeout=20)
    stdout.close()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Any]:
    servers = _load("database_servers")
    if servers.find_program("initdb") is None or servers.find_program("postgres") is None:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    with servers.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def redis_password() -> str:
    return "redis-password-of-the-start"


@pytest.fixture
def redis_server(redis_password: str) -> Iterator[Any]:
    servers = _load("database_servers")
    if servers.find_program("redis-server") is None:
        pytest.skip("no Redis server here: apt-get install redis-server")
    with servers.redis(redis_password) as server:
        yield server


def _load(name: str) -> Any:
    """Load a module beside this file, since the tests' folders are no packages."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
