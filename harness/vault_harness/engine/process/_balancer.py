"""HAProxy in front of a cluster: clients have one address, and reach whoever leads."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.engine._ports import LOOPBACK, PortLease
from vault_harness.engine.process._server import Server

CONFIGURATION_NAME = "haproxy.cfg"
_ALIVE = "/alive"

# Connections are passed on as they are, so TLS goes from client to node. A standby says 429 and is
# no way for clients: it may be behind what was written a moment ago. One that loses its lead keeps
# no connection, or clients would go on with a standby. While none leads and nodes are sealed, these
# answer: "sealed" is more than a connection that ends.
_TEXT = """\
global
  maxconn 4000
  hard-stop-after 5s

defaults
  mode tcp
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  timeout check 1s
  retries 2
  option redispatch
  default-server inter 200ms fastinter 100ms downinter 200ms fall 2 rise 1

frontend clients
  bind {listen}
  use_backend sealed if {{ nbsrv(leader) eq 0 }} {{ nbsrv(sealed) gt 0 }}
  default_backend leader

backend leader
  option httpchk GET /v1/sys/health
  http-check expect status 200
  default-server on-marked-down shutdown-sessions
{leader}

backend sealed
  option httpchk GET /v1/sys/health
  http-check expect status 503
{sealed}

frontend alive
  mode http
  bind {alive}
  monitor-uri {alive_path}
"""


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
        files.write_private(configuration, self._text(nodes, tls=tls, own=own))
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

    def _text(self, nodes: Mapping[str, str], *, tls: bool, own: Path | None) -> str:
        # Unchecked: nothing secret is said here, and clients see for themselves whom they reach.
        check = "check check-ssl verify none" if tls else "check"
        if own is not None:
            check += f" crt {shlex.quote(str(own))}"  # HAProxy quotes as a shell does
        servers = "\n".join(f"  server {name} {at} {check}" for name, at in nodes.items())
        return _TEXT.format(
            listen=self.listen,
            alive=self._alive.listen,
            alive_path=_ALIVE,
            leader=servers,
            sealed=servers,
        )
