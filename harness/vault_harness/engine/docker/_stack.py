"""The stack of ``invoke up`` in containers, through compose; see `StackProvider`."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.engine._logs import follow as follow_file
from vault_harness.engine._ports import LOOPBACK, PortLease, listens, port_taken
from vault_harness.engine._probe import is_ok
from vault_harness.engine._provider import (
    PROXY_NAME,
    SERVICES,
    Endpoints,
    KnownServers,
    LogName,
    Memory,
    NodeEndpoint,
    ServiceName,
    ServiceState,
)
from vault_harness.engine._shape import EngineName
from vault_harness.engine.docker._client import connected
from vault_harness.engine.docker._compose import (
    LABEL_PROJECT,
    LABEL_SERVICE,
    Compose,
    project_name,
)
from vault_harness.engine.docker._labels import sweep
from vault_harness.engine.docker._state import require
from vault_harness.errors import EngineUnavailable, HarnessError
from vault_harness.settings import Settings
from vault_harness.waiting import wait_until

if TYPE_CHECKING:
    import docker

__all__ = ["DockerStack"]

_STOP_SECONDS = "10"
_INSIDE_AUDIT = "/vault/logs/audit.log"
_INSIDE_VAULT = "vault:8200"
_INSIDE_PROXY = "[::]:8201"  # as both servers report it
_PORTS = {"vault": "VAULT_PORT", "toxiproxy": "TOXIPROXY_PORT", "proxy": "PROXY_PORT"}


class DockerStack:
    """Vault and Toxiproxy as containers of a compose project, found again by the project's name."""

    def __init__(self, settings: Settings, memory: Memory) -> None:
        self._settings = settings
        self._memory = memory
        self._data_dir = settings.data_dir
        self.project = project_name(settings.data_dir)

    @property
    def name(self) -> EngineName:
        """``docker``."""
        return "docker"

    @property
    def audit_path(self) -> Path | None:
        """Vault's audit log, in a mounted directory."""
        return self._data_dir / "audit" / "audit.log"

    @property
    def server_audit_path(self) -> str | None:
        """The same log as the server in the container names it."""
        return _INSIDE_AUDIT

    def start(self) -> Endpoints:
        """Start what does not run, and wait until both servers answer."""
        # The engine would make missing directories for its mounts, as root's.
        files.private_directory(self._data_dir)
        files.private_directory(self._data_dir / "audit")
        record = self._memory.load()
        with connected() as client:
            before: set[str] = set(self._running(client))
            ports = self._ports(record, before)
            environment = self.environment(client, ports)
            for container in self._containers(client):
                if container.status == "paused":
                    container.unpause()  # whoever paused it wants it up now
        compose = Compose(self.project, environment)
        node = NodeEndpoint(
            name=PROXY_NAME,
            address=base_url(f"{LOOPBACK}:{ports['vault']}"),
            proxy=base_url(f"{LOOPBACK}:{ports['proxy']}"),
            proxy_listen=_INSIDE_PROXY,
            upstream=_INSIDE_VAULT,
        )
        toxiproxy = base_url(f"{LOOPBACK}:{ports['toxiproxy']}")
        endpoints = Endpoints(nodes=(node,), toxiproxy=toxiproxy)
        record.engine = self.name
        record.endpoints = endpoints
        record.services = {
            name: {"project": self.project, "environment": environment} for name in SERVICES
        }
        self._memory.save(record)  # before the start: `down` must find what a crash leaves
        try:
            compose("up", "-d", *SERVICES)
            self._await_answers(endpoints)
        except BaseException:
            with contextlib.suppress(HarnessError):
                started = [name for name in SERVICES if name not in before]
                compose("rm", "--force", "--stop", *started)
            raise
        return endpoints

    def stop(self) -> list[str]:
        """Remove the containers and the network, and what dead runs left; keep the volume."""
        return self._down()

    def restart_vault(self) -> None:
        """End Vault politely and start it again at the same address."""
        record = self._memory.load()
        compose = self.compose(record)
        compose("restart", "--timeout", _STOP_SECONDS, "vault")
        if record.endpoints is not None:
            self._await_answers(record.endpoints)

    def destroy(self) -> list[str]:
        """Stop, and delete the volume with Vault's data, the audit log and the services' ids."""
        removed = self._down("--volumes")
        for directory in (self._data_dir / "audit", self._data_dir / "services"):
            if directory.exists():
                shutil.rmtree(directory)
                removed.append(str(directory))
        return removed

    def describe(self) -> list[ServiceState]:
        """Both servers' state."""
        found: dict[str, Any] = {}
        try:
            with connected(timeout=5) as client:
                found = {_service(item): item for item in self._containers(client)}
        except EngineUnavailable as error:
            return [ServiceState(name=name, running=False, detail=error.cause) for name in SERVICES]
        return [
            ServiceState(
                name=name,
                running=name in found and found[name].status in {"running", "paused"},
                detail=f"container {found[name].name}, {found[name].status}"
                if name in found
                else "",
            )
            for name in SERVICES
        ]

    def logs(
        self, name: LogName, *, tail: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """Lines of a log."""
        if name == "audit":
            assert self.audit_path is not None  # it is a file of the data directory
            yield from files.tail(self.audit_path, tail).splitlines()
            if follow:
                yield from follow_file(self.audit_path)
            return
        with connected() as client:
            for container in self._containers(client):
                if _service(container) == name:
                    yield from _log_lines(container, "all" if tail is None else tail, follow)

    def compose(self, record: KnownServers, more: Mapping[str, str] | None = None) -> Compose:
        """Compose with the variables of the last `start`, and ``more``."""
        service = record.services.get("vault") or {}
        environment: dict[str, str] = service.get("environment") or self._defaults()
        return Compose(self.project, {**environment, **(more or {})})

    def environment(self, client: docker.DockerClient, ports: dict[str, int]) -> dict[str, str]:
        """What the compose files ask for, images that are here included.

        Raises:
            ImageMissing: An image is not there and cannot be pulled.
        """
        vault, toxiproxy = require(client, self._settings)
        return {
            **self._defaults(),
            "VAULT_IMAGE": vault.name,
            "VAULT_FLAVOUR": vault.dialect.product,
            "TOXIPROXY_IMAGE": toxiproxy.name,
            **{variable: str(ports[name]) for name, variable in _PORTS.items()},
        }

    def _defaults(self) -> dict[str, str]:
        return {
            "HARNESS_DATA_DIR": str(self._data_dir),
            "HARNESS_UID": str(os.getuid()),
            "HARNESS_GID": str(os.getgid()),
        }

    def _down(self, *options: str) -> list[str]:
        with connected() as client:
            ended = [f"container {item.name}" for item in self._containers(client)]
            volumes = client.volumes.list(filters={"label": f"{LABEL_PROJECT}={self.project}"})
            networks = client.networks.list(filters={"label": f"{LABEL_PROJECT}={self.project}"})
            if ended or networks or (options and volumes):
                with contextlib.suppress(FileNotFoundError):
                    compose = Compose(self.project, self._defaults())
                    compose("down", "--timeout", _STOP_SECONDS, *options, services=True)
            if options:
                ended += [f"volume {volume.name}" for volume in volumes]
            leftovers = sweep(client)
        if leftovers:
            ended.append(str(leftovers))
        with contextlib.suppress(HarnessError, OSError):  # a full disk must not keep it alive
            record = self._memory.load()
            if record.services:
                record.services = {}
                self._memory.save(record)
        return ended

    def _ports(self, record: KnownServers, running: set[str]) -> dict[str, int]:
        """The settings' ports, which must be free; for 0 those of last time, or free ones."""
        settings = self._settings
        wanted = {
            "vault": (settings.vault_port, "HARNESS_VAULT_PORT", "vault"),
            "toxiproxy": (settings.toxiproxy_port, "HARNESS_TOXIPROXY_PORT", "toxiproxy"),
            "proxy": (settings.proxy_port, "HARNESS_PROXY_PORT", "toxiproxy"),
        }
        ports: dict[str, int] = {}
        leases: list[PortLease] = []
        for name, (port, setting, service) in wanted.items():
            last = _last_port(record, name)
            ours = service in running
            if port and port != last and listens(port):
                raise port_taken(port, setting=setting)
            if port and not ours and listens(port):
                raise port_taken(port, setting=setting)
            if not port and last and (ours or not listens(last)):
                port = last
            if not port:
                leases.append(PortLease())  # held until all are chosen, so that they differ
                port = leases[-1].port
            ports[name] = port
        for lease in leases:
            lease.release()
        return ports

    def _running(self, client: docker.DockerClient) -> Iterator[ServiceName]:
        found = {_service(item) for item in self._containers(client) if item.status != "exited"}
        yield from (name for name in SERVICES if name in found)

    def _containers(self, client: docker.DockerClient) -> list[Any]:
        label = f"{LABEL_PROJECT}={self.project}"
        found: list[Any] = client.containers.list(
            all=True, filters={"label": label}, ignore_removed=True
        )
        return found

    def _last_lines(self, name: ServiceName) -> str:
        return "\n".join(self.logs(name, tail=12))

    def _await_answers(self, endpoints: Endpoints) -> None:
        probes = {
            "vault": f"{endpoints.vault}/v1/sys/seal-status",
            "toxiproxy": f"{endpoints.toxiproxy}/proxies/{PROXY_NAME}",
        }
        for name in SERVICES:
            probe = probes[name]
            wait_until(
                partial(is_ok, probe),
                f"{probe} to answer",
                timeout=self._settings.start_timeout,
                evidence=partial(self._last_lines, name),
                remedy="the log says why; give a busy machine longer by HARNESS_START_TIMEOUT",
            )


def _service(container: Any) -> str:
    return str(container.labels.get(LABEL_SERVICE))


def _last_port(record: KnownServers, name: str) -> int:
    if record.endpoints is None:
        return 0
    return int(str(getattr(record.endpoints, name)).rpartition(":")[2])


def _log_lines(container: Any, tail: int | str, follow: bool) -> Iterator[str]:
    if not follow:
        text: bytes = container.logs(tail=tail)
        yield from text.decode(errors="replace").splitlines()
        return
    stream = container.logs(stream=True, follow=True, tail=tail)
    try:
        rest = b""
        for part in stream:
            *whole, rest = (rest + part).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
    finally:
        stream.close()
