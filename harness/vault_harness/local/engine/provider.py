"""The interface between an engine and the stack of ``invoke up``, which outlives its task.

An `Engine` makes servers that end with the harness. A `StackProvider` keeps one Vault and one
Toxiproxy on fixed ports, with lasting data. `LocalStack` calls it under a lock and does what is the
same for all engines: keys, unsealing, seeding, messages.
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
"""Holds the folders of all nodes except the first."""

HOLDER_NAME = "holder"
"""The Vault that holds another Vault's unseal key."""

BALANCER_NAME = "balancer"

RECORDER_NAME = "recorder"
"""Runs only while a fault needs it."""

RELAY_NAME = "relay"
"""Between the nodes of a cuttable cluster."""

TLS_DIRECTORY = "tls"
"""Certificates and keys, shared by all nodes."""

_DIRECTORIES = (
    *("vault", NODES_DIRECTORY, BALANCER_NAME, HOLDER_NAME, RECORDER_NAME, RELAY_NAME),
    *("toxiproxy", "services", TLS_DIRECTORY),
)

NODE_NAME = "vault"
"""Also the raft node id. All engines share its data, so the name is fixed."""

PROXY_NAME = "vault"


@dataclass(frozen=True, kw_only=True)
class NodeEndpoint:
    """The addresses of one node.

    Attributes:
        name: Also of its Toxiproxy proxy.
        proxy: Base URL through Toxiproxy; empty without a proxy of its own.
        proxy_listen: Where its proxy listens, as Toxiproxy sees it.
        upstream: ``host:port``, as Toxiproxy sees it.
        cluster: ``host:port`` for other nodes.
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
        ca_cert: None for plain HTTP.
    """

    nodes: tuple[NodeEndpoint, ...]
    toxiproxy: str
    balancer: NodeEndpoint | None = None
    ca_cert: Path | None = None

    @property
    def node(self) -> NodeEndpoint:
        return self.nodes[0]

    @property
    def addresses(self) -> list[str]:
        return [node.address for node in self.nodes]

    @property
    def targets(self) -> tuple[NodeEndpoint, ...]:
        """What Toxiproxy leads to: the balancer, or each node."""
        return self.nodes if self.balancer is None else (self.balancer,)

    @property
    def vault(self) -> str:
        """The balancer's base URL, or the only node's."""
        return self.targets[0].address

    @property
    def proxy(self) -> str:
        return self.targets[0].proxy


@dataclass
class KnownServers:
    """What tasks know of servers that an earlier task started. Contains no secrets.

    Attributes:
        engine: None if nothing was ever started.
        services: What the provider needs to find its servers, in its own form; empty after a stop.
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
        """Save it atomically."""


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """The state of one server.

    Attributes:
        running: Whether its process or container runs; it may still not answer.
        paused: It keeps its sockets and answers nothing.
        detail: For users: ``pid 4711``, ``container vault-harness-vault-1``.
        node: Whether it is a Vault. One running node is enough.
        aside: Whether clients reach Vault without it.
        replaced: The data was replaced under a running Vault, which still uses the deleted files.
            False if unknown.
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
        return self.running and not self.paused


def lacking(services: Sequence[ServiceState]) -> list[str]:
    """Return the stopped or frozen servers without which nobody reaches Vault."""
    nodes = [service for service in services if service.node]
    enough = any(node.serves for node in nodes)
    return [s.name for s in services if not s.serves and not s.aside and not (s.node and enough)]


def tls_files(data_dir: Path) -> TlsFiles | None:
    """Return the TLS files, or None for plain HTTP."""
    found = TlsFiles.within(data_dir / TLS_DIRECTORY)
    return found if found.certificate.exists() and found.ca.exists() else None


def own_directories(data_dir: Path) -> list[Path]:
    """Return the directories that servers use under any engine."""
    return [data_dir / name for name in _DIRECTORIES if os.path.lexists(data_dir / name)]


def known_directories(data_dir: Path) -> list[str]:
    """Describe `own_directories`. A symbolic link's target is not ours."""
    return [files.as_removed(directory) for directory in own_directories(data_dir)]


def holds_data(data_dir: Path) -> bool:
    data = data_dir / SERVICES[0] / DATA_NAME
    return data.is_dir() and any(data.iterdir())


def remove_directories(data_dir: Path) -> list[str]:
    told = known_directories(data_dir)
    for directory in own_directories(data_dir):
        if directory.is_symlink():
            directory.unlink()
        else:
            files.remove_directory(directory)
    return told


@dataclass(frozen=True, kw_only=True)
class RecorderEndpoint:
    """The addresses of the HTTP recorder.

    Attributes:
        listen: ``host:port`` for Toxiproxy.
    """

    listen: str
    api: str


@dataclass(frozen=True, kw_only=True)
class SealCheck:
    """A successful seal check: the server read the stanza and used the key.

    Attributes:
        seal: The type that the server reports.
    """

    seal: str
    server: str
    configuration: str


class StackProvider(Protocol):
    """Keeps a Vault (raft storage) and a Toxiproxy running. Does not initialise Vault.

    If `tls_files` exist, Vault speaks TLS with them. Each call may come from another process, so
    state lives only in the `Memory` and in the servers. Each verb works in any state, also after a
    crash. A returned list tells a user what was ended or removed.
    """

    @property
    def name(self) -> EngineName:
        """The engine's name."""

    def check_start(self, *, nodes: int = 1) -> None:
        """Refuse a start for which a port is taken. Changes nothing."""

    def start(self, *, nodes: int = 1) -> Endpoints:
        """Start what does not run, and wait until all answer (a sealed Vault answers).

        Saves before it returns. On failure it ends what this call started. `nodes` is the least
        number; more than one get a load balancer. A known cluster keeps all its nodes.
        """

    def stop(self) -> list[str]:
        """End all servers, also after a crashed `start` or on a full disk. Keeps the data."""

    def restart_vault(self) -> None:
        """Restart Vault (SIGTERM) at the same address. With Shamir's seal it is sealed then."""

    def reload_vault(self) -> None:
        """Make each running Vault read its certificate again. Connections stay."""

    def destroy(self) -> list[str]:
        """Stop everything and delete Vault's data."""

    def belongings(self) -> list[str]:
        """Return what `destroy` would remove."""

    def describe(self) -> list[ServiceState]:
        """Return the state of each server."""

    def log_names(self) -> list[str]:
        """Return what `logs` accepts: each server, and ``audit``."""

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        """Yield a log's lines; with `follow`, until interrupted."""

    @property
    def audit_path(self) -> Path | None:
        """The first node's audit log, if it is readable here."""

    @property
    def audit_paths(self) -> Mapping[str, Path]:
        """Each node's audit log, by name; empty if not readable here."""

    @property
    def server_audit_path(self) -> str | None:
        """The audit log as the server sees it."""

    # -- the nodes of a cluster, by `NodeEndpoint.name` --------------------------------------------

    def kill_node(self, name: str) -> list[str]:
        """Kill a node (SIGKILL)."""

    def start_node(self, name: str) -> None:
        """Start a stopped node at its old address. With Shamir's seal it is sealed then."""

    def add_node(self) -> NodeEndpoint:
        """Start one more node, not joined yet, and add it to the balancer."""

    def remove_node(self, name: str) -> list[str]:
        """End a node that has left the cluster, and delete its data. Never the first."""

    # -- a node that is cut off from the other nodes, while clients still reach it -----------------

    def make_cuttable(self) -> None:
        """Make the next `start` create nodes that can be cut off. Refused while others run."""

    def cut_node(self, name: str, *, hears: bool = False, is_heard: bool = False) -> None:
        """Cut a running node off from all others, or change what still passes.

        With `hears` it still receives, with `is_heard` the others receive from it. Raises
        `CapabilityMissing` if the engine cannot. A node that starts again is connected.
        """

    def join_node(self, name: str) -> bool:
        """Undo `cut_node`. Return whether the node was cut off."""

    def cut_nodes(self) -> list[str]:
        """Return the nodes that are cut off. Never raises for a stopped node."""

    # -- the seal, by the stanza in the data directory ---------------------------------------------

    def whose_server(self) -> tuple[Dialect, str]:
        """Return the product of the next start, and its origin."""

    def start_holder(self) -> NodeEndpoint:
        """Start or keep the Vault that holds the unseal key. `stop` ends it too.

        Waits until it answers, initialised or not.
        """

    def end_holder(self) -> list[str]:
        """End only the holder."""

    def end_vault(self) -> list[str]:
        """Stop only Vault, with SIGTERM."""

    def let_reach_holder(self, engine: Engine) -> None:
        """Let servers that an engine makes later reach the holder of the key.

        Another engine than the stack's raises `CapabilityMissing`.
        """

    def let_ask_cloud(self, engine: Engine) -> None:
        """Let servers that an engine makes later use the stack's cloud access."""

    def check_seal(self, stanza: Mapping[str, Any]) -> SealCheck:
        """Let a throw-away server test a cloud seal's stanza.

        Raises:
            CapabilityMissing: The server does not know that seal.
            EngineError: It rejects the stanza or cannot use the key.
        """

    # -- the HTTP recorder between Toxiproxy and Vault; `stop` and `destroy` end it too ------------

    def start_recorder(self) -> RecorderEndpoint:
        """Start the recorder, or keep a running one and its orders.

        An engine without a recorder raises `CapabilityMissing`.
        """

    def known_recorder(self) -> RecorderEndpoint | None:
        """Return the last started recorder, unless it was ended; it may have died."""

    def stop_recorder(self) -> list[str]:
        """End and forget the recorder."""
