"""The private network of a run, and how this process and its containers reach each other."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING, Any

from vault_harness.engine.docker._labels import Run
from vault_harness.errors import EngineError

if TYPE_CHECKING:
    import docker

# How a container reaches its host's loopback where the engine runs in a virtual machine.
_DESKTOP_HOST = "host.docker.internal"


class PrivateNetwork:
    """A bridge that only the containers of one run are on.

    Attributes:
        name: The network's name.
        gateway: The address of this machine on it.
        is_local: Whether the bridge is an interface of this very machine, so that this process can
            listen on the gateway and reach a container at its own address. False with an engine in
            a virtual machine or on another host.
    """

    def __init__(self, client: docker.DockerClient, run: Run, *, outward: bool = True) -> None:
        """Create it.

        Args:
            client: The engine.
            run: Whose network it is.
            outward: Whether its containers reach more than each other and this machine's address
                on it: what this machine reaches.

        Raises:
            EngineError: The engine has no network left to give.
        """
        from testcontainers.core.labels import create_labels

        self.name = f"vault-harness-{run.name}"
        # Ryuk, where it runs, knows what to remove by the labels of testcontainers.
        labels = create_labels("", run.labels(kind="network"))
        self._network: Any = _with_subnet_of_its_own(client, self.name, labels, outward=outward)
        self._network.reload()
        self.gateway: str = self._network.attrs["IPAM"]["Config"][0]["Gateway"].partition("/")[0]
        self.is_local = _can_bind(self.gateway)

    def bind_host(self) -> str:
        """The address that a listener of this process must bind so that containers reach it."""
        return self.gateway if self.is_local else "127.0.0.1"

    def reachable(self, port: int) -> str:
        """``host:port`` by which a container reaches such a listener."""
        return f"{self.gateway if self.is_local else _DESKTOP_HOST}:{port}"

    def admit(self, container: str, *, name: str) -> None:
        """Let another container be on it too, until it is removed, and be known by a name.

        Args:
            container: Its id; a guest, which is left as it is.
            name: By which containers of the run reach it.

        Raises:
            EngineError: The engine refused.
        """
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
        """Remove it, or leave it to the next sweep where something still uses it."""
        from docker.errors import APIError

        with contextlib.suppress(APIError):
            self._network.remove()


def _with_subnet_of_its_own(
    client: docker.DockerClient, name: str, labels: dict[str, str], *, outward: bool
) -> Any:
    """A network whose subnet is said outright: only there a container may come back to its address.

    The engine is asked for a subnet that is free, by a network that is made and removed.

    Raises:
        EngineError: There is none.
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
            # 403, "Pool overlaps": another run was given it meanwhile; there are few of those.
            if error.status_code != 403:
                raise


def _nowhere(subnet: str) -> dict[str, str]:
    """A default route that leads to an address that nobody has.

    Not a network that the engine calls internal: ports of its containers cannot be published.
    """
    last = ipaddress.ip_network(subnet).broadcast_address - 1
    return {"DefaultGatewayIPv4": str(last)}


def _refused(error: Exception) -> EngineError:
    return EngineError(
        "the container engine gives no network to this run",
        looked_at=str(error),
        remedy="each process that runs scenarios needs one, and an engine has about thirty: end "
        "other runs, have fewer side by side (HARNESS_WORKERS), or look at docker network ls",
    )


def _can_bind(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True
