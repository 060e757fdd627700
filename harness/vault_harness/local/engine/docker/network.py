"""The private network of a run."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING, Any

from vault_harness.errors import EngineError
from vault_harness.local.engine.docker.labels import OwnerProcess

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
