"""The stack of ``invoke up`` in containers, run by Compose; see `StackProvider`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault_harness import files
from vault_harness.certificates import OPERATOR, TlsFiles
from vault_harness.errors import EngineUnavailable, HarnessError, StackError, named
from vault_harness.local.dialect import OPENBAO, VAULT, Dialect
from vault_harness.local.engine.configuration import AUDIT_LOG_NAME, DATA_NAME, check_product
from vault_harness.local.engine.docker.balancer import write_balancer_configuration
from vault_harness.local.engine.docker.cloud import check_same_variables, told, variables_before
from vault_harness.local.engine.docker.compose import LABEL_PROJECT, Compose, env_file_text
from vault_harness.local.engine.docker.container import log_lines, state_of
from vault_harness.local.engine.docker.inside import (
    container_user,
    copy_tls_files,
    write_configuration,
)
from vault_harness.local.engine.docker.labels import (
    Removed,
    as_started,
    copied_from,
    original_of_copy,
    project_here,
    recorded,
    sweep,
)
from vault_harness.local.engine.docker.layout import (
    HOLDER_FILE_NAME,
    NODES_FILE_NAME,
    OWN_FILE_NAMES,
    SEAL_FILE_NAME,
    Layout,
    choose_ports,
    compose_files,
    folders,
    keep_file,
    service_of,
    services_of,
    write_own_files,
)
from vault_harness.local.engine.docker.state import require, require_balancer
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.logs import follow as follow_file
from vault_harness.local.engine.logs import lines
from vault_harness.local.engine.members import (
    check_room,
    known_cluster,
    known_members,
    node_directory,
    planned_members,
    refuse_other_engines_cluster,
)
from vault_harness.local.engine.ports import answers, seal_status_url
from vault_harness.local.engine.provider import (
    BALANCER_NAME,
    HOLDER_NAME,
    NODE_NAME,
    Endpoints,
    KnownServers,
    Memory,
    ServiceState,
    known_directories,
    remove_directories,
    tls_files,
)
from vault_harness.local.engine.seal import SEAL_DIRECTORY, node_extra, seal_stanza, with_cloud_seal
from vault_harness.local.engine.shape import EngineName, NodeSpec
from vault_harness.settings import Settings
from vault_harness.waiting import wait_until

if TYPE_CHECKING:
    import docker

__all__ = ["DockerStack"]

ENV_FILE_NAME = "compose.env"
"""Variables for running Compose on this stack by hand."""

STOP_SECONDS = "10"


class DockerStack:
    """Vault and Toxiproxy in containers of a Compose project.

    A node's directory is the same as under the process engine; see `inside`. Nodes of a cluster
    reach each other by service name.
    """

    def __init__(self, settings: Settings, memory: Memory) -> None:
        self._settings = settings
        self._memory = memory
        self._data_dir = as_started(settings.data_dir, self._record_if_readable())

    @property
    def project(self) -> str:
        """The Compose project. A copied folder does not own the original's."""
        return project_here(self._data_dir, self._record_if_readable())

    @property
    def name(self) -> EngineName:
        return "docker"

    @property
    def audit_path(self) -> Path | None:
        return self._audit_log(NODE_NAME)

    @property
    def server_audit_path(self) -> str | None:
        return AUDIT_LOG_NAME

    @property
    def audit_paths(self) -> dict[str, Path]:
        members = known_members(self._record_if_readable(), self._data_dir)
        return {name: self._audit_log(name) for name in members}

    def _audit_log(self, name: str) -> Path:
        return node_directory(self._data_dir, name) / AUDIT_LOG_NAME

    def check_start(self, *, nodes: int = 1) -> None:
        """Refuse ports that others use, and a copy of a folder whose containers run."""
        remembered = self._memory.load()
        members = self._planned(remembered, nodes)
        cluster = known_cluster(remembered, self._data_dir)
        with connected() as client:
            self._refuse_copy(client)
            present = self._containers(client)
        if nodes > 1 and not cluster:
            self._refuse_running(present)
        self._layout(remembered, present, members, balanced=cluster or nodes > 1)

    def _planned(self, remembered: KnownServers, nodes: int) -> list[str]:
        return planned_members(known_members(remembered, self._data_dir), nodes)

    def start(self, *, nodes: int = 1) -> Endpoints:
        remembered = self._memory.load()
        known = remembered.endpoints
        known_before = known_members(remembered, self._data_dir)
        members = planned_members(known_before, nodes)
        cluster = known_cluster(remembered, self._data_dir)
        balanced = cluster or nodes > 1
        refuse_other_engines_cluster(self.name, members, self._data_dir)
        files.private_directory(self._data_dir)
        with connected() as client:
            self._refuse_copy(client)
            self._refuse_older_volume(client)
            present = self._containers(client)
            running = any(
                service_of(item) in members and item.status in {"running", "paused"}
                for item in present
            )
            if running:
                self._check_told_again(balanced=balanced)
            if balanced and not cluster:
                self._refuse_running(present)
            before = {service_of(item) for item in present if item.status != "exited"}
            images = self._images(client, balanced=balanced)
            dialect = dialect_of(images)
            for name in members:
                # The engine would create missing mount directories, owned by root.
                directory = files.private_directory(node_directory(self._data_dir, name))
                check_product(directory, dialect, looked_at=f"the image {images['VAULT_IMAGE']}")
            layout = self._layout(remembered, present, members, balanced=balanced)
            environment = {**layout.variables(), **images, **user_of(client)}
            for container in present:
                wake(container)
        for name in layout.members:
            self._write_node(layout, name, dialect)
        self._write_project(layout, environment, full_start=not running)
        if balanced and BALANCER_NAME in before and members != known_before:
            # It knows only the old nodes. It must read before the new nodes are recorded: a failure
            # in between would leave it with the old list for good.
            self._have_balancer_read()
        # Before the start: `down` must find what a crash leaves behind.
        endpoints = self._remember(remembered, layout, environment)
        try:
            self.compose()("up", "-d", *layout.services)
            self._await_answers(layout.probes())
        except BaseException:
            # Only what this call started. Without names, compose would remove everything.
            if started := [name for name in layout.services if name not in before]:
                with contextlib.suppress(HarnessError):
                    self.compose()("rm", "--force", "--stop", *started)
            if balanced and not cluster:  # a failed start must not turn a single server into three
                remembered.endpoints = known
                self._memory.save(remembered)
                self._keep_file(SEAL_FILE_NAME, None)  # it names the new nodes too
                self._keep_file(NODES_FILE_NAME, None)
            raise
        return endpoints

    def _have_balancer_read(self) -> bool:
        """Make the balancer read its configuration, if it runs; connections stay."""
        with connected() as client:
            found = self._containers_of(client, BALANCER_NAME)
            running = [container for container in found if container.status == "running"]
            for container in running:
                container.kill("SIGUSR2")
        return bool(running)

    def _refuse_copy(self, client: docker.DockerClient) -> None:
        """Refuse a copy of a running folder: two copies of a Vault end each other's leases."""
        known = self._record_if_readable()
        origin = copied_from(self._data_dir, known)
        if origin is None:
            return
        label = f"{LABEL_PROJECT}={recorded(known)[0]}"
        there = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        alive = [container for container in there if container.status not in {"exited", "created"}]
        if alive:
            raise StackError(
                "this folder is a copy of another one, whose containers run",
                looked_at=f"{self._data_dir}; container {alive[0].name} of {origin}",
                remedy="let HARNESS_DATA_DIR name that folder; to start what is in this one, end "
                f"those containers first: {named('down')} there",
            )

    def _refuse_elsewhere(self) -> None:
        """Refuse to start a single node of a moved folder, whose files name the old place."""
        origin = original_of_copy(self._data_dir, self._record_if_readable())
        if origin is not None:
            raise StackError(
                "this folder was moved or copied since its servers were started",
                looked_at=f"{self._data_dir}; they were started in {origin}",
                remedy=f"{named('up')}, which starts all of them here; then this again",
            )

    def _refuse_running(self, present: list[Any]) -> None:
        """Refuse a cluster while a single server runs, whose address clients know."""
        for container in present:
            if service_of(container) == NODE_NAME and container.status != "exited":
                raise StackError(
                    "one server runs, and three with a load balancer are asked for",
                    looked_at=f"{self._data_dir}; container {container.name}",
                    remedy=f"{named('down')}, then {named('up', '--ha')}: its data stays, and the "
                    "other nodes get it",
                )

    def _images(self, client: docker.DockerClient, *, balanced: bool) -> dict[str, str]:
        vault, toxiproxy = require(client, self._settings)
        more = {"HAPROXY_IMAGE": require_balancer(client, self._settings).name} if balanced else {}
        return {
            "VAULT_IMAGE": vault.name,
            "VAULT_PROGRAM": vault.dialect.program,
            "TOXIPROXY_IMAGE": toxiproxy.name,
            **more,
        }

    def _layout(
        self,
        remembered: KnownServers,
        present: list[Any],
        members: Sequence[str],
        *,
        balanced: bool,
    ) -> Layout:
        names = tuple(members)
        return Layout(
            data_dir=self._data_dir,
            members=names,
            balanced=balanced,
            ports=choose_ports(self._settings, remembered, present, names, balanced=balanced),
            tls=tls_files(self._data_dir),
        )

    def _write_node(self, layout: Layout, name: str, dialect: Dialect) -> None:
        spec = self._spec(name, balanced=layout.balanced, tls=layout.tls)
        files.private_directory(spec.directory)
        (address,) = [n.address for n in layout.endpoints().nodes if n.name == name]
        write_configuration(spec, dialect, address=address, host=name)

    def _spec(self, name: str, *, balanced: bool, tls: TlsFiles | None) -> NodeSpec:
        spec = NodeSpec(
            name=name,
            directory=node_directory(self._data_dir, name),
            storage="raft",
            tls=tls,
            extra=node_extra(self._data_dir, cluster=balanced),
            detached=True,
        )
        return with_cloud_seal(spec, self._settings)

    def _check_told_again(self, *, balanced: bool) -> None:
        spec = self._spec(NODE_NAME, balanced=balanced, tls=tls_files(self._data_dir))
        check_same_variables(self._data_dir / SEAL_FILE_NAME, spec)

    def _write_project(
        self, layout: Layout, environment: Mapping[str, str], *, full_start: bool = False
    ) -> None:
        """Write the compose files and the balancer's configuration.

        With `full_start`, which only a start of all nodes may set, the cloud settings come from the
        environment. Otherwise they stay those of the last start.
        """
        seal = seal_stanza(self._data_dir)
        cloud = None if full_start else variables_before(self._data_dir / SEAL_FILE_NAME)
        if cloud is None:
            spec = self._spec(NODE_NAME, balanced=layout.balanced, tls=layout.tls)
            cloud = told(spec, self._data_dir / SEAL_DIRECTORY)
        # From here on nothing is refused.
        write_own_files(
            self._data_dir,
            nodes=layout.nodes_text() if layout.balanced else None,
            seal=layout.seal_text(seal, cloud) if seal else None,
        )
        if "transit" not in seal:
            self._keep_file(HOLDER_FILE_NAME, None)
        if layout.balanced:
            write_balancer_configuration(self._data_dir / BALANCER_NAME, layout.members, layout.tls)
        self._write_env_file(environment)

    def _keep_file(self, name: str, text: str | None) -> None:
        keep_file(self._data_dir / name, text)

    def _write_env_file(self, environment: Mapping[str, str]) -> None:
        text = env_file_text(self.project, environment, compose_files(self._data_dir))
        files.write_private(self._data_dir / ENV_FILE_NAME, text)

    def _remember(
        self, remembered: KnownServers, layout: Layout, environment: Mapping[str, str]
    ) -> Endpoints:
        endpoints = layout.endpoints()
        remembered.engine = self.name
        remembered.endpoints = endpoints
        remembered.services = {
            name: {"project": self.project, "environment": dict(environment)}
            for name in layout.services
        }
        self._memory.save(remembered)
        return endpoints

    def _record_if_readable(self) -> KnownServers:
        try:
            return self._memory.load()
        except HarnessError:
            return KnownServers()

    def stop(self) -> list[str]:
        return self._down()

    def restart_vault(self) -> None:
        """Restart all nodes. Refuses on a full disk, and stops nothing then."""
        remembered = self._memory.load()
        members = known_members(remembered, self._data_dir)
        check_room(self._data_dir, members)
        self.compose()("restart", "--timeout", STOP_SECONDS, *members)
        for node in remembered.endpoints.nodes if remembered.endpoints else ():
            self._await_answers({node.name: seal_status_url(node.address)})

    def reload_vault(self) -> None:
        members, tls = known_members(self._memory.load(), self._data_dir), tls_files(self._data_dir)
        for name in members:
            directory = node_directory(self._data_dir, name)
            copy_tls_files(NodeSpec(name=name, directory=directory, tls=tls))
        with connected() as client:
            for container in self._containers(client):
                if service_of(container) in members and container.status == "running":
                    container.kill("SIGHUP")

    def destroy(self) -> list[str]:
        removed = self._down("--volumes") + remove_directories(self._data_dir)
        for name in (ENV_FILE_NAME, *OWN_FILE_NAMES):
            file = self._data_dir / name
            if file.exists():
                file.unlink()
                removed.append(str(file))
        return removed

    def belongings(self) -> list[str]:
        label = {"label": f"{LABEL_PROJECT}={self.project}"}
        with connected() as client:
            return [
                *(f"container {item.name}" for item in self._containers(client)),
                *(f"volume {volume.name}" for volume in client.volumes.list(filters=label)),
                *known_directories(self._data_dir),
            ]

    def describe(self) -> list[ServiceState]:
        remembered = self._record_if_readable()
        members = tuple(known_members(remembered, self._data_dir))
        found: dict[str, Any] = {}
        away = ""
        try:
            with connected(timeout=5) as client:
                found = {service_of(item): item for item in self._containers(client)}
        except EngineUnavailable as error:
            away = error.cause
        names = self._service_names(remembered, holder=HOLDER_NAME in found)
        return [state_of(name, found.get(name), node=name in members, away=away) for name in names]

    def _service_names(self, remembered: KnownServers, *, holder: bool = False) -> tuple[str, ...]:
        """Return the servers that should run, and an existing key holder."""
        return services_of(
            tuple(known_members(remembered, self._data_dir)),
            balanced=known_cluster(remembered, self._data_dir),
            holder=holder or remembered.seal == "transit",
        )

    def log_names(self) -> list[str]:
        return [*self._service_names(self._record_if_readable()), "audit"]

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        if name == "audit":
            assert self.audit_path is not None  # always a file of the data directory
            yield from lines(self.audit_path, tail=tail)
            if follow:
                yield from follow_file(self.audit_path)
            return
        with connected() as client:
            for container in self._containers_of(client, name):
                yield from log_lines(container, "all" if tail is None else tail, follow)

    def compose(self, more: Mapping[str, str] | None = None) -> Compose:
        """Return Compose with the variables of the last `start`, and `more`."""
        environment = {**self._environment(self._record_if_readable()), **(more or {})}
        return Compose(self.project, environment, compose_files(self._data_dir))

    def _environment(self, remembered: KnownServers) -> dict[str, str]:
        """Return the last start's variables; without a record, those that need no engine."""
        known = (remembered.services.get(NODE_NAME) or {}).get("environment") or {}
        return {**known, **folders(self._data_dir, tls_files(self._data_dir))}

    def _refuse_older_volume(self, client: docker.DockerClient) -> None:
        """Refuse an empty Vault where an earlier version kept data in a volume."""
        from docker.errors import NotFound

        volume = f"{self.project}_raft"
        if any((node_directory(self._data_dir, NODE_NAME) / DATA_NAME).glob("*")):
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
            leftovers = _swept(client)  # a killed drill may use the same network
            if ended or networks or (options and volumes):
                with contextlib.suppress(FileNotFoundError):
                    self.compose()(
                        *("down", "--remove-orphans", "--timeout", STOP_SECONDS),
                        *options,
                        services=True,
                    )
            leftovers = leftovers or _swept(client)
            if options:
                ended += [f"volume {volume.name}" for volume in volumes]
        if leftovers:
            ended.append(str(leftovers))
        with contextlib.suppress(HarnessError, OSError):  # a full disk must not prevent `down`
            remembered = self._memory.load()
            # In a copy they belong to the original folder, which needs them at its next start.
            if remembered.services and copied_from(self._data_dir, remembered) is None:
                remembered.services = {}
                self._memory.save(remembered)
        return ended

    def _containers(self, client: docker.DockerClient) -> list[Any]:
        label = f"{LABEL_PROJECT}={self.project}"
        found: list[Any] = client.containers.list(
            all=True, filters={"label": label}, ignore_removed=True
        )
        return found

    def _containers_of(self, client: docker.DockerClient, service: str) -> list[Any]:
        return [each for each in self._containers(client) if service_of(each) == service]

    def _remove_container(self, name: str) -> list[str]:
        with connected() as client:
            found = self._containers_of(client, name)
            for container in found:
                container.stop(timeout=int(STOP_SECONDS))
                container.remove(v=True)
        return [f"container {container.name}" for container in found]

    def _last_lines(self, name: str) -> str:
        return "\n".join(self.logs(name, tail=12))

    def _await_answers(self, probes: Mapping[str, str]) -> None:
        tls = tls_files(self._data_dir)
        own = tls.own(OPERATOR) if tls else None
        for name, probe in probes.items():
            wait_until(
                partial(answers, probe, own=own),
                f"{probe} to answer",
                timeout=self._settings.start_timeout,
                evidence=partial(self._last_lines, name),
                remedy="the log says why; give a busy machine longer by HARNESS_START_TIMEOUT",
            )


def _swept(client: docker.DockerClient) -> Removed:
    """Sweep. What the engine refuses, the next start tries again."""
    from docker.errors import APIError

    with contextlib.suppress(APIError):  # it must not prevent the end of this stack
        return sweep(client)
    return Removed()


def wake(container: Any) -> None:
    if container.status == "paused":
        container.unpause()  # the start overrides the pause
    elif container.status == "restarting":
        # The engine waits up to a minute before it restarts a container that keeps ending, such as
        # a Vault whose key was away.
        container.stop(timeout=int(STOP_SECONDS))


def dialect_of(environment: Mapping[str, str]) -> Dialect:
    return OPENBAO if environment.get("VAULT_PROGRAM") == OPENBAO.program else VAULT


def user_of(client: docker.DockerClient) -> dict[str, str]:
    uid, _, gid = container_user(client).partition(":")
    return {"HARNESS_UID": uid, "HARNESS_GID": gid}
