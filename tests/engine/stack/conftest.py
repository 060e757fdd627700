from __future__ import annotations

import contextlib
import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.engine.stack.seals import Killed, deaths
from vault_harness.errors import PortTaken
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.ports import PortLease
from vault_harness.local.stack.local import LocalStack
from vault_harness.settings import Settings


def servers(stack: LocalStack) -> list[psutil.Process]:
    """Return every process with the stack's folder on its command line."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(stack.data_dir) in part for part in process.info["cmdline"] or [])
    ]


def kill_servers(stack: LocalStack) -> None:
    """Kill them, since a clean stop takes seconds."""
    for process in servers(stack):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def own_ports() -> Iterator[PortLease]:
    """Yield free ports that only this worker uses, below those that the system gives out.

    Nodes of another test's stack go back to their old ports when they start again. While they are
    down, the system would give such a port to this test.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 10_000 + 1_000 * (worker % 20)
    for port in random.sample(range(first, first + 1_000), 1_000):
        with contextlib.suppress(PortTaken):
            yield PortLease(port)


@contextlib.contextmanager
def made_in(folder: Path) -> Iterator[LocalStack]:
    """Yield a stack that is not up, with its settings in the environment."""
    leases = list(itertools.islice(own_ports(), 3))
    with pytest.MonkeyPatch.context() as patch:
        for name, lease in zip(("VAULT_PORT", "PROXY_PORT", "TOXIPROXY_PORT"), leases, strict=True):
            patch.setenv(f"HARNESS_{name}", str(lease.port))
        patch.setenv("HARNESS_ENGINE", "process")
        patch.setenv("HARNESS_DATA_DIR", str(folder / "data"))
        patch.setenv("HARNESS_START_TIMEOUT", "60")
        stack = LocalStack(Settings.from_environment())
        yield stack
        kill_servers(stack)
        stack.provider().stop()
        for lease in leases:
            lease.release()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    with made_in(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A seeded stack that the tests of a file share; `heal` undoes what they do to it."""
    with made_in(tmp_path_factory.mktemp("shared")) as made:
        made.up()
        made.seed(Blueprint.default())
        yield made


@pytest.fixture
def killed(stack: LocalStack) -> Iterator[Killed]:
    with deaths() as killed:
        yield killed
