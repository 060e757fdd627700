"""HAProxy in front of a cluster: clients have one address, and reach whoever leads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.engine._balancing import balancer_configuration
from vault_harness.engine._ports import LOOPBACK, PortLease
from vault_harness.engine.process._server import Server

CONFIGURATION_NAME = "haproxy.cfg"
_ALIVE = "/alive"


class ProcessBalancer:
    """An HAProxy that outlives this process.

    Its directory holds ``haproxy.cfg``, whose name on the command line marks the process as ours,
    and ``haproxy.log``.

    Args:
        program: ``haproxy``.
        directory: Created 0700.
        listen: ``host:port`` for clients, 0 for a free port.
        nodes: ``host:port`` of each node's API, by its name.
        tls: Whether the nodes speak TLS.
        own: Certificate and key that it shows to them when it looks at their health; read at its
            start only.
        instead_of: Pid of one that runs already: it goes on until its connections end, 5 s at
            most, and the port is never closed between.
    """

    def __init__(
        self,
        program: Path,
        *,
        directory: Path,
        port: int,
        nodes: Mapping[str, str],
        tls: bool = False,
        own: Path | None = None,
        instead_of: int | None = None,
    ) -> None:
        self._directory = files.private_directory(directory)
        # The one before still listens: then the port is nobody else's.
        self._clients = PortLease() if instead_of else PortLease(port)
        self._alive = PortLease()
        self.listen = f"{LOOPBACK}:{port}" if instead_of else self._clients.listen
        configuration = self._directory / CONFIGURATION_NAME
        text = balancer_configuration(
            nodes,
            listen=self.listen,
            alive=self._alive.listen,
            alive_path=_ALIVE,
            tls=tls,
            own=own,
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
        """Start it and wait until it answers."""
        self.server.start(timeout=timeout)

    def close(self) -> None:
        """Give its ports back; it goes on running."""
        self._clients.release()
        self._alive.release()
