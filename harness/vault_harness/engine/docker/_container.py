"""A container with the verbs that nodes and Toxiproxy share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault_harness.errors import DeadlineExceeded, EngineError, PortTaken, ServerDied
from vault_harness.waiting import Awaited

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container as EngineContainer

LOOPBACK = "127.0.0.1"

# Lines of a server's log in an error: enough for a panic and what led to it.
_TAIL = 30


class Container:
    """One container of a run.

    Args:
        client: The engine.
        image: Its image.
        name: Unique on the engine; also its name on the network.
        network: The run's network.
        labels: The run's labels.
        command: Arguments of the entry point.
        entrypoint: In place of the image's own.
        publish: Ports inside to ports on this machine's loopback; 0 lets the engine choose.
        mounts: Directories here to paths inside, writable.
        files: Files here to paths inside, only to be read.
        user: ``uid:gid`` inside.
        environment: Variables.
        working_dir: Where the server runs, in place of the image's own.
        knows_host: Whether it can reach this machine by the name ``host.docker.internal``.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        image: str,
        *,
        name: str,
        network: str,
        labels: Mapping[str, str],
        command: Sequence[str],
        publish: Mapping[int, int],
        entrypoint: Sequence[str] | None = None,
        mounts: Mapping[Path, str] | None = None,
        files: Mapping[Path, str] | None = None,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        working_dir: str | None = None,
        knows_host: bool = False,
    ) -> None:
        from testcontainers.core.labels import create_labels

        self.name = name
        self._client = client
        self._container: EngineContainer | None = None
        self._away: str | None = None
        self._options: dict[str, Any] = {
            "image": image,
            "name": name,
            "network": network,
            # Ryuk, where it runs, knows what to remove by the labels of testcontainers.
            "labels": create_labels(image, dict(labels)),
            "command": list(command),
            "environment": dict(environment or {}),
            "ports": {
                f"{inside}/tcp": (LOOPBACK, outside or None) for inside, outside in publish.items()
            },
            # z: on a machine with SELinux the container may use it; elsewhere it means nothing.
            "volumes": {
                str(source): {"bind": target, "mode": f"{mode},z"}
                for mode, sources in (("rw", mounts), ("ro", files))
                for source, target in (sources or {}).items()
            },
            "cap_drop": ["ALL"],
            "cap_add": ["IPC_LOCK"],
            "security_opt": ["no-new-privileges:true"],
        }
        if knows_host:
            self._options["extra_hosts"] = {"host.docker.internal": "host-gateway"}
        if entrypoint is not None:
            self._options["entrypoint"] = list(entrypoint)
        if working_dir is not None:
            self._options["working_dir"] = working_dir
        if user is not None:
            self._options["user"] = user

    def start(self) -> None:
        """Create and start it at the first call, start it again at later ones. Does not wait.

        Raises:
            PortTaken: A published port is somebody else's.
            EngineError: The engine refused.
        """
        from docker.errors import APIError

        try:
            if self._container is None:
                self._container = self._client.containers.create(**self._options)
            self._container.start()
        except APIError as error:
            raise _refused(self.name, error) from error

    def stop(self, timeout: float) -> None:
        """SIGTERM, and SIGKILL when ``timeout`` seconds are over."""
        self.resume()
        self._inner.stop(timeout=max(1, int(timeout)))

    def signal(self, name: str) -> None:
        """Send a signal to the server."""
        self._inner.kill(signal=name)

    def kill(self, *, timeout: float = 10.0) -> None:
        """SIGKILL, and wait until it is gone."""
        from docker.errors import APIError

        if not self.is_running():
            return
        self.resume()
        try:
            self._inner.kill(signal="SIGKILL")
        except APIError as error:
            if error.status_code != 409:  # 409: it ended by itself meanwhile
                raise
        self._inner.wait(timeout=timeout)

    def pause(self) -> None:
        """Freeze every process in it."""
        if self._status() != "paused":
            self._inner.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        if self._status() == "paused":
            self._inner.unpause()

    def disconnect(self) -> None:
        """Take it off its network. It keeps its address in mind for `reconnect`."""
        if self._away is None:
            self._away = self.address()
            self._network().disconnect(self._inner)

    def reconnect(self) -> None:
        """Undo `disconnect`. Does nothing if it is on its network.

        Raises:
            EngineError: Its address was given to another container meanwhile.
        """
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
        """Whether the server lives, frozen or not."""
        return self._status() in {"running", "paused", "restarting"}

    def address(self) -> str:
        """Its own address on its network."""
        self._inner.reload()
        networks = self._inner.attrs["NetworkSettings"]["Networks"]
        return str(networks[self._options["network"]]["IPAddress"])

    def published(self) -> dict[int, int]:
        """Ports inside to ports on this machine's loopback, as they are now."""
        self._inner.reload()
        ports = self._inner.attrs["NetworkSettings"]["Ports"] or {}
        return {
            int(inside.partition("/")[0]): int(bindings[0]["HostPort"])
            for inside, bindings in ports.items()
            if bindings
        }

    def logs(self, *, tail: int | None = None) -> str:
        """What the server printed."""
        from docker.errors import APIError

        if self._container is None:
            return ""
        try:
            raw: bytes = self._container.logs(tail="all" if tail is None else tail)
        except APIError:
            return ""
        return raw.decode(errors="replace").rstrip("\n")

    def wait_until(self, ready: Callable[[], bool], what: str, *, timeout: float) -> None:
        """Look until ``ready()`` holds.

        Raises:
            ServerDied: The container ended first; the error bears its last words.
            DeadlineExceeded: It did not come true in time.
        """
        deadline = time.monotonic() + timeout
        looks, awaited = 0, Awaited(f"the container {self.name}, until {what}", timeout)
        while not ready():
            looks += 1
            awaited.still()
            # Asking the engine costs as much as ten looks at the server itself.
            if looks % 10 == 0 and not self.is_running():
                raise ServerDied(
                    f"the container {self.name} ended before {what}",
                    looked_at="its log:\n" + self.logs(tail=_TAIL),
                    remedy="mend what the log says",
                )
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"waited {timeout:g} s for {self.name}: {what} did not come true",
                    looked_at=f"the container, which is {self._status()}, and its log:\n"
                    + self.logs(tail=_TAIL),
                    remedy="look at the log; give it more time with HARNESS_START_TIMEOUT",
                )
            time.sleep(0.01)

    def remove(self) -> None:
        """Remove it and its anonymous volumes. May be called twice."""
        from docker.errors import NotFound

        container, self._container = self._container, None
        self._away = None
        if container is not None:
            with contextlib.suppress(NotFound):  # somebody removed it by hand
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
