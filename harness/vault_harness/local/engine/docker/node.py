"""A Vault server in a container, with its directory on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.certificates import OPERATOR
from vault_harness.errors import CapabilityMissing, PortTaken
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.configuration import AUDIT_LOG_NAME, check_storage
from vault_harness.local.engine.docker.container import Container
from vault_harness.local.engine.docker.inside import (
    API_PORT,
    CLUSTER_PORT,
    CONFIGURATION_NAME,
    copy_tls_files,
    write_configuration,
)
from vault_harness.local.engine.ports import LOOPBACK, PortLease, answers, seal_status_url
from vault_harness.local.engine.shape import (
    IN_CONTAINERS,
    IN_CONTAINERS_ELSEWHERE,
    Capability,
    NodeSpec,
)

_TRIES = 5


@dataclass(frozen=True)
class Surroundings:
    """What a node needs of its engine.

    Attributes:
        translate: Turns another node's address here into one for containers.
        start_timeout: Seconds.
        shares_files: Whether engine and harness share files.
    """

    translate: Callable[[str], str]
    start_timeout: float
    shares_files: bool


class DockerNode:
    """One Vault server in a container; see `Node`.

    Its directory is mounted and holds ``vault.json``, ``audit.log`` and ``data/`` (raft). The
    engine keeps the output.

    Args:
        make: Makes the container, given the published port.
        upstream_host: Its name on the run's network.
    """

    def __init__(
        self,
        spec: NodeSpec,
        dialect: Dialect,
        *,
        make: Callable[[NodeSpec, int], Container],
        upstream_host: str,
        around: Surroundings,
    ) -> None:
        check_storage(spec.storage, dialect, looked_at="the image of the docker engine")
        self.spec = spec
        self.dialect = dialect
        self._make = make
        self._host = upstream_host
        self._around = around
        self._directory = files.private_directory(spec.directory)
        self._lock = threading.RLock()
        self._lease = PortLease(spec.port)
        self._container = make(spec, self._lease.port)

    def __repr__(self) -> str:
        return f"<DockerNode {self._container.name} {self.address}>"

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def address(self) -> str:
        return base_url(self._lease.listen, tls=self.spec.tls is not None)

    @property
    def inner_address(self) -> str:
        return base_url(self.upstream, tls=self.spec.tls is not None)

    @property
    def cluster_address(self) -> str:
        return f"{self._host}:{CLUSTER_PORT}"

    @property
    def hosts(self) -> tuple[str, ...]:
        return ("localhost", LOOPBACK, self._host)

    @property
    def ca_cert(self) -> Path | None:
        return self.spec.tls.ca if self.spec.tls else None

    @property
    def upstream(self) -> str:
        return f"{self._host}:{API_PORT}"

    @property
    def container_name(self) -> str:
        return self._container.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        able = IN_CONTAINERS if self._around.shares_files else IN_CONTAINERS_ELSEWHERE
        return able - {Capability.DURABLE} if self.spec.storage == "inmem" else able

    @property
    def configuration_path(self) -> Path:
        return self._directory / CONFIGURATION_NAME

    @property
    def audit_path(self) -> Path | None:
        return self._directory / AUDIT_LOG_NAME if self.spec.audit else None

    @property
    def server_audit_path(self) -> str | None:
        return AUDIT_LOG_NAME if self.spec.audit else None

    def start(self, *, timeout: float | None = None) -> None:
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
                self._answers, "its API answered", timeout=timeout or self._around.start_timeout
            )

    def stop(self, *, timeout: float = 10.0) -> None:
        with self._lock:
            if self._container.is_running():
                self._container.stop(timeout)

    def kill(self) -> None:
        with self._lock:
            self._container.kill()

    def pause(self) -> None:
        with self._lock:
            self._must_run("pause")
            self._container.pause()

    def resume(self) -> None:
        with self._lock:
            self._container.resume()

    def restart(self, *, timeout: float | None = None) -> None:
        with self._lock:
            self.stop()
            self.start(timeout=timeout)

    def reload(self) -> None:
        with self._lock:
            self._must_run("reload")
            copy_tls_files(self.spec)
            self._container.signal("SIGHUP")

    def disconnect(self) -> None:
        with self._lock:
            self._must_run("cut off")
            self._container.disconnect()

    def reconnect(self) -> None:
        with self._lock:
            self._container.reconnect()

    def is_running(self) -> bool:
        return self._container.is_running()

    def logs(self, *, tail: int | None = None) -> str:
        return self._container.logs(tail=tail)

    def close(self) -> None:
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
        own = self.spec.tls.own(OPERATOR) if self.spec.tls else None
        return answers(seal_status_url(self.address), own=own)

    def _write_configuration(self) -> None:
        write_configuration(
            self.spec,
            self.dialect,
            address=self.address,
            host=self._host,
            join=[self._around.translate(address) for address in self.spec.retry_join],
        )
