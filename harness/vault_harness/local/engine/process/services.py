"""The example services as detached processes, found again by their command lines."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.local.engine.ports import LOOPBACK, PortLease, listens, port_taken
from vault_harness.local.engine.process.finding import started_with
from vault_harness.local.engine.process.server import Server
from vault_harness.local.engine.process.spawn import DetachedProcess
from vault_harness.settings import PACKAGE_ROOT, resources

_CONFIGURATION = "service.json"
_STOP_SECONDS = 5.0


class ServiceProcesses:
    """The example services of one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / "services"

    def running(self) -> dict[str, list[DetachedProcess]]:
        paths = sorted(self._directory.glob(f"*/{_CONFIGURATION}"))
        here = {path.parent.name: path for path in paths}
        if not here:
            return {}
        found = started_with(*here.values())
        return {name: found[path] for name, path in here.items() if found[path]}

    def start(
        self, name: str, variables: Mapping[str, str], port: int, *, setting: str, held: ExitStack
    ) -> bool:
        """Start a service unless it runs with these variables. Does not wait for it.

        Returns whether a new one was started.

        Args:
            port: 0 means its last port, or any free one.
            setting: The variable of the port, for errors.
            held: Keeps a free port. Close it when the service listens there.
        """
        processes, known = self.running().get(name, []), self._known(name)
        last = int(known.get("PORT", 0))
        told = {**variables, "SERVICE": name, "HOST": LOOPBACK}
        if processes and known == {**told, "PORT": str(port or last)}:
            return False
        _end(processes)
        if port and listens(port):
            raise port_taken(port, setting=setting)
        if not port and last and not listens(last):
            port = last
        if not port:
            lease = PortLease()
            held.callback(lease.release)
            port = lease.port
        files.private_directory(self._directory / name)
        configuration = self._directory / name / _CONFIGURATION
        files.write_private(configuration, json.dumps({**told, "PORT": str(port)}))
        program = resources() / "services" / "service.py"
        roots = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        Server(
            title=name,
            command=(sys.executable, "-P", str(program), "-config", str(configuration)),
            log=self.log(name),
            probe=self.url(name),
            environment={"PYTHONPATH": os.pathsep.join(roots)},
            detached=True,
        ).spawn()
        return True

    def stop(self, names: Collection[str] | None = None) -> list[str]:
        """End these services, all by default, and return those that ran."""
        running = self.running()
        if names is not None:
            running = {name: found for name, found in running.items() if name in names}
        _end([process for processes in running.values() for process in processes])
        return list(running)

    def url(self, name: str) -> str:
        return base_url(f"{LOOPBACK}:{self._known(name)['PORT']}")

    def log(self, name: str) -> Path:
        return self._directory / name / "service.log"

    def _known(self, name: str) -> dict[str, Any]:
        content = files.tail(self._directory / name / _CONFIGURATION)
        return dict(json.loads(content)) if content else {}


def _end(processes: list[DetachedProcess]) -> None:
    for process in processes:  # all at once, since each revokes its token first
        process.signal(signal.SIGTERM)
        process.signal(signal.SIGCONT)
    deadline = time.monotonic() + _STOP_SECONDS
    for process in processes:
        if not process.wait(max(deadline - time.monotonic(), 0.0)):
            process.kill()
