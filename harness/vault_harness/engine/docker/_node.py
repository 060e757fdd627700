"""A Vault server in a container: server mode, with its directory here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.dialect import Dialect
from vault_harness.engine._ports import PortLease
from vault_harness.engine._probe import is_ok
from vault_harness.engine._shape import Capability, NodeSpec
from vault_harness.engine.docker._container import Container
from vault_harness.errors import CapabilityMissing, EngineError, PortTaken

API_PORT = 8200
CLUSTER_PORT = 8201

# The node's directory, as its server names it.
INSIDE = "/vault/node"

_TRIES = 5


class DockerNode:
    """One Vault server as a container; see `vault_harness.engine.Node`.

    Its directory is mounted, so that the audit log is a file here too. It holds ``vault.json``
    (configuration), ``audit.log`` and ``data/`` (raft). What the server prints is kept by the
    engine.

    Args:
        spec: What it shall be.
        dialect: Whose server the image holds.
        make: Makes the container, given the published port.
        upstream_host: Its name on the run's network.
        translate: Turns another node's address here into the one by which containers reach it.
        start_timeout: Seconds for the API to answer.
        shares_files: Whether engine and harness are on one machine, so that files are shared.
    """

    def __init__(
        self,
        spec: NodeSpec,
        dialect: Dialect,
        *,
        make: Callable[[NodeSpec, int], Container],
        upstream_host: str,
        translate: Callable[[str], str],
        start_timeout: float,
        shares_files: bool,
    ) -> None:
        if spec.storage not in dialect.storages:
            raise EngineError(
                f"{dialect.title} has no storage {spec.storage}",
                looked_at="the image of the docker engine",
                remedy=f"choose one of {', '.join(sorted(dialect.storages))}",
            )
        self.spec = spec
        self.dialect = dialect
        self._make = make
        self._host = upstream_host
        self._translate = translate
        self._start_timeout = start_timeout
        self._shares_files = shares_files
        self._directory = files.private_directory(spec.directory)
        self._lock = threading.RLock()
        self._lease = PortLease(spec.port)
        self._container = make(spec, self._lease.port)

    def __repr__(self) -> str:
        return f"<DockerNode {self._container.name} {self.address}>"

    @property
    def name(self) -> str:
        """Unique within one stack."""
        return self.spec.name

    @property
    def address(self) -> str:
        """Base URL, on this machine's loopback."""
        return base_url(self._lease.listen)

    @property
    def upstream(self) -> str:
        """``host:port`` on the run's network."""
        return f"{self._host}:{API_PORT}"

    @property
    def container_name(self) -> str:
        """What the engine calls it."""
        return self._container.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this engine can do to it."""
        lacking = set()
        if self.spec.storage == "inmem":
            lacking.add(Capability.DURABLE)
        if not self._shares_files:
            lacking.update({Capability.AUDIT_LOG, Capability.AUDIT_FAULTS})
        return frozenset(Capability) - lacking

    @property
    def configuration_path(self) -> Path:
        """The server's configuration file, here."""
        return self._directory / "vault.json"

    @property
    def audit_path(self) -> Path | None:
        """Its audit log, here."""
        return self._directory / "audit.log" if self.spec.audit else None

    @property
    def server_audit_path(self) -> str | None:
        """The same log as the server names it."""
        return f"{INSIDE}/audit.log" if self.spec.audit else None

    def start(self, *, timeout: float | None = None) -> None:
        """Start it and wait until its API answers. Does nothing if it runs."""
        with self._lock:
            if self._container.is_running():
                return
            for left in reversed(range(_TRIES)):
                self._write_configuration()
                try:
                    self._container.start()
                except PortTaken:
                    if not left or self.spec.port:
                        raise
                    self._new_port()
                else:
                    break
            self._container.wait_until(
                self._answers, "its API answered", timeout=timeout or self._start_timeout
            )

    def stop(self, *, timeout: float = 10.0) -> None:
        """End it by SIGTERM, then by SIGKILL."""
        with self._lock:
            if self._container.is_running():
                self._container.stop(timeout)

    def kill(self) -> None:
        """End it by SIGKILL."""
        with self._lock:
            self._container.kill()

    def pause(self) -> None:
        """Freeze it (cgroup freezer): its sockets stay open."""
        with self._lock:
            self._must_run("pause")
            self._container.pause()

    def resume(self) -> None:
        """Undo `pause`. Does nothing if it is not paused."""
        with self._lock:
            self._container.resume()

    def restart(self, *, timeout: float | None = None) -> None:
        """`stop`, then `start` at the same address."""
        with self._lock:
            self.stop()
            self.start(timeout=timeout)

    def reload(self) -> None:
        """Make it read its configuration and reopen its audit log (SIGHUP)."""
        with self._lock:
            self._must_run("reload")
            self._container.signal("SIGHUP")

    def is_running(self) -> bool:
        """Whether the server lives, paused or not."""
        return self._container.is_running()

    def logs(self, *, tail: int | None = None) -> str:
        """What the server printed."""
        return self._container.logs(tail=tail)

    def close(self) -> None:
        """Remove its container and give its port back. Its directory stays."""
        with self._lock:
            self._container.remove()
            self._lease.release()

    def _must_run(self, verb: str) -> None:
        if not self._container.is_running():
            raise CapabilityMissing(
                f"cannot {verb} {self.name}: it does not run",
                looked_at=f"the container {self._container.name}",
                remedy="start it first",
            )

    def _new_port(self) -> None:
        self._container.remove()
        self._lease.release()
        self._lease = PortLease()
        self._container = self._make(self.spec, self._lease.port)

    def _answers(self) -> bool:
        return is_ok(f"{self.address}/v1/sys/seal-status")

    def _write_configuration(self) -> None:
        files.write_private(
            self.configuration_path, json.dumps(self._configuration(), indent=2) + "\n"
        )

    def _configuration(self) -> dict[str, object]:
        configuration: dict[str, object] = {
            "storage": {self.spec.storage: self._storage()},
            "listener": {
                "tcp": {
                    "address": f"0.0.0.0:{API_PORT}",
                    "cluster_address": f"0.0.0.0:{CLUSTER_PORT}",
                    "tls_disable": True,
                }
            },
            # Redirects go to clients on this machine; nodes speak with each other over
            # cluster_addr.
            "api_addr": self.address,
            "cluster_addr": base_url(f"{self._host}:{CLUSTER_PORT}"),
            "ui": False,
            **self.dialect.base_configuration(),
        }
        if self.spec.audit:
            configuration |= self.dialect.audit_configuration(
                Path(INSIDE) / "audit.log", raw=self.spec.audit_raw
            )
        return configuration | dict(self.spec.extra)

    def _storage(self) -> dict[str, object]:
        if self.spec.storage == "inmem":
            return {}
        files.private_directory(self._directory / "data")
        raft: dict[str, object] = {
            "path": f"{INSIDE}/data",
            "node_id": self.spec.name,
            # The default of 5 is for slow networks; on one machine it only makes elections slow.
            "performance_multiplier": 1,
        }
        if self.spec.retry_join:
            raft["retry_join"] = [
                {"leader_api_addr": self._translate(address)} for address in self.spec.retry_join
            ]
        return raft
