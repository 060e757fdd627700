"""What the stack of ``up`` is in containers: which services, on which ports, from which files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault_harness.addresses import base_url
from vault_harness.certificates import OPERATOR, TlsFiles
from vault_harness.engine._members import node_directory
from vault_harness.engine._ports import LOOPBACK, PortLease, listens, port_taken
from vault_harness.engine._probe import seal_status_url
from vault_harness.engine._provider import (
    BALANCER_NAME,
    HOLDER_NAME,
    NODE_NAME,
    PROXY_NAME,
    TLS_DIRECTORY,
    Endpoints,
    KnownServers,
    NodeEndpoint,
)
from vault_harness.engine.docker._balancer import STATUS_PORT, alive_path
from vault_harness.engine.docker._cloud import Told, in_compose
from vault_harness.engine.docker._compose import (
    BALANCER_FILE,
    FILES,
    LABEL_SERVICE,
    NODE_FILE,
)
from vault_harness.engine.docker._inside import (
    API_PORT,
    CLUSTER_PORT,
    CONFIGURATION_NAME,
    INSIDE,
)
from vault_harness.engine.docker._seal_files import mounts, seal_files
from vault_harness.settings import Settings, resources

NODES_FILE_NAME = "compose.nodes.json"
"""In the data directory of a cluster: its nodes but the first, for compose."""

HOLDER_FILE_NAME = "compose.holder.json"
"""In that of a stack whose seal's key a Vault of its own holds: that one, for compose."""

SEAL_FILE_NAME = "compose.seal.json"
"""In that of a stack that unseals itself: what each node finds its key by, for compose."""

OWN_FILE_NAMES = (NODES_FILE_NAME, HOLDER_FILE_NAME, SEAL_FILE_NAME)

TOXIPROXY = "toxiproxy"
_PROXY_PORT = 8201
_INSIDE_PROXY = f"[::]:{_PROXY_PORT}"  # as both servers report it

Place = tuple[str, int]
"""A service, and the port of its container."""

_VARIABLES: Mapping[Place, str] = {
    (NODE_NAME, API_PORT): "VAULT_PORT",
    (TOXIPROXY, 8474): "TOXIPROXY_PORT",
    (TOXIPROXY, _PROXY_PORT): "PROXY_PORT",
    (BALANCER_NAME, API_PORT): "BALANCER_PORT",
    (BALANCER_NAME, STATUS_PORT): "BALANCER_STATUS_PORT",
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The services of one stack.

    Attributes:
        data_dir: Of the stack.
        members: Names of its nodes, which are their services' names too.
        balanced: Whether a load balancer is in front of them.
        ports: Which port of this machine leads to which place.
        tls: What Vault speaks TLS with; None for plain HTTP.
    """

    data_dir: Path
    members: tuple[str, ...]
    balanced: bool
    ports: Mapping[Place, int]
    tls: TlsFiles | None = None

    @property
    def services(self) -> tuple[str, ...]:
        """All of them, in the order in which they are told of."""
        return services_of(self.members, balanced=self.balanced)

    def endpoints(self) -> Endpoints:
        """Where all of it is."""
        way = {
            "proxy": self._url(TOXIPROXY, _PROXY_PORT),
            "proxy_listen": _INSIDE_PROXY,
        }
        none = {"proxy": "", "proxy_listen": ""}
        nodes = tuple(
            NodeEndpoint(
                name=name,
                address=self._url(name, API_PORT),
                upstream=f"{name}:{API_PORT}",
                cluster=f"{name}:{CLUSTER_PORT}",
                **(none if self.balanced else way),
            )
            for name in self.members
        )
        front = None
        if self.balanced:
            front = NodeEndpoint(
                name=PROXY_NAME,
                address=self._url(BALANCER_NAME, API_PORT),
                upstream=f"{BALANCER_NAME}:{API_PORT}",
                **way,
            )
        return Endpoints(
            nodes=nodes,
            toxiproxy=base_url(f"{LOOPBACK}:{self.ports[TOXIPROXY, 8474]}"),
            balancer=front,
            ca_cert=self.tls.ca if self.tls else None,
        )

    def probes(self) -> dict[str, str]:
        """Of each service a URL that answers 200 once it serves."""
        found = {name: seal_status_url(self._url(name, API_PORT)) for name in self.members}
        if self.balanced:
            status = base_url(f"{LOOPBACK}:{self.ports[BALANCER_NAME, STATUS_PORT]}")
            found[BALANCER_NAME] = status + alive_path(self.members, self.tls)
        found[TOXIPROXY] = f"{self.endpoints().toxiproxy}/proxies/{PROXY_NAME}"
        return found

    def variables(self) -> dict[str, str]:
        """Of the compose files: where everything is."""
        ports = {
            variable: str(self.ports[place])
            for place, variable in _VARIABLES.items()
            if place in self.ports
        }
        return {**folders(self.data_dir, self.tls), **ports}

    def nodes_text(self) -> str:
        """The compose file of the nodes but the first, in JSON, which is YAML too."""
        return _file_of(
            {name: self._service(name) for name in self.members if name != NODE_NAME},
        )

    def seal_text(self, seal: Mapping[str, Any], cloud: Told | None = None) -> str:
        """The compose file of what each node finds its seal's key by.

        Args:
            seal: Their stanza.
            cloud: What they are told of the cloud that has the key.
        """
        files, variables = seal_files(seal), dict[str, str | None]()
        if cloud is not None:
            files, variables = {**files, **cloud.files}, in_compose(cloud)
        service: dict[str, Any] = {"volumes": mounts(files)}
        if variables:
            service["environment"] = variables
        return _file_of(dict.fromkeys(self.members, service))

    def _service(self, name: str) -> dict[str, Any]:
        port = self.ports[name, API_PORT]
        scheme = "${VAULT_SCHEME:-http}"
        return _node_service(node_directory(self.data_dir, name), port, scheme=scheme)

    def _url(self, service: str, inside: int) -> str:
        return base_url(f"{LOOPBACK}:{self.ports[service, inside]}", tls=self.tls is not None)


def _literal(path: Path) -> str:
    return str(path).replace("$", "$$")


def _file_of(services: Mapping[str, Any]) -> str:
    return json.dumps({"services": services}, indent=2) + "\n"


def _node_service(directory: Path, port: int, *, scheme: str) -> dict[str, Any]:
    return {
        "extends": {"file": _literal(resources() / NODE_FILE), "service": "node"},
        "environment": {"VAULT_API_ADDR": f"{scheme}://{LOOPBACK}:{port}"},
        "ports": [f"{LOOPBACK}:{port}:{API_PORT}"],
        "volumes": [f"{_literal(directory)}:{INSIDE}:z"],
    }


def holder_text(data_dir: Path, port: int) -> str:
    """The compose file of the Vault that holds the key of the other one, in plain HTTP.

    Args:
        data_dir: Of the stack.
        port: Of this machine, that leads to it.
    """
    service = _node_service(data_dir / HOLDER_NAME, port, scheme="http")
    # Of its health check, which the other one's may ask over TLS.
    tls = ("VAULT_CACERT", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY")
    service["environment"] |= {"VAULT_ADDR": base_url(f"{LOOPBACK}:{API_PORT}")}
    service["environment"] |= dict.fromkeys(tls, "")
    service["command"] = ["server", f"-config={INSIDE}/{CONFIGURATION_NAME}"]
    return _file_of({HOLDER_NAME: service})


def services_of(
    members: tuple[str, ...], *, balanced: bool, holder: bool = False
) -> tuple[str, ...]:
    """The services of a stack with these nodes.

    Args:
        members: Names of its nodes.
        balanced: Whether a load balancer is in front of them.
        holder: Whether a Vault of its own holds the key of their seal.
    """
    more = [*([BALANCER_NAME] if balanced else []), *([HOLDER_NAME] if holder else [])]
    return (*members, *more, TOXIPROXY)


def folders(data_dir: Path, tls: TlsFiles | None) -> dict[str, str]:
    """Variables of the compose files that need no engine to be known."""
    inside = f"{INSIDE}/{TLS_DIRECTORY}"
    over_tls = {"VAULT_SCHEME": "https", "NODE_CACERT": f"{inside}/ca.pem"}
    shown = {"NODE_CLIENT_CERT": f"{inside}/{OPERATOR}.pem"}
    return {
        "HARNESS_DATA_DIR": str(data_dir),
        "HARNESS_NODE_DIR": str(node_directory(data_dir, NODE_NAME)),
        "HARNESS_BALANCER_DIR": str(data_dir / BALANCER_NAME),
        "VAULT_CONFIG": f"{INSIDE}/{CONFIGURATION_NAME}",
        **(over_tls if tls else {}),
        **(shown if tls and tls.clients else {}),
    }


def compose_files(data_dir: Path) -> list[Path]:
    """Those that describe the stack of a data directory, in their order."""
    own = [path for name in OWN_FILE_NAMES if (path := data_dir / name).exists()]
    balanced = data_dir / NODES_FILE_NAME in own
    shared = [*FILES, *([BALANCER_FILE] if balanced else [])]
    return [*(resources() / name for name in shared), *own]


def choose_ports(
    settings: Settings,
    remembered: KnownServers,
    present: list[Any],
    members: tuple[str, ...],
    *,
    balanced: bool,
) -> dict[Place, int]:
    """The settings' ports, which must be free; for 0 those of last time, or free ones.

    What our own containers publish is asked of them: the memory of it may be lost.

    Args:
        settings: Which ports are asked for.
        remembered: Where everything was last.
        present: Our own containers.
        members: Names of the nodes.
        balanced: Whether clients are led by a load balancer, at the port of Vault then.

    Raises:
        PortTaken: Somebody else listens on one that was asked for.
    """
    front = (BALANCER_NAME if balanced else NODE_NAME, API_PORT)
    asked: dict[Place, tuple[int, str]] = {
        front: (settings.vault_port, "HARNESS_VAULT_PORT"),
        (TOXIPROXY, 8474): (settings.toxiproxy_port, "HARNESS_TOXIPROXY_PORT"),
        (TOXIPROXY, _PROXY_PORT): (settings.proxy_port, "HARNESS_PROXY_PORT"),
    }
    if balanced:
        asked |= {(name, API_PORT): (0, "") for name in members}
        asked[BALANCER_NAME, STATUS_PORT] = (0, "")
    ours, last = published(present), _last_ports(remembered, front)
    ports: dict[Place, int] = {}
    with contextlib.ExitStack() as leases:
        for place, (port, setting) in asked.items():
            if port and port != ours.get(place) and listens(port):
                raise port_taken(port, setting=setting)
            before = last.get(place, 0)
            if not port:
                free = before and before not in ports.values() and not listens(before)
                port = ours.get(place) or (before if free else 0)
            if not port:
                lease = PortLease()  # held until all are chosen, so that they differ
                leases.callback(lease.release)
                port = lease.port
            ports[place] = port
    return ports


def published(containers: list[Any]) -> dict[Place, int]:
    """Which ports of this machine lead into these containers, those that run."""
    found = {}
    for container in containers:
        for name, bindings in (container.attrs["NetworkSettings"].get("Ports") or {}).items():
            inside, _, protocol = name.partition("/")
            if bindings and protocol == "tcp":
                place = (service_of(container), int(inside))
                found[place] = int(bindings[0]["HostPort"])
    return found


def service_of(container: Any) -> str:
    """The service that a container is of."""
    return str(container.labels.get(LABEL_SERVICE))


def _last_ports(remembered: KnownServers, front: Place) -> dict[Place, int]:
    known = remembered.endpoints
    if known is None:
        return {}
    urls = {(TOXIPROXY, 8474): known.toxiproxy, (TOXIPROXY, _PROXY_PORT): known.proxy}
    if known.balancer is not None:
        urls |= {(node.name, API_PORT): node.address for node in known.nodes}
    urls[front] = known.vault  # clients keep their address, whoever is behind it
    return {place: int(url.rpartition(":")[2]) for place, url in urls.items()}
