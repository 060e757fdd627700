"""HAProxy in front of a cluster."""

from __future__ import annotations

from pathlib import Path

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.local.engine.balancing import Backends, balancer_configuration
from vault_harness.local.engine.ports import LOOPBACK, PortLease
from vault_harness.local.engine.process.server import Server

CONFIGURATION_NAME = "haproxy.cfg"
_ALIVE = "/alive"


class ProcessBalancer:
    """An HAProxy that outlives this process.

    The path of ``haproxy.cfg`` on its command line identifies it.

    Args:
        port: For clients; 0 for a free one.
        instead_of: Pid of a running HAProxy to replace. It ends with its connections after at most
            5 s. The port stays open throughout.
    """

    def __init__(
        self,
        program: Path,
        *,
        directory: Path,
        port: int,
        backends: Backends,
        instead_of: int | None = None,
    ) -> None:
        self._directory = files.private_directory(directory)
        # The old process still has the port, so no lease is needed.
        self._clients = PortLease() if instead_of else PortLease(port)
        self._alive = PortLease()
        self.listen = f"{LOOPBACK}:{port}" if instead_of else self._clients.listen
        configuration = self._directory / CONFIGURATION_NAME
        text = balancer_configuration(
            backends,
            listen=self.listen,
            alive=self._alive.listen,
            alive_path=_ALIVE,
        )
        files.write_private(configuration, text)
        command = [str(program), "-db", "-f", str(configuration)]
        if instead_of:
            command += ["-sf", str(instead_of)]
        self.server = Server(
            title="HAProxy",
            command=command,
            log=self._directory / "haproxy.log",
            probe=f"{base_url(self._alive.listen)}{_ALIVE}",
            detached=True,
        )

    def start(self, *, timeout: float) -> None:
        self.server.start(timeout=timeout)

    def close(self) -> None:
        """Release its ports; the process goes on."""
        self._clients.release()
        self._alive.release()
