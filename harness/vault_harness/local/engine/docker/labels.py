"""Tell which run or stack a container belongs to.

Labels name the run that made a container, network or volume. A stack's record tells whether its
containers belong to a folder that was moved, copied or has two names.
"""

from __future__ import annotations

import contextlib
import os
import platform
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from vault_harness.errors import EngineUnavailable
from vault_harness.local.engine.docker.compose import project_name
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.provider import NODE_NAME, KnownServers

if TYPE_CHECKING:
    import docker

LABEL_RUN = "vault-harness.run"
LABEL_PID = "vault-harness.pid"
LABEL_BORN = "vault-harness.born"
LABEL_HOST = "vault-harness.host"

FOLDER = "HARNESS_DATA_DIR"
"""The compose files' variable for the data directory."""


@dataclass(frozen=True, kw_only=True)
class OwnerProcess:
    """One process that makes containers, distinct also across reboots.

    Attributes:
        born: Seconds since the epoch. Pids are reused.
        host: Boot id and pid namespace. A pid means something only there.
    """

    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    pid: int = field(default_factory=os.getpid)
    born: float = field(default_factory=lambda: psutil.Process().create_time())
    host: str = field(default_factory=lambda: this_host())

    def labels(self, **more: str) -> dict[str, str]:
        return {
            LABEL_RUN: self.name,
            LABEL_PID: str(self.pid),
            LABEL_BORN: f"{self.born:.2f}",
            LABEL_HOST: self.host,
            **{f"vault-harness.{name}": value for name, value in more.items()},
        }


@dataclass(frozen=True)
class Removed:
    """Numbers of removed objects."""

    containers: int = 0
    networks: int = 0
    volumes: int = 0

    def __bool__(self) -> bool:
        return bool(self.containers or self.networks or self.volumes)

    def __str__(self) -> str:
        return (
            f"{self.containers} containers, {self.networks} networks, {self.volumes} volumes "
            "of runs that ended without a goodbye"
        )


def this_host() -> str:
    """Return an id of this boot and of this pid namespace."""
    boot, namespace = platform.node(), ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return f"{boot} {namespace}".strip()


def is_dead(labels: Mapping[str, str]) -> bool:
    """Return whether the process of these labels has ended; False if unknown."""
    if labels.get(LABEL_HOST) != this_host():
        return False
    try:
        pid, born = int(labels[LABEL_PID]), float(labels[LABEL_BORN])
    except (KeyError, ValueError):
        return False
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(process.create_time() - born) > 2.0
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def sweep(client: docker.DockerClient) -> Removed:
    """Remove what dead runs of this machine left."""
    containers = [item for item in _containers(client) if is_dead(item.labels)]
    networks = [item for item in client.networks.list(filters=_FILTER) if is_dead(_labels(item))]
    volumes = [item for item in client.volumes.list(filters=_FILTER) if is_dead(_labels(item))]
    return _remove(containers, networks, volumes)


def sweep_leftovers(*, timeout: float = 10.0) -> Removed:
    """Sweep, if there is an engine."""
    try:
        with connected(timeout=timeout) as client:
            return sweep(client)
    except EngineUnavailable:
        return Removed()


def remove_run(client: docker.DockerClient, name: str) -> Removed:
    filters = {"label": f"{LABEL_RUN}={name}"}
    return _remove(
        list(_containers(client, filters)),
        client.networks.list(filters=filters),
        client.volumes.list(filters=filters),
    )


_FILTER = {"label": LABEL_RUN}


def _containers(client: docker.DockerClient, filters: Mapping[str, str] = _FILTER) -> Iterator[Any]:
    # ignore_removed: another process may sweep at the same time.
    yield from client.containers.list(all=True, filters=dict(filters), ignore_removed=True)


def _labels(item: Any) -> Mapping[str, str]:
    return item.attrs.get("Labels") or {}


def _remove(containers: list[Any], networks: list[Any], volumes: list[Any]) -> Removed:
    counts = [0, 0, 0]
    for container in containers:
        counts[0] += _gone(lambda item=container: item.remove(force=True, v=True))
    for network in networks:
        _empty(network)
        counts[1] += _gone(network.remove)
    for volume in volumes:
        counts[2] += _gone(lambda item=volume: item.remove(force=True))
    return Removed(*counts)


def _empty(network: Any) -> None:
    """Disconnect containers that the run does not own."""
    from docker.errors import APIError

    with contextlib.suppress(APIError):  # another process was quicker
        network.reload()
        for container in network.attrs.get("Containers") or ():
            network.disconnect(container, force=True)


def _gone(remove: Any) -> int:
    from docker.errors import APIError

    try:
        remove()
    except APIError as error:
        # 404: another process removed it. 409: it is being removed. 403: a container still uses it;
        # the next sweep tries again.
        if error.status_code not in {403, 404, 409}:
            raise
        return 0
    return 1


def project_here(data_dir: Path, known: KnownServers) -> str:
    """Return a folder's Compose project: the recorded one, unless the folder is a copy."""
    project, _ = recorded(known)
    if not project or copied_from(data_dir, known) is not None:
        return project_name(data_dir)
    return project


def as_started(data_dir: Path, known: KnownServers) -> Path:
    """Return a folder by the name that its containers were started with, if it still works.

    Under another name Compose would replace all containers.
    """
    _, folder = recorded(known)
    if folder is not None:
        with contextlib.suppress(OSError):
            return folder if folder.samefile(data_dir) else data_dir
    return data_dir


def recorded(known: KnownServers) -> tuple[str, Path | None]:
    """Return project and folder of the last start; empty and None without one."""
    node = known.services.get(NODE_NAME) or {}
    folder = (node.get("environment") or {}).get(FOLDER)
    return str(node.get("project") or ""), Path(str(folder)) if folder else None


def copied_from(data_dir: Path, known: KnownServers) -> Path | None:
    """Return the folder that this one was copied from, whose containers the record names.

    None after a move: the other folder is gone then.
    """
    _, folder = recorded(known)
    if folder is None:
        return None
    try:
        return None if folder.samefile(data_dir) else folder
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # it belongs to another user and may not be read
        return folder


def original_of_copy(data_dir: Path, known: KnownServers) -> Path | None:
    """Return where the record's servers were started, if not here.

    Until a full start here, the compose files name that folder.
    """
    _, folder = recorded(known)
    if folder is None or folder == data_dir:
        return None
    try:
        return None if folder.samefile(data_dir) else folder
    except OSError:
        return folder
