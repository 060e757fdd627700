"""Folders and addresses of the servers of a stack of processes. Runs nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from vault_harness.addresses import base_url
from vault_harness.local.engine.configuration import AUDIT_LOG_NAME
from vault_harness.local.engine.members import known_cluster, known_members, node_directory
from vault_harness.local.engine.ports import LOOPBACK, listens
from vault_harness.local.engine.process.balancer import CONFIGURATION_NAME as BALANCER_CONFIGURATION
from vault_harness.local.engine.provider import (
    BALANCER_NAME,
    HOLDER_NAME,
    NODE_NAME,
    NODES_DIRECTORY,
    PROXY_NAME,
    RECORDER_NAME,
    RELAY_NAME,
    Endpoints,
    KnownServers,
    NodeEndpoint,
    tls_files,
)

TOXIPROXY = "toxiproxy"
_TITLES = {
    NODE_NAME: "Vault",
    HOLDER_NAME: "the key holder's Vault",
    BALANCER_NAME: "HAProxy",
    RECORDER_NAME: "the HTTP recorder",
    RELAY_NAME: "the relay between nodes",
    TOXIPROXY: "Toxiproxy",
}
_CONFIGURATION = {
    BALANCER_NAME: BALANCER_CONFIGURATION,
    RECORDER_NAME: "recorder.json",
    RELAY_NAME: "relay.json",
    TOXIPROXY: "proxies.json",
}
_LOGS = {
    BALANCER_NAME: "haproxy.log",
    RECORDER_NAME: "recorder.log",
    RELAY_NAME: "relay.log",
    TOXIPROXY: "toxiproxy.log",
}


class Places:
    """Names, folders and addresses of the servers of a data directory.

    From the record, or from the servers' own files if the record is lost.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def _endpoints(self, record: KnownServers, members: Iterable[str]) -> Endpoints:
        toxiproxy, balancer = record.services[TOXIPROXY], record.services.get(BALANCER_NAME)
        listen = str(toxiproxy["listen"])
        tls = tls_files(self._data_dir)
        way = {"proxy": base_url(listen, tls=tls is not None), "proxy_listen": listen}
        none = {"proxy": "", "proxy_listen": ""}
        nodes = tuple(
            NodeEndpoint(
                name=name,
                address=base_url(self._known(name, record)[0], tls=tls is not None),
                upstream=self._known(name, record)[0],
                cluster=self._known(name, record)[1],
                **(none if balancer else way),
            )
            for name in members
        )
        front = None
        if balancer:
            at = str(balancer["listen"])
            address = base_url(at, tls=tls is not None)
            front = NodeEndpoint(name=PROXY_NAME, address=address, upstream=at, **way)
        return Endpoints(
            nodes=nodes,
            toxiproxy=str(toxiproxy["api"]),
            balancer=front,
            ca_cert=tls.ca if tls else None,
        )

    def _log_path(self, name: str) -> Path:
        if name == "audit":
            return self._directory(NODE_NAME) / AUDIT_LOG_NAME
        return self._directory(name) / log_name(name)

    def _is_cuttable(self, record: KnownServers) -> bool:
        return known_cluster(record, self._data_dir) and self._directory(RELAY_NAME).is_dir()

    def _known(self, name: str, record: KnownServers) -> tuple[str, str]:
        """Return a node's last ``host:port`` for clients and for nodes; empty if unknown."""
        service = record.services.get(name, {})
        if "upstream" in service:
            return str(service["upstream"]), str(service.get("cluster") or "")
        for node in record.endpoints.nodes if record.endpoints else ():
            if node.name == name:
                return node.upstream, node.cluster
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            configuration = json.loads(self._configuration(name).read_text())
            others = str(configuration["cluster_addr"]).rpartition("//")[2]
            return str(configuration["listener"]["tcp"]["address"]), others
        return "", ""

    def _names(self, record: KnownServers) -> list[str]:
        members = known_members(record, self._data_dir)
        balancer = [BALANCER_NAME] if known_cluster(record, self._data_dir) else []
        holder = [HOLDER_NAME] if record.seal == "transit" else []
        recorder = [RECORDER_NAME] if RECORDER_NAME in record.services else []
        relay = [RELAY_NAME] if self._is_cuttable(record) else []
        return [*relay, *members, *balancer, *holder, TOXIPROXY, *recorder]

    def _all_names(self, record: KnownServers) -> list[str]:
        """Return those names, and what a crashed start may have left."""
        folders = sorted(path.name for path in (self._data_dir / NODES_DIRECTORY).glob("*"))
        aside = (BALANCER_NAME, HOLDER_NAME, RECORDER_NAME, RELAY_NAME)
        return list(dict.fromkeys([*self._names(record), *folders, *aside]))

    def _directory(self, name: str) -> Path:
        if name in {HOLDER_NAME, *_CONFIGURATION}:
            return self._data_dir / name
        return node_directory(self._data_dir, name)

    def _configuration(self, name: str) -> Path:
        return self._directory(name) / configuration_name(name)


def title_of(name: str) -> str:
    return _TITLES.get(name, f"Vault {name}")


def keeps_nothing(name: str) -> bool:
    """Return whether a server can be replaced without loss: all except a Vault."""
    return name in _CONFIGURATION


def configuration_name(name: str) -> str:
    """Return the file on the server's command line, which identifies the process."""
    return _CONFIGURATION.get(name, "vault.json")


def log_name(name: str) -> str:
    return _LOGS.get(name, "vault.log")


def free_port_of(address: str) -> int:
    """Return a loopback address's port if it is free, else 0."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    return int(port) if host == LOOPBACK and not listens(int(port)) else 0
