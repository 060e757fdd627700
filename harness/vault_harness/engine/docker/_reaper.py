"""Removes the containers of a run when its process is gone: what Ryuk does, where there is no Ryuk.

Started beside a run as ``python -m vault_harness.engine.docker._reaper PID BORN RUN``. It survives
Ctrl-C and ``kill -9`` of the run, waits for the end of that very process, removes what bears the
run's label, and ends. Should it be killed too, the next start or ``invoke down`` finds the
leftovers by their labels.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil

from vault_harness.engine.docker._labels import Run

if TYPE_CHECKING:
    import docker

# Seconds: a container that the engine was still creating when the run died appears a moment later.
_SETTLE = 5.0


class Reaper:
    """The watcher of one run, a process of its own."""

    def __init__(self, run: Run) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "vault_harness.engine.docker._reaper",
                str(run.pid),
                f"{run.born:.2f}",
                run.name,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def dismiss(self) -> None:
        """End it: nothing is left to remove."""
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=5)


def start_ryuk_if_present(client: docker.DockerClient) -> bool:
    """Let Ryuk watch this process too, if its image is on the engine; returns whether it does.

    It is not pulled, which would fail where no registry is reachable, and not switched off: other
    people's containers in this process may want it.
    """
    from docker.errors import ImageNotFound
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import Reaper as Ryuk

    if testcontainers_config.ryuk_disabled:
        return False
    try:
        client.images.get(testcontainers_config.ryuk_image)
    except ImageNotFound:
        return False
    Ryuk.get_instance()
    return True


def _await_end(pid: int, born: float) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if abs(process.create_time() - born) <= 2.0:
            process.wait()


def _reap(name: str) -> None:
    from vault_harness.engine.docker._client import connected
    from vault_harness.engine.docker._labels import remove_run

    with connected() as client:
        deadline = time.monotonic() + _SETTLE
        while time.monotonic() < deadline:
            if remove_run(client, name):
                deadline = time.monotonic() + _SETTLE
            time.sleep(0.25)


def main(arguments: list[str]) -> int:
    """Watch and remove; the three arguments are the run's pid, its birth and its name."""
    pid, born, name = arguments
    _await_end(int(pid), float(born))
    _reap(name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
