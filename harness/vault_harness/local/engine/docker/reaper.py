"""Remove a run's containers when its process has ended, as Ryuk does.

``python -m vault_harness.local.engine.docker.reaper PID BORN RUN`` survives Ctrl-C and ``kill -9``
of the run, waits for its end, and removes what has its label. If it is killed too, the next start
or ``invoke down`` removes the rest.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil

from vault_harness.local.engine.docker.labels import OwnerProcess

if TYPE_CHECKING:
    import docker

# Seconds. A container that the engine was creating when the run died may appear late.
_SETTLE = 5.0


class Reaper:
    """The watcher process of one run."""

    def __init__(self, run: OwnerProcess) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "vault_harness.local.engine.docker.reaper",
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
        return self._process.pid

    def dismiss(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=5)


def start_ryuk_if_present(client: docker.DockerClient) -> bool:
    """Let Ryuk watch this process too, if its image is present. Return whether it does.

    The image is not pulled: that fails without a registry. Ryuk is not switched off: other
    containers in this process may want it.
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
    from vault_harness.local.engine.docker.labels import remove_run
    from vault_harness.local.engine.docker_client import connected

    with connected() as client:
        deadline = time.monotonic() + _SETTLE
        while time.monotonic() < deadline:
            if remove_run(client, name):
                deadline = time.monotonic() + _SETTLE
            time.sleep(0.25)


def main(arguments: list[str]) -> int:
    pid, born, name = arguments
    _await_end(int(pid), float(born))
    _reap(name)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
