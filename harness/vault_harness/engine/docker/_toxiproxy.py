"""Toxiproxy in a container, with a pool of published ports for proxies to listen on."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Literal

from vault_harness.addresses import base_url
from vault_harness.engine._probe import answers, ask
from vault_harness.engine.docker._container import LOOPBACK, Container
from vault_harness.engine.docker._network import PrivateNetwork
from vault_harness.errors import EngineError

API_PORT = 8474
POOL = range(20000, 20016)

# All interfaces of the container: only the run's network and the published ports lead there.
_EVERYWHERE = "0.0.0.0"  # noqa: S104 -- inside a container of our own


class DockerToxiproxy:
    """A Toxiproxy server as a container; see `vault_harness.engine.ToxiproxyProcess`.

    Where the engine publishes ports through a relay of its own (``docker-proxy``, its default), a
    client of the published port never sees a refusal or a reset: the relay accepts whatever
    happens behind it. So `reachable` gives the published port only where the kernel forwards it,
    or where there is no other way, and else the container's own address on the run's network.
    """

    def __init__(
        self,
        *,
        flavour: Literal["embedded", "real"],
        make: Callable[[dict[int, int], list[str]], Container],
        network: PrivateNetwork,
        seed: int | None = None,
        port: int = 0,
        start_timeout: float = 15.0,
    ) -> None:
        self._flavour: Literal["embedded", "real"] = flavour
        self._network = network
        self._lock = threading.Lock()
        self._handed_out: list[int] = []
        arguments = [f"-host={_EVERYWHERE}", f"-port={API_PORT}"]
        if seed is not None:
            arguments.append(f"-seed={seed}")
        self._container = make({API_PORT: port, **dict.fromkeys(POOL, 0)}, arguments)
        try:
            self._container.start()
            self._published = self._container.published()
            self._container.wait_until(self._answers, "its API answered", timeout=start_timeout)
            self._direct = self._direct_address()
        except BaseException:
            self._container.remove()
            raise

    def __repr__(self) -> str:
        return f"<DockerToxiproxy {self._container.name} {self.api}>"

    @property
    def api(self) -> str:
        """Base URL of its HTTP API, on this machine's loopback."""
        return base_url(f"{LOOPBACK}:{self._published[API_PORT]}")

    @property
    def flavour(self) -> Literal["embedded", "real"]:
        """Which of the two servers it is."""
        return self._flavour

    @property
    def direct(self) -> str | None:
        """The container's own address, if clients use it; None if they use the published ports."""
        return self._direct

    def listen(self) -> str:
        """A port of the pool that no proxy listens on.

        Raises:
            EngineError: All of them are in use.
        """
        with self._lock:
            used = self._used()
            # A port handed out is a promise, even before the proxy is made; the oldest promise is
            # the first to be taken for forgotten.
            for port in [
                *(port for port in POOL if port not in self._handed_out),
                *self._handed_out,
            ]:
                if port in used:
                    continue
                if port in self._handed_out:
                    self._handed_out.remove(port)
                self._handed_out.append(port)
                return f"{_EVERYWHERE}:{port}"
        raise EngineError(
            f"all {len(POOL)} published ports of {self._container.name} are in use",
            looked_at=f"GET {self.api}/proxies",
            remedy="delete proxies that are not needed any more",
        )

    def reachable(self, listen: str) -> str:
        """How a client on this machine reaches a proxy that listens on ``listen``.

        Raises:
            EngineError: That port is not of the pool.
        """
        port = int(listen.rpartition(":")[2])
        if self._direct is not None:
            return f"{self._direct}:{port}"
        if port not in self._published:
            raise EngineError(
                f"port {port} of {self._container.name} is not published",
                looked_at=f"the published ports {POOL.start} to {POOL.stop - 1}",
                remedy="let the proxy listen where `listen()` says",
            )
        return f"{LOOPBACK}:{self._published[port]}"

    def is_running(self) -> bool:
        """Whether it lives."""
        return self._container.is_running()

    def stop(self) -> None:
        """End it and remove its container. Does nothing if it does not run."""
        self._container.remove()

    close = stop

    def logs(self, *, tail: int | None = None) -> str:
        """What it printed."""
        return self._container.logs(tail=tail)

    def _direct_address(self) -> str | None:
        if not self._network.is_local or not _accepts(LOOPBACK, self._published[POOL[0]]):
            return None
        # Nobody listens on that port yet, and still it accepted: a relay is in the way.
        address = self._container.address(self._network.name)
        return address if _accepts(address, API_PORT) else None

    def _answers(self) -> bool:
        return answers(f"{self.api}/version")

    def _used(self) -> set[int]:
        answer = ask(f"{self.api}/proxies", timeout=5.0)
        proxies = json.loads(answer.body) if answer is not None else {}
        return {int(proxy["listen"].rpartition(":")[2]) for proxy in proxies.values()}


def _accepts(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0
