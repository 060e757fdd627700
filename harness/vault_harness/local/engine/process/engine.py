"""The process engine: Vault and Toxiproxy as child processes on loopback."""

from __future__ import annotations

import contextlib
import shutil
import threading
from pathlib import Path
from typing import Literal

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.closable import Closable
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.ports import LOOPBACK, PortLease
from vault_harness.local.engine.process.node import ProcessNode
from vault_harness.local.engine.process.server import Server
from vault_harness.local.engine.seal import with_cloud_seal
from vault_harness.local.engine.shape import (
    ON_PROCESSES,
    Capability,
    EngineName,
    NodeSpec,
    no_network,
)
from vault_harness.local.programs import ToxiproxyProgram, find_toxiproxy, find_vault
from vault_harness.settings import Settings


class ProcessToxiproxy:
    """A Toxiproxy server; see `ToxiproxyProcess`.

    Args:
        seed: Makes toxicity, jitter and slices repeatable.
        port: Of its API; 0 for a free one.
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
        """The initial proxies. Its path on the command line identifies the process."""
        return self._directory / "proxies.json"

    def write_proxies(self, proxies: str) -> None:
        files.write_private(self.configuration_path, proxies)

    @property
    def api(self) -> str:
        return base_url(self._lease.listen)

    @property
    def flavour(self) -> Literal["embedded", "real"]:
        return self._program.flavour

    def listen(self) -> str:
        lease = PortLease()
        with self._lock:
            self._leases.append(lease)
        return lease.listen

    def reachable(self, listen: str) -> str:
        return listen

    def reachable_from_nodes(self, listen: str) -> str:
        return listen

    def start(self, *, timeout: float) -> None:
        self.server.start(timeout=timeout)

    def disconnect(self) -> None:
        raise no_network("Toxiproxy")

    def reconnect(self) -> None:
        """Do nothing."""

    def is_running(self) -> bool:
        return self.server.is_running()

    def stop(self) -> None:
        self.server.stop(timeout=5.0)

    def logs(self, *, tail: int | None = None) -> str:
        return self.server.logs(tail=tail)

    def close(self) -> None:
        if not self._detached:
            self.server.kill()
        with self._lock:
            for lease in (self._lease, *self._leases):
                lease.release()
            self._leases.clear()


class ProcessEngine(Closable):
    """Runs servers as child processes that end with this one; see `Engine`."""

    def __init__(self, settings: Settings, *, directory: Path) -> None:
        self.settings = settings
        self.program = find_vault(settings)
        program = self.program
        self.choice = f"process: {program.dialect.title} ({program.path.name} from {program.found})"
        self._directory = files.private_directory(directory)
        self._closers = contextlib.ExitStack()
        self._count = 0
        self._lock = threading.Lock()

    @property
    def name(self) -> EngineName:
        return "process"

    @property
    def capabilities(self) -> frozenset[Capability]:
        return ON_PROCESSES

    @property
    def dialect(self) -> Dialect:
        return self.program.dialect

    def node(self, spec: NodeSpec) -> ProcessNode:
        spec = with_cloud_seal(spec, self.settings)
        node = ProcessNode(spec, self.program, start_timeout=self.settings.start_timeout)
        with self._lock:
            self._closers.callback(node.close)
        return node

    def toxiproxy(
        self, *, seed: int | None = None, port: int = 0, detached: bool = False
    ) -> ProcessToxiproxy:
        with self._lock:
            self._count += 1
            directory = self._directory / f"toxiproxy-{self._count}"
        server = ProcessToxiproxy(
            find_toxiproxy(self.settings),
            directory=directory,
            seed=seed,
            port=port,
            detached=detached,
        )
        with self._lock:
            self._closers.callback(server.close)
        server.start(timeout=self.settings.start_timeout)
        return server

    def reachable_from_toxiproxy(self, port: int) -> str:
        return f"{LOOPBACK}:{port}"

    def bind_host(self) -> str:
        return LOOPBACK

    def close(self) -> None:
        """End what this engine started, except detached servers."""
        self._closers.close()

    def remove(self) -> None:
        self.close()
        shutil.rmtree(self._directory, ignore_errors=True)
