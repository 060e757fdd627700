"""A container: what nodes and Toxiproxy share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault_harness.errors import DeadlineExceeded, EngineError, PortTaken, ServerDied
from vault_harness.local.engine.provider import HOLDER_NAME, ServiceState
from vault_harness.waiting import Awaited, in_words

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container as EngineContainer

LOOPBACK = "127.0.0.1"

# Lines of a log in an error: enough for a panic and its cause.
_TAIL = 30


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a container runs, and what it sees.

    Attributes:
        name: Unique on the engine; also its name on the network.
        publish: Ports inside to loopback ports here; 0 lets the engine choose.
        mounts: Directories here to paths inside, writable.
        files: Files here to paths inside, read-only.
        user: ``uid:gid`` inside.
        knows_host: Whether ``host.docker.internal`` leads to this machine.
    """

    image: str
    name: str
    network: str
    labels: Mapping[str, str]
    command: Sequence[str]
    publish: Mapping[int, int]
    entrypoint: Sequence[str] | None = None
    mounts: Mapping[Path, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    working_dir: str | None = None
    knows_host: bool = False

    def options(self) -> dict[str, Any]:
        from testcontainers.core.labels import create_labels

        options: dict[str, Any] = {
            "image": self.image,
            "name": self.name,
            "network": self.network,
            # Ryuk, if it runs, removes containers by these labels.
            "labels": create_labels(self.image, dict(self.labels)),
            "command": list(self.command),
            "environment": dict(self.environment),
            "ports": {
                f"{inside}/tcp": (LOOPBACK, outside or None)
                for inside, outside in self.publish.items()
            },
            # z: for SELinux; no effect elsewhere.
            "volumes": {
                str(source): {"bind": target, "mode": f"{mode},z"}
                for mode, sources in (("rw", self.mounts), ("ro", self.files))
                for source, target in sources.items()
            },
            "cap_drop": ["ALL"],
            "cap_add": ["IPC_LOCK"],
            "security_opt": ["no-new-privileges:true"],
        }
        if self.knows_host:
            options["extra_hosts"] = {"host.docker.internal": "host-gateway"}
        if self.entrypoint is not None:
            options["entrypoint"] = list(self.entrypoint)
        if self.working_dir is not None:
            options["working_dir"] = self.working_dir
        if self.user is not None:
            options["user"] = self.user
        return options


class Container:
    """One container of a run."""

    def __init__(self, client: docker.DockerClient, order: Order) -> None:
        self.name = order.name
        self._client = client
        self._container: EngineContainer | None = None
        self._away: str | None = None
        self._options = order.options()

    def start(self) -> None:
        """Start it without waiting."""
        from docker.errors import APIError

        try:
            if self._container is None:
                self._container = self._client.containers.create(**self._options)
            self._container.start()
        except APIError as error:
            raise _refused(self.name, error) from error

    def stop(self, timeout: float) -> None:
        """Send SIGTERM, and SIGKILL after `timeout` seconds."""
        self.resume()
        self._inner.stop(timeout=max(1, int(timeout)))

    def signal(self, name: str) -> None:
        self._inner.kill(signal=name)

    def kill(self, *, timeout: float = 10.0) -> None:
        from docker.errors import APIError

        if not self.is_running():
            return
        self.resume()
        try:
            self._inner.kill(signal="SIGKILL")
        except APIError as error:
            if error.status_code != 409:  # 409: it ended by itself
                raise
        self._inner.wait(timeout=timeout)

    def pause(self) -> None:
        if self._status() != "paused":
            self._inner.pause()

    def resume(self) -> None:
        if self._status() == "paused":
            self._inner.unpause()

    def disconnect(self) -> None:
        """Take it off its network. Its address is kept for `reconnect`."""
        if self._away is None:
            self._away = self.address()
            self._network().disconnect(self._inner)

    def reconnect(self) -> None:
        """Undo `disconnect`. Fails if another container got its address."""
        from docker.errors import APIError

        if self._away is None:
            return
        try:
            self._network().connect(self._inner, ipv4_address=self._away)
        except APIError as error:
            raise EngineError(
                f"the container {self.name} cannot go back to its network",
                looked_at=str(error),
                remedy="start no other container of a run while one is cut off",
            ) from error
        self._away = None

    def _network(self) -> Any:
        return self._client.networks.get(self._options["network"])

    def is_running(self) -> bool:
        return self._status() in {"running", "paused", "restarting"}

    def address(self) -> str:
        self._inner.reload()
        networks = self._inner.attrs["NetworkSettings"]["Networks"]
        return str(networks[self._options["network"]]["IPAddress"])

    def published(self) -> dict[int, int]:
        """Return ports inside to loopback ports here."""
        self._inner.reload()
        ports = self._inner.attrs["NetworkSettings"]["Ports"] or {}
        return {
            int(inside.partition("/")[0]): int(bindings[0]["HostPort"])
            for inside, bindings in ports.items()
            if bindings
        }

    def logs(self, *, tail: int | None = None) -> str:
        from docker.errors import APIError

        if self._container is None:
            return ""
        try:
            raw: bytes = self._container.logs(tail="all" if tail is None else tail)
        except APIError:
            return ""
        return raw.decode(errors="replace").rstrip("\n")

    def wait_until(self, ready: Callable[[], bool], what: str, *, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        looks, awaited = 0, Awaited(f"the container {self.name}, until {what}", timeout)
        while not ready():
            looks += 1
            awaited.still()
            # Asking the engine is ten times as slow as asking the server.
            if looks % 10 == 0 and not self.is_running():
                raise ServerDied(
                    f"the container {self.name} ended before {what}",
                    looked_at="its log:\n" + self.logs(tail=_TAIL),
                    remedy="fix what the log reports",
                )
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"waited {in_words(timeout)} for {self.name}: {what} did not come true",
                    looked_at=f"the container, which is {self._status()}, and its log:\n"
                    + self.logs(tail=_TAIL),
                    remedy="look at the log; give it more time with HARNESS_START_TIMEOUT",
                )
            time.sleep(0.01)

    def remove(self) -> None:
        from docker.errors import NotFound

        container, self._container = self._container, None
        self._away = None
        if container is not None:
            with contextlib.suppress(NotFound):  # a user removed it by hand
                container.remove(force=True, v=True)

    @property
    def _inner(self) -> EngineContainer:
        if self._container is None:
            raise EngineError(
                f"the container {self.name} was not started",
                looked_at="the docker engine",
                remedy="start it first",
            )
        return self._container

    def _status(self) -> str:
        from docker.errors import NotFound

        if self._container is None:
            return "gone"
        try:
            self._container.reload()
        except NotFound:
            return "gone"
        return self._container.status


def _refused(name: str, error: Exception) -> EngineError:
    text = str(error)
    if "port is already allocated" in text or "address already in use" in text:
        return PortTaken(
            f"a port of the container {name} is taken",
            looked_at=text,
            remedy="end what listens there, or choose another port",
        )
    return EngineError(
        f"the engine could not start the container {name}",
        looked_at=text,
        remedy="look at the engine's own log",
    )


def state_of(name: str, container: Any, *, node: bool, away: str) -> ServiceState:
    """Return a server's state. `away` says why the engine did not answer."""
    if container is None:
        return ServiceState(
            name=name, running=False, detail=away, node=node, aside=name == HOLDER_NAME
        )
    return ServiceState(
        name=name,
        running=container.status in {"running", "paused"},
        paused=container.status == "paused",
        detail=f"container {container.name}, {container.status}",
        node=node,
        aside=name == HOLDER_NAME,
    )


def log_lines(container: Any, tail: int | str, follow: bool) -> Iterator[str]:
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
