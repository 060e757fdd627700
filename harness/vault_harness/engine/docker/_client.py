"""Reaching a container engine, quickly, and saying plainly when none answers."""

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
    """A client of the engine that ``DOCKER_HOST``, the docker context or the usual socket names.

    Args:
        timeout: Seconds for each request.

    Raises:
        EngineUnavailable: None answers.
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
    """As `connect`, and closed at the end."""
    client = connect(timeout=timeout)
    try:
        yield client
    finally:
        client.close()


def container_on(port: int) -> str:
    """The name of the container that a port of this machine leads to.

    Empty if none does, or nobody can tell.
    """
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
    """Where it is, if it is there, as far as this user may look: HOME may be somebody else's."""
    try:
        path = path.expanduser()
        return path if path.exists() else None
    except (PermissionError, RuntimeError):  # or there is no home
        return None


def _knock() -> None:
    """Fail at once where nobody can answer: the libraries take long to import."""
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
        return  # a context or another host: only the library knows
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
    """The engine's address where the environment does not give it: a docker context's."""
    if os.environ.get("DOCKER_HOST"):
        return None
    from testcontainers.core.docker_client import get_docker_host

    return get_docker_host()


def _short(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
