"""Services, ports and compose files of the stack in containers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.certificates import OPERATOR, TlsFiles
from vault_harness.local.engine.docker.balancer import STATUS_PORT, alive_path
from vault_harness.local.engine.docker.cloud import Told, in_compose
from vault_harness.local.engine.docker.compose import BALANCER_FILE, FILES, LABEL_SERVICE, NODE_FILE
from vault_harness.local.engine.docker.inside import (
    API_PORT,
    CLUSTER_PORT,
    CONFIGURATION_NAME,
    INSIDE,
    mounts,
    seal_files,
)
from vault_harness.local.engine.members import node_directory
from vault_harness.local.engine.ports import (
    LOOPBACK,
    PortLease,
    listens,
    port_taken,
    seal_status_url,
)
from vault_harness.local.engine.provider import (
    BALANCER_NAME,
    HOLDER_NAME,
    NODE_NAME,
    PROXY_NAME,
    TLS_DIRECTORY,
    Endpoints,
    KnownServers,
    NodeEndpoint,
)
from vault_harness.settings import Settings, resources

NODES_FILE_NAME = "compose.nodes.json"
"""Compose file of all nodes except the first."""

HOLDER_FILE_NAME = "compose.holder.json"
"""Compose file of the Vault that holds the seal's key."""

SEAL_FILE_NAME = "compose.seal.json"
"""Compose file with the key files of a stack that unseals itself."""

OWN_FILE_NAMES = (NODES_FILE_NAME, HOLDER_FILE_NAME, SEAL_FILE_NAME)

TOXIPROXY = "toxiproxy"
_PROXY_PORT = 8201
_INSIDE_PROXY = f"[::]:{_PROXY_PORT}"  # as both servers report it

Place = tuple[str, int]
"""A service, and a port inside."""

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
        members: Names of the nodes, also of their services.
        balanced: Whether a load balancer is in front of them.
        ports: On this machine.
        tls: None for plain HTTP.
    """

    data_dir: Path
    members: tuple[str, ...]
    balanced: bool
    ports: Mapping[Place, int]
    tls: TlsFiles | None = None

    @property
    def services(self) -> tuple[str, ...]:
        """In the order in which users see them."""
        return services_of(self.members, balanced=self.balanced)

    def endpoints(self) -> Endpoints:
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
        """Return each service's URL that answers 200 once it serves."""
        found = {name: seal_status_url(self._url(name, API_PORT)) for name in self.members}
        if self.balanced:
            status = base_url(f"{LOOPBACK}:{self.ports[BALANCER_NAME, STATUS_PORT]}")
            found[BALANCER_NAME] = status + alive_path(self.members, self.tls)
        found[TOXIPROXY] = f"{self.endpoints().toxiproxy}/proxies/{PROXY_NAME}"
        return found

    def variables(self) -> dict[str, str]:
        ports = {
            variable: str(self.ports[place])
            for place, variable in _VARIABLES.items()
            if place in self.ports
        }
        return {**folders(self.data_dir, self.tls), **ports}

    def nodes_text(self) -> str:
        """Return `NODES_FILE_NAME`, in JSON, a subset of YAML."""
        return _file_of(
            {name: self._service(name) for name in self.members if name != NODE_NAME},
        )

    def seal_text(self, seal: Mapping[str, Any], cloud: Told | None = None) -> str:
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
    """Return `HOLDER_FILE_NAME`. That Vault speaks plain HTTP."""
    service = _node_service(data_dir / HOLDER_NAME, port, scheme="http")
    # For its health check, without the TLS settings of the stack's Vault.
    tls = ("VAULT_CACERT", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY")
    service["environment"] |= {"VAULT_ADDR": base_url(f"{LOOPBACK}:{API_PORT}")}
    service["environment"] |= dict.fromkeys(tls, "")
    service["command"] = ["server", f"-config={INSIDE}/{CONFIGURATION_NAME}"]
    return _file_of({HOLDER_NAME: service})


def services_of(
    members: tuple[str, ...], *, balanced: bool, holder: bool = False
) -> tuple[str, ...]:
    more = [*([BALANCER_NAME] if balanced else []), *([HOLDER_NAME] if holder else [])]
    return (*members, *more, TOXIPROXY)


def folders(data_dir: Path, tls: TlsFiles | None) -> dict[str, str]:
    """Return the compose variables that do not depend on the engine."""
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
    """Return the settings' ports, which must be free; for 0 the last or free ones.

    Our own containers (`present`) tell their ports, because the record may be lost. A load balancer
    takes Vault's port.
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
                lease = PortLease()  # held until all are chosen, so that no two are equal
                leases.callback(lease.release)
                port = lease.port
            ports[place] = port
    return ports


def published(containers: list[Any]) -> dict[Place, int]:
    found = {}
    for container in containers:
        for name, bindings in (container.attrs["NetworkSettings"].get("Ports") or {}).items():
            inside, _, protocol = name.partition("/")
            if bindings and protocol == "tcp":
                place = (service_of(container), int(inside))
                found[place] = int(bindings[0]["HostPort"])
    return found


def service_of(container: Any) -> str:
    return str(container.labels.get(LABEL_SERVICE))


def _last_ports(remembered: KnownServers, front: Place) -> dict[Place, int]:
    known = remembered.endpoints
    if known is None:
        return {}
    urls = {(TOXIPROXY, 8474): known.toxiproxy, (TOXIPROXY, _PROXY_PORT): known.proxy}
    if known.balancer is not None:
        urls |= {(node.name, API_PORT): node.address for node in known.nodes}
    urls[front] = known.vault  # clients keep their address, whichever server gets it
    return {place: int(url.rpartition(":")[2]) for place, url in urls.items()}


def write_own_files(data_dir: Path, *, nodes: str | None, seal: str | None) -> None:
    """Write the compose files of nodes and seal.

    The order keeps two rules, even if interrupted: no node lacks its key, and the seal file names
    no node that the nodes file lacks, because Compose rejects a service without an image. `nodes`
    is None for a single node, `seal` for Shamir's seal.
    """
    paths = (data_dir / NODES_FILE_NAME, nodes), (data_dir / SEAL_FILE_NAME, seal)
    fewer = seal is None or _services(seal) < _services(_read(data_dir / SEAL_FILE_NAME))
    for path, text in reversed(paths) if fewer else paths:
        keep_file(path, text)


def keep_file(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
    else:
        files.write_private(path, text)


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return "{}"


def _services(text: str) -> set[str]:
    with contextlib.suppress(ValueError, LookupError, TypeError):
        return set(json.loads(text)["services"])
    return set()
