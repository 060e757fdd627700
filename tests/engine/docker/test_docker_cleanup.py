import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from vault_harness.local.engine.docker.engine import DockerEngine
from vault_harness.local.engine.docker.labels import OwnerProcess, is_dead, sweep
from vault_harness.local.engine.docker_client import connected
from vault_harness.settings import Settings
from vault_harness.waiting import wait_until

pytestmark = pytest.mark.docker

Objects = dict[str, set[str]]

VICTIM = """
import sys
from pathlib import Path
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.local.engine.docker.engine import DockerEngine
from vault_harness.settings import Settings

directory = Path(sys.argv[1])
engine = DockerEngine(Settings(start_timeout=30), directory=directory / "engine")
engine.node(NodeSpec(name="vault", directory=directory / "vault")).start()
print(engine.run.name, engine._reaper.pid, flush=True)
sys.stdin.read()
"""


class Victim:
    """A process with a container, to be killed."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        name, reaper = self.process.stdout.readline().split()
        self.label = f"vault-harness.run={name}"
        self.reaper = psutil.Process(int(reaper))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=10)


@pytest.fixture
def victim(settings: Settings, tmp_path: Path) -> Iterator[Victim]:
    victim = Victim(tmp_path)
    yield victim
    victim.kill()


def count(objects: Objects) -> int:
    return sum(map(len, objects.values()))


def test_closing_leaves_nothing(
    settings: Settings, tmp_path: Path, objects_of: Callable[[str], Objects]
) -> None:
    engine = DockerEngine(settings, directory=tmp_path)
    engine.toxiproxy()
    label = f"vault-harness.run={engine.run.name}"
    assert count(objects_of(label)) == 2
    engine.close()
    engine.close()
    assert count(objects_of(label)) == 0


def test_after_kill_9_nothing_stays(victim: Victim, objects_of: Callable[[str], Objects]) -> None:
    """After `kill -9` the watcher of the run removes everything."""
    assert count(objects_of(victim.label)) == 2
    victim.kill()
    wait_until(lambda: count(objects_of(victim.label)) == 0, "a killed run to be gone", timeout=30)


def test_the_next_start_removes_leftover_containers(
    victim: Victim, objects_of: Callable[[str], Objects]
) -> None:
    """If the watcher is killed too, the next start finds the containers by their labels."""
    assert count(objects_of(victim.label)) == 2
    victim.reaper.kill()
    # It stays a zombie, since its parent has not read its exit code.
    wait_until(
        lambda: victim.reaper.status() == psutil.STATUS_ZOMBIE, "the watcher to end", timeout=10
    )
    victim.kill()
    with connected() as client:
        sweep(client)
    assert count(objects_of(victim.label)) == 0


def test_a_living_run_is_spared(victim: Victim, objects_of: Callable[[str], Objects]) -> None:
    with connected() as client:
        sweep(client)
    assert count(objects_of(victim.label)) == 2


def test_a_reused_pid_is_not_its_owner() -> None:
    mine = OwnerProcess().labels()
    assert not is_dead(mine)
    assert is_dead({**mine, "vault-harness.born": "1.00"})


def test_other_machines_runs_are_not_ours_to_judge() -> None:
    absent = {"vault-harness.pid": "999999999", "vault-harness.born": "1.00"}
    elsewhere = {"vault-harness.host": "another boot"}
    assert not is_dead({**OwnerProcess().labels(), **absent, **elsewhere})
    assert not is_dead({"vault-harness.pid": str(os.getpid())})
