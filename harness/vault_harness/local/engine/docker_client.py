"""Connect to a container engine, or say quickly why none answers."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.errors import EngineUnavailable

if TYPE_CHECKING:
    import docker

_SOCKETS = (
    Path("/var/run/docker.sock"),
    Path("~/.docker/run/docker.sock"),
    Path("~/.docker/desktop/docker.sock"),
)
_CONFIG = Path("~/.docker/config.json")

_REMEDY = (
    "start the engine (Docker Desktop, `systemctl start docker`, or `dockerd`), or point "
    "DOCKER_HOST at one, or use HARNESS_ENGINE=process, which needs none"
)


def connect(*, timeout: float = 60.0) -> docker.DockerClient:
    """Connect to the engine of ``DOCKER_HOST``, the docker context or a socket.

    `timeout` is in seconds, for each request.
    """
    _knock()
    import docker  # the import takes 0.3 s, and most tasks need no engine
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    where = _where()
    try:
        if where is None:
            client = docker.from_env(timeout=int(timeout))
        else:
            client = docker.DockerClient(base_url=where, timeout=int(timeout))
        client.ping()
    except (DockerException, RequestException, OSError) as error:
        raise EngineUnavailable(
            f"the container engine does not answer: {_short(error)}",
            looked_at=where or os.environ.get("DOCKER_HOST", str(_SOCKETS[0])),
            remedy=_REMEDY,
        ) from error
    return client


@contextlib.contextmanager
def connected(*, timeout: float = 60.0) -> Iterator[docker.DockerClient]:
    client = connect(timeout=timeout)
    try:
        yield client
    finally:
        client.close()


def container_on(port: int) -> str:
    """Return the name of the container behind a port here; empty if unknown."""
    try:
        with connected(timeout=5) as client:
            for container in client.containers.list(ignore_removed=True):
                published = (container.attrs["NetworkSettings"].get("Ports") or {}).values()
                bound = {one["HostPort"] for several in published for one in several or ()}
                if str(port) in bound:
                    return str(container.name)
    except (EngineUnavailable, OSError):  # requests' errors are OSErrors
        return ""
    return ""


def _seen(path: Path) -> Path | None:
    try:
        path = path.expanduser()
        return path if path.exists() else None
    except (PermissionError, RuntimeError):  # or there is no home
        return None


def _knock() -> None:
    """Fail at once if no engine can answer: the docker libraries take long to import."""
    host = os.environ.get("DOCKER_HOST", "")
    path = Path(host.removeprefix("unix://")) if host.startswith("unix://") else None
    if not host:
        present = [one for one in map(_seen, (*_SOCKETS, _CONFIG)) if one is not None]
        if not present:
            raise EngineUnavailable(
                "no container engine here",
                looked_at="DOCKER_HOST, docker contexts, " + ", ".join(map(str, _SOCKETS)),
                remedy=_REMEDY,
            )
        path = present[0] if present == [_SOCKETS[0]] else None
    if path is None:
        return  # a context or another host: only the library can tell
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            raise EngineUnavailable(
                f"the container engine does not answer: {error.strerror or error}",
                looked_at=str(path),
                remedy=_REMEDY,
            ) from None


def _where() -> str | None:
    """Return the docker context's address, or None if DOCKER_HOST gives it."""
    if os.environ.get("DOCKER_HOST"):
        return None
    from testcontainers.core.docker_client import get_docker_host

    return get_docker_host()


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
