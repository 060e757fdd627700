"""A container with the verbs that nodes and Toxiproxy share, through testcontainers."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault_harness.errors import DeadlineExceeded, EngineError, PortTaken, ServerDied

if TYPE_CHECKING:
    from docker.models.containers import Container as EngineContainer

LOOPBACK = "127.0.0.1"

# Lines of a server's log in an error: enough for a panic and what led to it.
_TAIL = 30


class Container:
    """One container of a run.

    Args:
        image: Its image.
        name: Unique on the engine; also its name on the network.
        network: The run's network.
        labels: The run's labels.
        command: Arguments of the entry point.
        entrypoint: In place of the image's own.
        publish: Ports inside to ports on this machine's loopback; 0 lets the engine choose.
        mounts: Directories here to paths inside, writable.
        user: ``uid:gid`` inside.
        environment: Variables.
        working_dir: Where the server runs, in place of the image's own.
        knows_host: Whether it can reach this machine by the name ``host.docker.internal``.
    """

    def __init__(
        self,
        image: str,
        *,
        name: str,
        network: str,
        labels: Mapping[str, str],
        command: Sequence[str],
        publish: Mapping[int, int],
        entrypoint: Sequence[str] | None = None,
        mounts: Mapping[Path, str] | None = None,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        working_dir: str | None = None,
        knows_host: bool = False,
    ) -> None:
        from testcontainers.core.container import DockerContainer

        self.name = name
        options: dict[str, Any] = {
            "network": network,
            "labels": dict(labels),
            "cap_drop": ["ALL"],
            "cap_add": ["IPC_LOCK"],
            "security_opt": ["no-new-privileges:true"],
        }
        if knows_host:
            options["extra_hosts"] = {"host.docker.internal": "host-gateway"}
        if entrypoint is not None:
            options["entrypoint"] = list(entrypoint)
        if working_dir is not None:
            options["working_dir"] = working_dir
        if user is not None:
            options["user"] = user
        with warnings.catch_warnings():
            # Its decorators and its import of a deprecated module are not this project's to mend.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._wrapper = DockerContainer(image, env=dict(environment or {}), name=name)
        self._wrapper.with_kwargs(**options).with_command(list(command))
        for source, target in (mounts or {}).items():
            # z: on a machine with SELinux the container may use it; elsewhere it means nothing.
            self._wrapper.with_volume_mapping(source, target, "rw,z")
        # testcontainers would publish on every interface; a pair names the one.
        ports: dict[str, Any] = self._wrapper.ports
        ports.update(
            {f"{inside}/tcp": (LOOPBACK, outside or None) for inside, outside in publish.items()}
        )
        self._started = False

    def start(self) -> None:
        """Create and start it at the first call, start it again at later ones. Does not wait.

        Raises:
            PortTaken: A published port is somebody else's.
            EngineError: The engine refused.
        """
        from docker.errors import APIError

        try:
            if self._started:
                self._inner.start()
            else:
                self._started = True
                self._wrapper.start()
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

    def is_running(self) -> bool:
        """Whether the server lives, frozen or not."""
        return self._status() in {"running", "paused", "restarting"}

    def address(self, network: str) -> str:
        """Its own address on a network."""
        self._inner.reload()
        return str(self._inner.attrs["NetworkSettings"]["Networks"][network]["IPAddress"])

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

        if not self._started:
            return ""
        try:
            raw: bytes = self._inner.logs(tail="all" if tail is None else tail)
        except (APIError, EngineError):
            return ""
        return raw.decode(errors="replace").rstrip("\n")

    def wait_until(self, ready: Callable[[], bool], what: str, *, timeout: float) -> None:
        """Look until ``ready()`` holds.

        Raises:
            ServerDied: The container ended first; the error bears its last words.
            DeadlineExceeded: It did not come true in time.
        """
        deadline = time.monotonic() + timeout
        looks = 0
        while not ready():
            looks += 1
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

        if not self._started:
            self._wrapper.get_docker_client().client.close()
            return
        try:
            self._wrapper.stop(force=True, delete_volume=True)
        except NotFound:
            pass  # somebody removed it by hand
        finally:
            self._started = False

    @property
    def _inner(self) -> EngineContainer:
        return self._wrapper.get_wrapped_container()

    def _status(self) -> str:
        from docker.errors import NotFound
        from testcontainers.core.exceptions import ContainerStartException

        try:
            self._inner.reload()
        except (NotFound, ContainerStartException):
            return "gone"
        return self._inner.status


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
