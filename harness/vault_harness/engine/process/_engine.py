"""The process engine: Vault and Toxiproxy as child processes on loopback."""

from __future__ import annotations

import contextlib
import shutil
import threading
from pathlib import Path

from vault_harness import files
from vault_harness.closable import Closable
from vault_harness.dialect import Dialect
from vault_harness.engine._capabilities import ON_PROCESSES
from vault_harness.engine._cloud_seal import with_cloud_seal
from vault_harness.engine._ports import LOOPBACK
from vault_harness.engine._shape import Capability, EngineName, NodeSpec
from vault_harness.engine.process._node import ProcessNode
from vault_harness.engine.process._toxiproxy import ProcessToxiproxy
from vault_harness.programs import find_toxiproxy, find_vault
from vault_harness.settings import Settings


class ProcessEngine(Closable):
    """Runs servers as child processes that die with this one; see `vault_harness.engine.Engine`."""

    def __init__(self, settings: Settings, *, directory: Path) -> None:
        """Find the programs.

        Raises:
            ProgramMissing: There is no ``vault`` and no ``bao``.
        """
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
        """Everything: they are our own children."""
        return ON_PROCESSES

    @property
    def dialect(self) -> Dialect:
        """Whose program it found."""
        return self.program.dialect

    def node(self, spec: NodeSpec) -> ProcessNode:
        """A node by that specification, not started yet."""
        spec = with_cloud_seal(spec, self.settings)
        node = ProcessNode(spec, self.program, start_timeout=self.settings.start_timeout)
        with self._lock:
            self._closers.callback(node.close)
        return node

    def toxiproxy(
        self, *, seed: int | None = None, port: int = 0, detached: bool = False
    ) -> ProcessToxiproxy:
        """A started Toxiproxy server that answers."""
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
        """``host:port`` of a listener of this process."""
        return f"{LOOPBACK}:{port}"

    def bind_host(self) -> str:
        """Loopback."""
        return LOOPBACK

    def close(self) -> None:
        """End everything that this engine started, detached servers excepted."""
        self._closers.close()

    def remove(self) -> None:
        """Close it and delete its directory."""
        self.close()
        shutil.rmtree(self._directory, ignore_errors=True)
