"""Toxiproxy in a container."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Literal

from vault_harness.addresses import base_url
from vault_harness.errors import CapabilityMissing, EngineError
from vault_harness.local.engine.docker.container import LOOPBACK, Container
from vault_harness.local.engine.docker.network import PrivateNetwork
from vault_harness.local.engine.ports import answers, ask

API_PORT = 8474
POOL = range(20000, 20016)

# All interfaces: only the run's network and the published ports lead to them.
_EVERYWHERE = "0.0.0.0"  # noqa: S104 -- inside a container of our own


class DockerToxiproxy:
    """A Toxiproxy server in a container; see `ToxiproxyProcess`.

    Clients use its address on the run's network: behind a published port, ``docker-proxy`` accepts
    connections itself and hides refusals, resets and dropped packets. Ports are published only for
    an engine in a virtual machine or on another host.
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
        publish = {} if network.is_local else {API_PORT: port, **dict.fromkeys(POOL, 0)}
        self._container = make(publish, arguments)
        try:
            self._container.start()
            self._published = self._container.published()
            self._direct = self._container.address() if network.is_local else None
            self._container.wait_until(self._answers, "its API answered", timeout=start_timeout)
        except BaseException:
            self._container.remove()
            raise

    def __repr__(self) -> str:
        return f"<DockerToxiproxy {self._container.name} {self.api}>"

    @property
    def api(self) -> str:
        return base_url(self.reachable(f"{_EVERYWHERE}:{API_PORT}"))

    @property
    def flavour(self) -> Literal["embedded", "real"]:
        return self._flavour

    def listen(self) -> str:
        """Return a port of the pool that no proxy listens on."""
        with self._lock:
            used = self._used()
            # A port that was handed out is reserved, even without a proxy yet. If no other is left,
            # the oldest reservation ends first.
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
            f"all {len(POOL)} ports for proxies of {self._container.name} are in use",
            looked_at=f"GET {self.api}/proxies",
            remedy="delete proxies that are not needed any more",
        )

    def reachable(self, listen: str) -> str:
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

    def reachable_from_nodes(self, listen: str) -> str:
        """Return its name on the network, which stays the same after a restart."""
        return f"{self._container.name}:{listen.rpartition(':')[2]}"

    def disconnect(self) -> None:
        """Take it off the network: packets are dropped, also those to its API."""
        if self._direct is None:
            raise CapabilityMissing(
                "Toxiproxy cannot be cut off: the engine's relay would answer in its place",
                looked_at="the docker engine, which is not on this machine",
                remedy="use an engine on this machine for that",
            )
        self._container.disconnect()

    def reconnect(self) -> None:
        self._container.reconnect()

    def is_running(self) -> bool:
        return self._container.is_running()

    def stop(self) -> None:
        self._container.remove()

    close = stop

    def logs(self, *, tail: int | None = None) -> str:
        return self._container.logs(tail=tail)

    def _answers(self) -> bool:
        return answers(f"{self.api}/version")

    def _used(self) -> set[int]:
        answer = ask(f"{self.api}/proxies", timeout=5.0)
        proxies = json.loads(answer.body) if answer is not None else {}
        return {int(proxy["listen"].rpartition(":")[2]) for proxy in proxies.values()}
