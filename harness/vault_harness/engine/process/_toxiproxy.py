"""Toxiproxy as a child process: the embedded server or the real one, which take the same flags."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Literal

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.engine._capabilities import no_network
from vault_harness.engine._ports import LOOPBACK, PortLease
from vault_harness.engine.process._server import Server
from vault_harness.programs import ToxiproxyProgram


class ProcessToxiproxy:
    """A Toxiproxy server; see `vault_harness.engine.ToxiproxyProcess`.

    Its directory holds ``toxiproxy.log`` and ``proxies.json``, the proxies to begin with.

    Args:
        program: How to start it.
        directory: Created 0700.
        seed: Makes toxicity, jitter and slices repeatable.
        port: Port of its API, 0 for a free one.
        detached: Whether it outlives this process.
    """

    def __init__(
        self,
        program: ToxiproxyProgram,
        *,
        directory: Path,
        seed: int | None = None,
        port: int = 0,
        detached: bool = False,
    ) -> None:
        self._program = program
        self._directory = files.private_directory(directory)
        self._detached = detached
        self._lease = PortLease(port)
        self._leases: list[PortLease] = []
        self._lock = threading.Lock()
        self.write_proxies("[]")
        command = [
            *program.command,
            *("-host", LOOPBACK, "-port", str(self._lease.port)),
            *("-config", str(self.configuration_path)),
        ]
        if seed is not None:
            command += ["-seed", str(seed)]
        self.server = Server(
            title=f"the {program.flavour} Toxiproxy server",
            command=command,
            log=self._directory / "toxiproxy.log",
            probe=f"{self.api}/version",
            environment=program.environment,
            detached=detached,
        )

    def __repr__(self) -> str:
        return f"<ProcessToxiproxy {self.flavour} {self.api} running={self.is_running()}>"

    @property
    def configuration_path(self) -> Path:
        """The proxies to begin with; its name on the command line marks the process as ours."""
        return self._directory / "proxies.json"

    def write_proxies(self, proxies: str) -> None:
        """Before the start: the proxies to begin with, as JSON."""
        files.write_private(self.configuration_path, proxies)

    @property
    def api(self) -> str:
        """Base URL of its HTTP API."""
        return base_url(self._lease.listen)

    @property
    def flavour(self) -> Literal["embedded", "real"]:
        """Which of the two servers it is."""
        return self._program.flavour

    def listen(self) -> str:
        """A free ``host:port`` that a new proxy may listen on; nobody else gets it meanwhile."""
        lease = PortLease()
        with self._lock:
            self._leases.append(lease)
        return lease.listen

    def reachable(self, listen: str) -> str:
        """The same: everything is on one loopback."""
        return listen

    def reachable_from_nodes(self, listen: str) -> str:
        """The same."""
        return listen

    def start(self, *, timeout: float) -> None:
        """Start it and wait until it answers."""
        self.server.start(timeout=timeout)

    def disconnect(self) -> None:
        """Never: raises `CapabilityMissing`."""
        raise no_network("Toxiproxy")

    def reconnect(self) -> None:
        """Nothing to undo."""

    def is_running(self) -> bool:
        """Whether it lives."""
        return self.server.is_running()

    def stop(self) -> None:
        """End it."""
        self.server.stop(timeout=5.0)

    def logs(self, *, tail: int | None = None) -> str:
        """What it printed."""
        return self.server.logs(tail=tail)

    def close(self) -> None:
        """End it unless it is detached, and give its ports back."""
        if not self._detached:
            self.server.kill()
        with self._lock:
            for lease in (self._lease, *self._leases):
                lease.release()
            self._leases.clear()
