"""The interface between an engine and the stack of ``invoke up``, which outlives its task.

An `Engine` makes servers that end with the harness. A `StackProvider` keeps one Vault and one
Toxiproxy running on fixed ports, with lasting data. `LocalStack` calls it under
a lock and does the work that is the same for all engines: keys, unsealing, seeding, messages.

`KnownServers` holds what must survive between two tasks. A provider loads it from a `Memory` and
saves it there. It fills ``endpoints``, and ``services`` in whatever form it needs to find its
servers again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from vault_harness import files
from vault_harness.certificates import TlsFiles
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.configuration import DATA_NAME
from vault_harness.local.engine.shape import Engine, EngineName

ServiceName = Literal["vault", "toxiproxy"]
SERVICES: tuple[ServiceName, ...] = ("vault", "toxiproxy")

NODES_DIRECTORY = "nodes"
"""Holds the folder of each node of a cluster except the first."""

HOLDER_NAME = "holder"
"""Name and folder of the Vault that holds the unseal key of another Vault."""

BALANCER_NAME = "balancer"
"""Name and folder of the load balancer in front of a cluster."""

RECORDER_NAME = "recorder"
"""Name and folder of the HTTP recorder, which runs only while a fault needs it."""

RELAY_NAME = "relay"
"""Name and folder of the relay through which nodes of a cuttable cluster reach each other."""

TLS_DIRECTORY = "tls"
"""Holds certificates and keys of a stack that speaks TLS; all nodes share it."""

_DIRECTORIES = (
    *("vault", NODES_DIRECTORY, BALANCER_NAME, HOLDER_NAME, RECORDER_NAME, RELAY_NAME),
    *("toxiproxy", "services", TLS_DIRECTORY),
)

NODE_NAME = "vault"
"""The stack's first node and its raft node id. All engines share its data, so the name is fixed."""

PROXY_NAME = "vault"
"""Name of the Toxiproxy proxy in front of the stack's Vault."""


@dataclass(frozen=True, kw_only=True)
class NodeEndpoint:
    """The addresses of one node of a started stack.

    Attributes:
        name: Name of the node, and of its Toxiproxy proxy.
        proxy: Base URL through Toxiproxy on this machine; empty if the node has no proxy of its
            own.
        proxy_listen: ``host:port`` that its proxy listens on, as Toxiproxy sees it.
        upstream: ``host:port`` of the node, as Toxiproxy sees it.
        cluster: ``host:port`` at which other nodes reach it.
    """

    name: str
    address: str
    proxy: str
    proxy_listen: str
    upstream: str
    cluster: str = ""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """The addresses of a started stack.

    Attributes:
        balancer: The load balancer that leads to the active node; None without one.
        ca_cert: CA certificates for checking its certificates; None for plain HTTP.
    """

    nodes: tuple[NodeEndpoint, ...]
    toxiproxy: str
    balancer: NodeEndpoint | None = None
    ca_cert: Path | None = None

    @property
    def node(self) -> NodeEndpoint:
        """The first node, or the only one."""
        return self.nodes[0]

    @property
    def addresses(self) -> list[str]:
        """The base URL of each node."""
        return [node.address for node in self.nodes]

    @property
    def targets(self) -> tuple[NodeEndpoint, ...]:
        """The targets of Toxiproxy's proxies: the balancer, or each node if there is none."""
        return self.nodes if self.balancer is None else (self.balancer,)

    @property
    def vault(self) -> str:
        """The base URL of Vault: the balancer's, or the only node's."""
        return self.targets[0].address

    @property
    def proxy(self) -> str:
        """The base URL of Vault through Toxiproxy."""
        return self.targets[0].proxy


@dataclass
class KnownServers:
    """What tasks know of servers that an earlier task started. Contains no secrets.

    Attributes:
        engine: The engine that runs them; None if nothing was ever started.
        services: What the provider needs to find them again; empty after a stop.
        seal: A `vault_harness.local.engine.seal.SealKind`.
    """

    engine: EngineName | None = None
    endpoints: Endpoints | None = None
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    seal: str = "shamir"
    tls: bool = False
    client_certs: bool = False


class Memory(Protocol):
    """Keeps what a provider knows between two tasks."""

    def load(self) -> KnownServers:
        """Return what was saved last, or an empty record."""

    def save(self, known: KnownServers) -> None:
        """Save the record atomically."""


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """The state of one server of the stack.

    Attributes:
        running: Whether its process or container runs; it may still not answer.
        paused: Whether it is frozen: it keeps its sockets and answers nothing.
        detail: What a user would look for: ``pid 4711``, ``container vault-harness-vault-1``.
        node: Whether it is a Vault server. One running node is enough.
        aside: Whether clients reach Vault without this server.
        replaced: Whether the data on disk was replaced under a running Vault, which still
            uses the deleted files. False if unknown.
    """

    name: str
    running: bool
    detail: str
    paused: bool = False
    node: bool = False
    aside: bool = False
    replaced: bool = False

    @property
    def serves(self) -> bool:
        """Whether it can answer."""
        return self.running and not self.paused


def lacking(services: Sequence[ServiceState]) -> list[str]:
    """Return the names of stopped or frozen servers without which nobody reaches Vault."""
    nodes = [service for service in services if service.node]
    enough = any(node.serves for node in nodes)
    return [s.name for s in services if not s.serves and not s.aside and not (s.node and enough)]


def tls_files(data_dir: Path) -> TlsFiles | None:
    """Return the TLS files of a stack, or None if it speaks plain HTTP."""
    found = TlsFiles.within(data_dir / TLS_DIRECTORY)
    return found if found.certificate.exists() and found.ca.exists() else None


def own_directories(data_dir: Path) -> list[Path]:
    """Return the directories that the servers of a stack use, under any engine."""
    return [data_dir / name for name in _DIRECTORIES if os.path.lexists(data_dir / name)]


def known_directories(data_dir: Path) -> list[str]:
    """Describe `own_directories` for a user. A symbolic link's target is not ours."""
    return [files.as_removed(directory) for directory in own_directories(data_dir)]


def holds_data(data_dir: Path) -> bool:
    """Return whether the data directory contains data of a Vault."""
    data = data_dir / SERVICES[0] / DATA_NAME
    return data.is_dir() and any(data.iterdir())


def remove_directories(data_dir: Path) -> list[str]:
    """Delete `own_directories` and return their descriptions."""
    told = known_directories(data_dir)
    for directory in own_directories(data_dir):
        if directory.is_symlink():
            directory.unlink()
        else:
            files.remove_directory(directory)
    return told


@dataclass(frozen=True, kw_only=True)
class RecorderEndpoint:
    """The addresses of the stack's HTTP recorder.

    Attributes:
        listen: ``host:port`` for Toxiproxy.
        api: Base URL of its control API.
    """

    listen: str
    api: str


@dataclass(frozen=True, kw_only=True)
class SealCheck:
    """The result of a successful seal check: the server read the stanza and used the key.

    Attributes:
        seal: The seal type that the server reports.
        server: Where the server program comes from.
        configuration: The configuration that the server started with, as text.
    """

    seal: str
    server: str
    configuration: str


class StackProvider(Protocol):
    """Keeps a Vault (raft storage) and a Toxiproxy running. Does not initialise Vault.

    It is made from `Settings` (ports, data directory) and a `Memory`. If `tls_files` exist, Vault
    speaks TLS with them. Each call may come from another process, so state lives only in the memory
    and in the servers. Each verb works in any state, also after an interrupt or a crash.
    """

    @property
    def name(self) -> EngineName:
        """The name of the engine, as in the memory."""

    def check_start(self, *, nodes: int = 1) -> None:
        """Check that `start` would not fail for a port that is taken. Changes nothing."""

    def start(self, *, nodes: int = 1) -> Endpoints:
        """Start what does not run, and wait until all servers answer (a sealed Vault answers).

        Keeps what runs. Saves before it returns. On failure it ends what this call started.

        `nodes` is the least number of nodes; more than one get a load balancer. A known cluster
        keeps all of its nodes.
        """

    def stop(self) -> list[str]:
        """End all servers, also those of a crashed `start`, and keep the data.

        Works on a full disk. Returns what was ended, for a user; empty if nothing ran.
        """

    def restart_vault(self) -> None:
        """Stop Vault with SIGTERM and start it at the same address. It is sealed afterwards."""

    def reload_vault(self) -> None:
        """Make each running Vault read its certificate again. Open connections stay."""

    def destroy(self) -> list[str]:
        """Stop everything, delete Vault's data, and return what was removed, for a user."""

    def belongings(self) -> list[str]:
        """Return what `destroy` would remove, including running servers, for a user."""

    def describe(self) -> list[ServiceState]:
        """Return the state of each server. Never raises because a server does not run."""

    def log_names(self) -> list[str]:
        """Return the names that `logs` accepts: each server, and ``audit``."""

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        """Yield the lines of a log, or its last `tail` lines; with `follow`, until interrupted."""

    @property
    def audit_path(self) -> Path | None:
        """The audit log of Vault's first node on this machine; None if it is not readable here."""

    @property
    def audit_paths(self) -> Mapping[str, Path]:
        """The audit log of each node, by name; empty if they are not readable here."""

    @property
    def server_audit_path(self) -> str | None:
        """The path of the audit log as the server sees it, for enabling it over the API."""

    # -- the nodes of a cluster, by `NodeEndpoint.name` --------------------------------------------

    def kill_node(self, name: str) -> list[str]:
        """Kill a node (SIGKILL) and return what was ended, for a user."""

    def start_node(self, name: str) -> None:
        """Start a stopped node at its old address. It is sealed afterwards."""

    def add_node(self) -> NodeEndpoint:
        """Start one more node, which has not joined yet, and add it to the balancer."""

    def remove_node(self, name: str) -> list[str]:
        """End a node that has left the cluster, and delete its data. Never the first node.

        Returns what was ended and removed, for a user.
        """

    # -- a node that is cut off from the other nodes, while clients still reach it -----------------

    def make_cuttable(self) -> None:
        """Make the next `start` create nodes that can be cut off. Refused while others run."""

    def cut_node(self, name: str, *, hears: bool = False, is_heard: bool = False) -> None:
        """Cut a running node off from all others, or change what still passes.

        With `hears` the node still receives from the others, with `is_heard` they receive from it.
        Nodes that cannot be cut off, or only in both directions, raise `CapabilityMissing`. A cut
        ends with the node's process or container: a node that starts again is connected.
        """

    def join_node(self, name: str) -> bool:
        """Undo `cut_node`. Return whether the node was cut off."""

    def cut_nodes(self) -> list[str]:
        """Return the names of the nodes that are cut off. Never raises for a stopped node."""

    # -- the seal, by the stanza in the data directory ---------------------------------------------

    def whose_server(self) -> tuple[Dialect, str]:
        """Return the product that the next start runs, and its origin for a user."""

    def start_holder(self) -> NodeEndpoint:
        """Start the Vault that holds the unseal key, or keep a running one.

        Waits until it answers, initialised or not. `stop` and `destroy` end it too.
        """

    def end_holder(self) -> list[str]:
        """End only the holder; return what was ended, for a user."""

    def end_vault(self) -> list[str]:
        """Stop only Vault, with SIGTERM; return what was ended, for a user."""

    def let_reach_holder(self, engine: Engine) -> None:
        """Let servers that an engine makes later reach the Vault that holds the key.

        They get the stanza of this stack and its address of the holder. Another engine than the
        stack's raises `CapabilityMissing`.
        """

    def let_ask_cloud(self, engine: Engine) -> None:
        """Let servers that an engine makes later use this stack's access to the cloud."""

    def check_seal(self, stanza: Mapping[str, Any]) -> SealCheck:
        """Let the server test a stanza of a cloud's seal, with throw-away storage.

        Raises:
            CapabilityMissing: The server does not know that seal.
            EngineError: The server rejects the stanza or cannot use the key.
        """

    # -- the HTTP recorder between Toxiproxy and Vault; `stop` and `destroy` end it too ------------

    def start_recorder(self) -> RecorderEndpoint:
        """Start the recorder and wait until it answers. Keeps a running one and its orders.

        An engine without a recorder raises `CapabilityMissing`.
        """

    def known_recorder(self) -> RecorderEndpoint | None:
        """Return the recorder that was started last and not ended; it may have died."""

    def stop_recorder(self) -> list[str]:
        """End and forget the recorder. Return what was ended, for a user."""
