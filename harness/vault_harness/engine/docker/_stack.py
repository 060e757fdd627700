"""The stack of ``invoke up`` in containers, through compose; see `StackProvider`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.certificates import OPERATOR, TlsFiles
from vault_harness.commands import named
from vault_harness.engine._configuration import AUDIT_LOG_NAME, DATA_NAME
from vault_harness.engine._logs import follow as follow_file
from vault_harness.engine._ports import LOOPBACK, PortLease, listens, port_taken
from vault_harness.engine._probe import answers, seal_status_url
from vault_harness.engine._product import check_product
from vault_harness.engine._provider import (
    NODE_NAME,
    PROXY_NAME,
    SERVICES,
    TLS_DIRECTORY,
    Endpoints,
    KnownServers,
    Memory,
    NodeEndpoint,
    ServiceName,
    ServiceState,
    own_directories,
    remove_directories,
    tls_files,
)
from vault_harness.engine._shape import EngineName, NodeSpec
from vault_harness.engine.docker._client import connected
from vault_harness.engine.docker._compose import (
    LABEL_PROJECT,
    LABEL_SERVICE,
    Compose,
    env_file_text,
    project_name,
)
from vault_harness.engine.docker._inside import (
    API_PORT,
    CLUSTER_PORT,
    CONFIGURATION_NAME,
    INSIDE,
    container_user,
    copy_tls_files,
    write_configuration,
)
from vault_harness.engine.docker._labels import sweep
from vault_harness.engine.docker._state import Image, require
from vault_harness.errors import CapabilityMissing, EngineUnavailable, HarnessError, StackError
from vault_harness.settings import Settings
from vault_harness.waiting import wait_until

if TYPE_CHECKING:
    import docker

__all__ = ["DockerStack"]

ENV_FILE_NAME = "compose.env"
"""In the data directory: what compose by hand needs to speak of this stack."""

_STOP_SECONDS = "10"
_PROXY_PORT = 8201
_INSIDE_PROXY = f"[::]:{_PROXY_PORT}"  # as both servers report it

_OVER_TLS = {"VAULT_SCHEME": "https", "NODE_CACERT": f"{INSIDE}/{TLS_DIRECTORY}/ca.pem"}
_SHOWN = {"NODE_CLIENT_CERT": f"{INSIDE}/{TLS_DIRECTORY}/{OPERATOR}.pem"}

# What is published, by its port inside: whose it is, and the variable that moves it.
_PORTS: Mapping[str, tuple[ServiceName, int, str]] = {
    "vault": ("vault", API_PORT, "VAULT_PORT"),
    "toxiproxy": ("toxiproxy", 8474, "TOXIPROXY_PORT"),
    "proxy": ("toxiproxy", _PROXY_PORT, "PROXY_PORT"),
}


class DockerStack:
    """Vault and Toxiproxy as containers of a compose project, found again by the project's name.

    Vault's directory is that of the process engine, mounted: see `_inside`.
    """

    def __init__(self, settings: Settings, memory: Memory) -> None:
        self._settings = settings
        self._memory = memory
        self._data_dir = settings.data_dir
        self._node = NodeSpec(
            name=NODE_NAME, directory=settings.data_dir / "vault", storage="raft", detached=True
        )
        self.project = project_name(settings.data_dir)

    @property
    def name(self) -> EngineName:
        """``docker``."""
        return "docker"

    @property
    def audit_path(self) -> Path | None:
        """Vault's audit log, in the mounted directory."""
        return self._node.directory / AUDIT_LOG_NAME

    @property
    def server_audit_path(self) -> str | None:
        """Its name in the directory that the server runs in."""
        return AUDIT_LOG_NAME

    @property
    def audit_paths(self) -> tuple[Path, ...]:
        """The same: there is one node."""
        return (self._node.directory / AUDIT_LOG_NAME,)

    def start(self, *, nodes: int = 1) -> Endpoints:
        """Start what does not run, and wait until both servers answer."""
        self._refuse_cluster(nodes)
        # The engine would make missing directories for its mounts, as root's.
        files.private_directory(self._data_dir)
        files.private_directory(self._node.directory)
        remembered = self._memory.load()
        with connected() as client:
            self._refuse_older_volume(client)
            present = self._containers(client)
            before = {_service(item) for item in present if item.status != "exited"}
            vault, toxiproxy = require(client, self._settings)
            check_product(self._node.directory, vault.dialect, looked_at=f"the image {vault.name}")
            ports = self._ports(remembered, present)
            environment = self._environment(vault, toxiproxy, container_user(client), ports)
            for container in present:
                if container.status == "paused":
                    container.unpause()  # whoever paused it wants it up now
        tls = tls_files(self._data_dir)
        endpoints = _endpoints(ports, tls)
        write_configuration(
            replace(self._node, tls=tls), vault.dialect, address=endpoints.vault, host=NODE_NAME
        )
        compose = Compose(self.project, environment)
        files.write_private(
            self._data_dir / ENV_FILE_NAME, env_file_text(self.project, environment)
        )
        remembered.engine = self.name
        remembered.endpoints = endpoints
        remembered.services = {
            name: {"project": self.project, "environment": environment} for name in SERVICES
        }
        self._memory.save(remembered)  # before the start: `down` must find what a crash leaves
        try:
            compose("up", "-d", *SERVICES)
            self._await_answers(endpoints)
        except BaseException:
            # Only what this call started: without a name, compose would remove all of it.
            if started := [name for name in SERVICES if name not in before]:
                with contextlib.suppress(HarnessError):
                    compose("rm", "--force", "--stop", *started)
            raise
        return endpoints

    def _refuse_cluster(self, nodes: int) -> None:
        """Never a part of a cluster: one node of three waits for the others for ever."""
        known = self._memory.load().endpoints
        if nodes > 1 or (known is not None and known.balancer is not None):
            raise CapabilityMissing(
                "the docker engine runs one server, and this is a cluster of three",
                looked_at=f"{self._settings.data_dir}, HARNESS_ENGINE",
                remedy=f"HARNESS_ENGINE=process {named('up', '--ha')}",
            )

    def stop(self) -> list[str]:
        """Remove the containers and the network, and what dead runs left; keep the data."""
        return self._down()

    def restart_vault(self) -> None:
        """End Vault politely and start it again at the same address."""
        remembered = self._memory.load()
        self.compose()("restart", "--timeout", _STOP_SECONDS, "vault")
        if remembered.endpoints is not None:
            self._await_answers(remembered.endpoints)

    def reload_vault(self) -> None:
        """Send SIGHUP to Vault, which sees the certificate in its own directory."""
        copy_tls_files(replace(self._node, tls=tls_files(self._data_dir)))
        with connected() as client:
            for container in self._containers(client):
                if _service(container) == NODE_NAME and container.status == "running":
                    container.kill("SIGHUP")

    def destroy(self) -> list[str]:
        """Stop, and delete Vault's data, logs and configuration, and the services' ids."""
        removed = self._down("--volumes") + remove_directories(self._data_dir)
        variables = self._data_dir / ENV_FILE_NAME
        if variables.exists():
            variables.unlink()
            removed.append(str(variables))
        return removed

    def belongings(self) -> list[str]:
        """Containers, what an earlier version kept in a volume, and the servers' directories."""
        label = {"label": f"{LABEL_PROJECT}={self.project}"}
        with connected() as client:
            return [
                *(f"container {item.name}" for item in self._containers(client)),
                *(f"volume {volume.name}" for volume in client.volumes.list(filters=label)),
                *map(str, own_directories(self._data_dir)),
            ]

    def describe(self) -> list[ServiceState]:
        """Both servers' state."""
        found: dict[str, Any] = {}
        try:
            with connected(timeout=5) as client:
                found = {_service(item): item for item in self._containers(client)}
        except EngineUnavailable as error:
            return [
                ServiceState(name=name, running=False, detail=error.cause, node=name == "vault")
                for name in SERVICES
            ]
        return [_state(name, found.get(name)) for name in SERVICES]

    def log_names(self) -> list[str]:
        """Both servers' names, and ``audit``."""
        return [*SERVICES, "audit"]

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
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

    def compose(self, more: Mapping[str, str] | None = None) -> Compose:
        """Compose with the variables of the last `start`, and ``more``."""
        service = self._memory.load().services.get("vault") or {}
        environment: dict[str, str] = service.get("environment") or self._defaults()
        return Compose(self.project, {**environment, **(more or {})})

    def _environment(
        self, vault: Image, toxiproxy: Image, user: str, ports: Mapping[str, int]
    ) -> dict[str, str]:
        """What the compose files ask for."""
        uid, _, gid = user.partition(":")
        return {
            **self._defaults(),
            "HARNESS_UID": uid,
            "HARNESS_GID": gid,
            "VAULT_IMAGE": vault.name,
            "VAULT_PROGRAM": vault.dialect.program,
            "TOXIPROXY_IMAGE": toxiproxy.name,
            **{variable: str(ports[name]) for name, (_, _, variable) in _PORTS.items()},
        }

    def _defaults(self) -> dict[str, str]:
        tls = tls_files(self._data_dir)
        return {
            "HARNESS_DATA_DIR": str(self._data_dir),
            "HARNESS_NODE_DIR": str(self._node.directory),
            "VAULT_CONFIG": f"{INSIDE}/{CONFIGURATION_NAME}",
            **(_OVER_TLS if tls else {}),
            **(_SHOWN if tls and tls.clients else {}),
        }

    def _refuse_older_volume(self, client: docker.DockerClient) -> None:
        """Earlier versions kept the data in a volume: a new, empty Vault is not what was asked."""
        from docker.errors import NotFound

        volume = f"{self.project}_raft"
        if any((self._node.directory / DATA_NAME).glob("*")):
            return
        with contextlib.suppress(NotFound):
            client.volumes.get(volume)
            raise StackError(
                "an earlier version of this project kept this stack's data in a volume, which "
                "this one does not use",
                looked_at=f"the volume {volume}",
                remedy="take a backup with that version and restore it here; or name another "
                "folder with HARNESS_DATA_DIR",
            )

    def _down(self, *options: str) -> list[str]:
        with connected() as client:
            ended = [f"container {item.name}" for item in self._containers(client)]
            label = {"label": f"{LABEL_PROJECT}={self.project}"}
            volumes = client.volumes.list(filters=label)
            networks = client.networks.list(filters=label)
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
            remembered = self._memory.load()
            if remembered.services:
                remembered.services = {}
                self._memory.save(remembered)
        return ended

    def _ports(self, remembered: KnownServers, present: list[Any]) -> dict[str, int]:
        """The settings' ports, which must be free; for 0 those of last time, or free ones.

        What our own containers publish is asked of them: the memory of it may be lost.
        """
        settings = self._settings
        wanted = {
            "vault": (settings.vault_port, "HARNESS_VAULT_PORT"),
            "toxiproxy": (settings.toxiproxy_port, "HARNESS_TOXIPROXY_PORT"),
            "proxy": (settings.proxy_port, "HARNESS_PROXY_PORT"),
        }
        ours = _published(present)
        ports: dict[str, int] = {}
        with contextlib.ExitStack() as leases:
            for name, (port, setting) in wanted.items():
                last = _last_port(remembered, name)
                if port and port != ours.get(name) and listens(port):
                    raise port_taken(port, setting=setting)
                if not port:
                    port = ours.get(name) or (0 if not last or listens(last) else last)
                if not port:
                    lease = PortLease()  # held until all are chosen, so that they differ
                    leases.callback(lease.release)
                    port = lease.port
                ports[name] = port
        return ports

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
            "vault": seal_status_url(endpoints.vault),
            "toxiproxy": f"{endpoints.toxiproxy}/proxies/{PROXY_NAME}",
        }
        tls = tls_files(self._data_dir)
        own = tls.own(OPERATOR) if tls else None
        for name in SERVICES:
            probe = probes[name]
            wait_until(
                partial(answers, probe, own=own),
                f"{probe} to answer",
                timeout=self._settings.start_timeout,
                evidence=partial(self._last_lines, name),
                remedy="the log says why; give a busy machine longer by HARNESS_START_TIMEOUT",
            )


def _endpoints(ports: Mapping[str, int], tls: TlsFiles | None) -> Endpoints:
    urls = {
        name: base_url(f"{LOOPBACK}:{port}", tls=tls is not None and name != "toxiproxy")
        for name, port in ports.items()
    }
    upstream = f"{NODE_NAME}:{API_PORT}"
    node = NodeEndpoint(
        name=NODE_NAME,
        address=urls["vault"],
        proxy=urls["proxy"],
        proxy_listen=_INSIDE_PROXY,
        upstream=upstream,
        cluster=f"{NODE_NAME}:{CLUSTER_PORT}",
    )
    return Endpoints(nodes=(node,), toxiproxy=urls["toxiproxy"], ca_cert=tls.ca if tls else None)


def _service(container: Any) -> str:
    return str(container.labels.get(LABEL_SERVICE))


def _state(name: ServiceName, container: Any) -> ServiceState:
    if container is None:
        return ServiceState(name=name, running=False, detail="", node=name == "vault")
    return ServiceState(
        name=name,
        running=container.status in {"running", "paused"},
        paused=container.status == "paused",
        detail=f"container {container.name}, {container.status}",
        node=name == "vault",
    )


def _published(containers: list[Any]) -> dict[str, int]:
    """Which ports of this machine lead into these containers, those that run."""
    found = {}
    for container in containers:
        published = container.attrs["NetworkSettings"].get("Ports") or {}
        for name, (service, inside, _) in _PORTS.items():
            bindings = published.get(f"{inside}/tcp")
            if bindings and service == _service(container):
                found[name] = int(bindings[0]["HostPort"])
    return found


def _last_port(remembered: KnownServers, name: str) -> int:
    if remembered.endpoints is None:
        return 0
    return int(str(getattr(remembered.endpoints, name)).rpartition(":")[2])


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
