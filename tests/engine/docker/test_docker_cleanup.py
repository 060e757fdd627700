"""Whatever ends a run, nothing of it stays."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from vault_harness.engine.docker._client import connected
from vault_harness.engine.docker._engine import DockerEngine
from vault_harness.engine.docker._labels import Run, is_dead, sweep
from vault_harness.settings import Settings
from vault_harness.waiting import wait_until

pytestmark = pytest.mark.docker

Objects = dict[str, set[str]]

VICTIM = """
import sys
from pathlib import Path
from vault_harness.engine import NodeSpec
from vault_harness.engine.docker._engine import DockerEngine
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
        """Kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=10)


@pytest.fixture
def victim(settings: Settings, tmp_path: Path) -> Iterator[Victim]:
    """One, with its container running."""
    victim = Victim(tmp_path)
    yield victim
    victim.kill()


def count(objects: Objects) -> int:
    """How many there are."""
    return sum(map(len, objects.values()))


def test_closing_leaves_nothing(
    settings: Settings, tmp_path: Path, objects_of: Callable[[str], Objects]
) -> None:
    """Containers and network are gone when the engine is closed, and closing twice is fine."""
    engine = DockerEngine(settings, directory=tmp_path)
    engine.toxiproxy()
    label = f"vault-harness.run={engine.run.name}"
    assert count(objects_of(label)) == 2
    engine.close()
    engine.close()
    assert count(objects_of(label)) == 0


def test_after_kill_9_nothing_stays(victim: Victim, objects_of: Callable[[str], Objects]) -> None:
    """Nobody has to call anything: the watcher of the run removes it."""
    assert count(objects_of(victim.label)) == 2
    victim.kill()
    wait_until(lambda: count(objects_of(victim.label)) == 0, "a killed run to be gone", timeout=30)


def test_what_even_the_watcher_missed_is_swept(
    victim: Victim, objects_of: Callable[[str], Objects]
) -> None:
    """With the watcher killed too, the next start removes it by its labels."""
    assert count(objects_of(victim.label)) == 2
    victim.reaper.kill()
    # Its parent has not asked for its exit code, so it stays as a zombie.
    wait_until(
        lambda: victim.reaper.status() == psutil.STATUS_ZOMBIE, "the watcher to end", timeout=10
    )
    victim.kill()
    with connected() as client:
        sweep(client)
    assert count(objects_of(victim.label)) == 0


def test_a_living_run_is_spared(victim: Victim, objects_of: Callable[[str], Objects]) -> None:
    """Side by side runs do not sweep each other."""
    with connected() as client:
        sweep(client)
    assert count(objects_of(victim.label)) == 2


def test_a_reused_pid_is_not_its_owner() -> None:
    """The same number with another birth is another process."""
    mine = Run().labels()
    assert not is_dead(mine)
    assert is_dead({**mine, "vault-harness.born": "1.00"})


def test_other_machines_runs_are_not_ours_to_judge() -> None:
    """A pid of another host says nothing here."""
    absent = {"vault-harness.pid": "999999999", "vault-harness.born": "1.00"}
    elsewhere = {"vault-harness.host": "another boot"}
    assert not is_dead({**Run().labels(), **absent, **elsewhere})
    assert not is_dead({"vault-harness.pid": str(os.getpid())})
