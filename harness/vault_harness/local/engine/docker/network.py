"""The private network of a run, and Toxiproxy in it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from vault_harness.addresses import base_url
from vault_harness.errors import CapabilityMissing, EngineError
from vault_harness.local.engine.docker.container import LOOPBACK, Container
from vault_harness.local.engine.docker.labels import OwnerProcess
from vault_harness.local.engine.ports import answers, ask

if TYPE_CHECKING:
    import docker

# The host's name in a container, if the engine runs in a virtual machine.
_DESKTOP_HOST = "host.docker.internal"


class PrivateNetwork:
    """A bridge network for the containers of one run.

    Attributes:
        gateway: This machine's address on it.
        is_local: Whether the bridge is an interface here, so that this process can listen on the
            gateway and reach containers. False for an engine in a virtual machine or on another
            host.
    """

    def __init__(
        self, client: docker.DockerClient, run: OwnerProcess, *, outward: bool = True
    ) -> None:
        """Create it. Without `outward`, it reaches only containers and this machine."""
        from testcontainers.core.labels import create_labels

        self.name = f"vault-harness-{run.name}"
        # Ryuk, if it runs, removes networks by these labels.
        labels = create_labels("", run.labels(kind="network"))
        self._network: Any = _with_subnet_of_its_own(client, self.name, labels, outward=outward)
        self._network.reload()
        self.gateway: str = self._network.attrs["IPAM"]["Config"][0]["Gateway"].partition("/")[0]
        self.is_local = _can_bind(self.gateway)

    def bind_host(self) -> str:
        """Return the address that a port must bind so that containers reach it."""
        return self.gateway if self.is_local else "127.0.0.1"

    def reachable(self, port: int) -> str:
        """Return such a port's ``host:port`` for a container."""
        return f"{self.gateway if self.is_local else _DESKTOP_HOST}:{port}"

    def admit(self, container: str, *, name: str) -> None:
        """Connect another owner's container, by id, under a name for the run's containers."""
        from docker.errors import APIError

        try:
            self._network.connect(container, aliases=[name])
        except APIError as error:
            raise EngineError(
                f"{name} could not be put on the network of this run",
                looked_at=str(error),
                remedy=f"docker network inspect {self.name} says who is on it",
            ) from error

    def remove(self) -> None:
        """Remove it. If it is in use, the next sweep does."""
        from docker.errors import APIError

        with contextlib.suppress(APIError):
            self._network.remove()


def _with_subnet_of_its_own(
    client: docker.DockerClient, name: str, labels: dict[str, str], *, outward: bool
) -> Any:
    """Create a network with an explicit subnet, so that a container can keep its address.

    A first network, removed again, tells which subnet is free.
    """
    from docker.errors import APIError
    from docker.types import IPAMConfig, IPAMPool

    while True:
        try:
            asked = client.networks.create(
                name, driver="bridge", labels=labels, check_duplicate=True
            )
        except APIError as error:
            raise _refused(error) from error
        asked.reload()
        given = asked.attrs["IPAM"]["Config"][0]
        asked.remove()
        pool = IPAMPool(
            subnet=given["Subnet"],
            gateway=given["Gateway"].partition("/")[0],
            aux_addresses=None if outward else _nowhere(given["Subnet"]),
        )
        ipam = IPAMConfig(pool_configs=[pool])
        try:
            return client.networks.create(name, driver="bridge", labels=labels, ipam=ipam)
        except APIError as error:
            # 403, "Pool overlaps": another run got the subnet in between.
            if error.status_code != 403:
                raise


def _nowhere(subnet: str) -> dict[str, str]:
    """Return a default route to nowhere.

    An ``internal`` network would not do: its containers cannot publish ports.
    """
    last = ipaddress.ip_network(subnet).broadcast_address - 1
    return {"DefaultGatewayIPv4": str(last)}


def _refused(error: Exception) -> EngineError:
    return EngineError(
        "the container engine gives no network to this run",
        looked_at=str(error),
        remedy="each process that runs scenarios needs one, and an engine has about thirty: end "
        "other runs, use fewer processes (HARNESS_WORKERS), or look at docker network ls",
    )


def _can_bind(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


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
