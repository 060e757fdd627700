"""The process engine: Vault and Toxiproxy as child processes on loopback."""

from __future__ import annotations

import contextlib
import shutil
import threading
from pathlib import Path

from vault_harness import files
from vault_harness.closable import Closable
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.cloud_seal import with_cloud_seal
from vault_harness.local.engine.ports import LOOPBACK
from vault_harness.local.engine.process.node import ProcessNode
from vault_harness.local.engine.process.toxiproxy import ProcessToxiproxy
from vault_harness.local.engine.shape import ON_PROCESSES, Capability, EngineName, NodeSpec
from vault_harness.local.programs import find_toxiproxy, find_vault
from vault_harness.settings import Settings


class ProcessEngine(Closable):
    """Runs servers as child processes that end with this one; see `Engine`."""

    def __init__(self, settings: Settings, *, directory: Path) -> None:
        """Find the programs."""
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
        """``process``."""
        return "process"

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All that processes allow."""
        return ON_PROCESSES

    @property
    def dialect(self) -> Dialect:
        """The product of its program."""
        return self.program.dialect

    def node(self, spec: NodeSpec) -> ProcessNode:
        """Return a node by that specification, not started yet."""
        spec = with_cloud_seal(spec, self.settings)
        node = ProcessNode(spec, self.program, start_timeout=self.settings.start_timeout)
        with self._lock:
            self._closers.callback(node.close)
        return node

    def toxiproxy(
        self, *, seed: int | None = None, port: int = 0, detached: bool = False
    ) -> ProcessToxiproxy:
        """Start a Toxiproxy server and wait until it answers."""
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
        """Return ``host:port`` of a port of this process."""
        return f"{LOOPBACK}:{port}"

    def bind_host(self) -> str:
        """Return the loopback address."""
        return LOOPBACK

    def close(self) -> None:
        """End everything that this engine started, except detached servers."""
        self._closers.close()

    def remove(self) -> None:
        """Close the engine and delete its directory."""
        self.close()
        shutil.rmtree(self._directory, ignore_errors=True)
