"""A Vault server as a child process on loopback."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Final

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.certificates import OPERATOR
from vault_harness.errors import ServerDied
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.configuration import (
    AUDIT_LOG_NAME,
    DATA_NAME,
    Place,
    as_text,
    check_storage,
    server_configuration,
)
from vault_harness.local.engine.ports import (
    LOOPBACK,
    PortLease,
    listens,
    port_taken,
    seal_status_url,
)
from vault_harness.local.engine.process.server import Server
from vault_harness.local.engine.shape import ON_PROCESSES, Capability, NodeSpec, no_network
from vault_harness.local.programs import Program

_BIND_CONFLICT: Final = "address already in use"
_BIND_TRIES: Final = 5
_SHORT_LIVED: Final = {"GOGC": "800", "GOMEMLIMIT": "512MiB"}
"""For a server that ends with this process, mostly within a minute. Collecting garbage after its
start would take a fourth of the start's processor time to save five megabytes. A server that lives
longer collects when it reaches the limit."""


class ProcessNode:
    """One Vault server as a child process; see `Node`.

    Its directory holds ``vault.json``, ``vault.log``, ``audit.log`` and ``data/`` (raft).
    """

    def __init__(self, spec: NodeSpec, program: Program, *, start_timeout: float = 15.0) -> None:
        check_storage(spec.storage, program.dialect, looked_at=str(program.path))
        self.spec = spec
        self.program = program
        self._start_timeout = start_timeout
        self._directory = files.private_directory(spec.directory)
        self._paused = False
        self._has_run = False
        self._lock = threading.RLock()
        self._api = PortLease(spec.port)
        self._cluster = PortLease(spec.cluster_port)
        self._server = self._make_server()

    def _make_server(self) -> Server:
        return Server(
            title=f"the Vault server {self.spec.name}",
            command=(str(self.program.path), "server", f"-config={self.configuration_path}"),
            log=self._directory / "vault.log",
            probe=seal_status_url(self.address),
            environment={} if self.spec.detached else _SHORT_LIVED,
            passes=self.spec.passes,
            detached=self.spec.detached,
            own=self.spec.tls.own(OPERATOR) if self.spec.tls else None,
        )

    def __repr__(self) -> str:
        return f"<ProcessNode {self.name} {self.address} running={self.is_running()}>"

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def address(self) -> str:
        return base_url(self._api.listen, tls=self.spec.tls is not None)

    @property
    def inner_address(self) -> str:
        return self.address

    @property
    def cluster_address(self) -> str:
        return self._cluster.listen

    @property
    def hosts(self) -> tuple[str, ...]:
        return ("localhost", LOOPBACK)

    @property
    def ca_cert(self) -> Path | None:
        return self.spec.tls.ca if self.spec.tls else None

    @property
    def upstream(self) -> str:
        return self._api.listen

    @property
    def capabilities(self) -> frozenset[Capability]:
        if self.spec.storage == "inmem":
            return ON_PROCESSES - {Capability.DURABLE}
        return ON_PROCESSES

    @property
    def dialect(self) -> Dialect:
        return self.program.dialect

    @property
    def server(self) -> Server:
        return self._server

    @property
    def configuration_path(self) -> Path:
        return self._directory / "vault.json"

    @property
    def audit_path(self) -> Path | None:
        return self._directory / AUDIT_LOG_NAME if self.spec.audit else None

    @property
    def server_audit_path(self) -> str | None:
        return AUDIT_LOG_NAME if self.spec.audit else None

    @property
    def process_id(self) -> int | None:
        process = self._server.process
        return process.pid if process is not None and process.alive() else None

    def start(self, *, timeout: float | None = None) -> None:
        with self._lock:
            if self.is_running():
                return
            for _ in range(_BIND_TRIES):
                if not self._port_is_lost():
                    self._start_once(timeout=timeout or self._start_timeout)
                    if self._has_run:
                        return
                self._new_ports()
            raise port_taken(self._api.port)

    def _start_once(self, *, timeout: float) -> None:
        """Try once. `_has_run` tells whether its ports were free."""
        self._write_configuration()
        try:
            self._server.start(timeout=timeout)
        except ServerDied:
            if _BIND_CONFLICT not in self._server.logs(tail=20) or self._has_run:
                raise
        else:
            self._paused = False
            self._has_run = True

    def _port_is_lost(self) -> bool:
        """Return whether another process took the port, which a lease prevents on Linux."""
        if not listens(self._api.port):
            return False
        if self._has_run or self.spec.port:
            raise port_taken(self._api.port)  # clients know this address, so it must stay
        return True

    def _new_ports(self) -> None:
        if self.spec.port:
            raise port_taken(self.spec.port)
        for lease in (self._api, self._cluster):
            lease.release()
        self._api, self._cluster = PortLease(), PortLease(self.spec.cluster_port)
        self._server.log.unlink(missing_ok=True)
        self._server = self._make_server()

    def stop(self, *, timeout: float = 10.0) -> None:
        with self._lock:
            self._server.stop(timeout=timeout)
            self._paused = False

    def kill(self) -> None:
        with self._lock:
            self._server.kill()
            self._paused = False

    def pause(self) -> None:
        with self._lock:
            self._server.freeze()
            self._paused = True

    def resume(self) -> None:
        with self._lock:
            if self._paused and self.is_running():
                self._server.signal(signal.SIGCONT)
            self._paused = False

    def restart(self, *, timeout: float | None = None) -> None:
        with self._lock:
            self.stop()
            self.start(timeout=timeout)

    def reload(self) -> None:
        self._server.signal(signal.SIGHUP)

    def disconnect(self) -> None:
        raise no_network(self.name)

    def reconnect(self) -> None:
        """Do nothing."""

    def is_running(self) -> bool:
        return self._server.is_running()

    def logs(self, *, tail: int | None = None) -> str:
        return self._server.logs(tail=tail)

    def close(self) -> None:
        if not self.spec.detached:
            self.kill()
        self._api.release()
        self._cluster.release()

    def _write_configuration(self) -> None:
        if self.spec.storage == "raft":
            files.private_directory(self._directory / DATA_NAME)
        configuration = server_configuration(self.spec, self.dialect, self._place())
        files.write_private(self.configuration_path, as_text(configuration))

    def _place(self) -> Place:
        tls = self.spec.tls
        return Place(
            api=self._api.listen,
            cluster=self._cluster.listen,
            address=self.address,
            cluster_address=self.cluster_address,
            data=str(self._directory / DATA_NAME),
            certificate=str(tls.certificate) if tls else "",
            key=str(tls.key) if tls else "",
            ca=str(tls.ca) if tls else "",
            clients=str(tls.clients) if tls and tls.clients else "",
            own=str(tls.own(OPERATOR)) if tls and tls.clients else "",
            join=self.spec.retry_join,
        )
