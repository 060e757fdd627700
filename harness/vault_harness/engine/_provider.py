"""What an engine must do for the stack of ``invoke up``, which outlives the task that made it.

An `Engine` makes servers that die with the harness; a `StackProvider` keeps one Vault and one
Toxiproxy running on fixed ports, with data that survives. `vault_harness.stack.LocalStack` calls
it, holds the lock while it does, and does everything that is the same for all engines: keys,
unsealing, seeding, messages.

What must survive between two tasks is `KnownServers`, which a provider loads from and saves to the
`Memory` that it is given. A provider writes ``services`` in whatever form it needs to find its
servers again, and ``endpoints``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from vault_harness import files
from vault_harness.certificates import TlsFiles
from vault_harness.engine._configuration import DATA_NAME
from vault_harness.engine._shape import EngineName

ServiceName = Literal["vault", "toxiproxy"]
SERVICES: tuple[ServiceName, ...] = ("vault", "toxiproxy")

NODES_DIRECTORY = "nodes"
"""Where each node of a cluster but the first has its folder."""

HOLDER_NAME = "holder"
"""The Vault that holds the key of one that unseals itself, and its folder."""

BALANCER_NAME = "balancer"
"""The load balancer in front of a cluster, and its folder."""

RECORDER_NAME = "recorder"
"""The HTTP recorder, for faults of single requests, and its folder; there only while it is used."""

RELAY_NAME = "relay"
"""What the nodes of a cluster that can be cut off reach each other by, and its folder."""

TLS_DIRECTORY = "tls"
"""What the servers of a stack that speaks TLS show, and their clients trust; one for all nodes."""

_DIRECTORIES = (
    *("vault", NODES_DIRECTORY, BALANCER_NAME, HOLDER_NAME, RECORDER_NAME, RELAY_NAME),
    *("toxiproxy", "services", TLS_DIRECTORY),
)

NODE_NAME = "vault"
"""The stack's first node and its raft node id: the same in every engine, which share its data."""

PROXY_NAME = "vault"
"""Name of the Toxiproxy proxy in front of the stack's Vault."""


@dataclass(frozen=True, kw_only=True)
class NodeEndpoint:
    """Where one node of a started stack is.

    Attributes:
        name: Of the node, and of the Toxiproxy proxy in front of it.
        address: Base URL for this machine.
        proxy: Base URL through Toxiproxy for this machine; empty where none leads to it alone.
        proxy_listen: ``host:port`` that its proxy listens on, as Toxiproxy sees it.
        upstream: ``host:port`` of the node, as Toxiproxy sees it.
        cluster: ``host:port`` by which other nodes reach it.
    """

    name: str
    address: str
    proxy: str
    proxy_listen: str
    upstream: str
    cluster: str = ""


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where a started stack is.

    Attributes:
        nodes: Its Vault servers; one, but for a cluster.
        toxiproxy: Base URL of Toxiproxy's API for this machine.
        balancer: The load balancer that leads to whichever node is active; None without one.
        ca_cert: The CA certificates that its certificates are checked with; None for plain HTTP.
    """

    nodes: tuple[NodeEndpoint, ...]
    toxiproxy: str
    balancer: NodeEndpoint | None = None
    ca_cert: Path | None = None

    @property
    def node(self) -> NodeEndpoint:
        """The first node, which is the only one of a cluster of one."""
        return self.nodes[0]

    @property
    def addresses(self) -> list[str]:
        """Base URL of each node."""
        return [node.address for node in self.nodes]

    @property
    def ways(self) -> tuple[NodeEndpoint, ...]:
        """What Toxiproxy has a proxy for: the balancer, or without one each node."""
        return self.nodes if self.balancer is None else (self.balancer,)

    @property
    def vault(self) -> str:
        """Base URL at which Vault is asked: the balancer's, or the only node's."""
        return self.ways[0].address

    @property
    def proxy(self) -> str:
        """The same through Toxiproxy."""
        return self.ways[0].proxy


@dataclass
class KnownServers:
    """What tasks know of servers that an earlier task started. No secrets.

    Attributes:
        engine: Who runs them; None if nothing was ever started.
        endpoints: Where they are, or were last.
        services: What the provider needs to find them again; empty when they were stopped.
        seal: How Vault is sealed: a `vault_harness.engine.SealKind`.
        tls: Whether its Vault speaks TLS.
        client_certs: Whether it asks its clients for certificates.
    """

    engine: EngineName | None = None
    endpoints: Endpoints | None = None
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    seal: str = "shamir"
    tls: bool = False
    client_certs: bool = False


class Memory(Protocol):
    """Where a provider keeps what it knows between two tasks."""

    def load(self) -> KnownServers:
        """What was saved last, or an empty one.

        Raises:
            StackError: It cannot be read.
        """

    def save(self, known: KnownServers) -> None:
        """Keep it, so that after a crash there is the old content or the new.

        Args:
            known: What `load` gave, with changes, or a new one.

        Raises:
            OSError: The disk is full, or the like.
        """


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """One server of the stack.

    Attributes:
        name: Which.
        running: Whether its process or container runs; it may still not answer.
        paused: Whether it was frozen: it runs, keeps its sockets, and answers nothing.
        detail: What a person would look for: ``pid 4711``, ``container vault-harness-vault-1``.
        node: Whether it is a Vault server: of these one is enough.
        aside: Whether clients reach Vault without it.
        replaced: Whether it is a Vault under which the data in its folder was replaced: what it
            holds is in no folder. False where nobody can tell.
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
        """Whether it could answer."""
        return self.running and not self.paused


def lacking(services: Sequence[ServiceState]) -> list[str]:
    """Servers without which there is no way to Vault, and which do not serve, by name."""
    nodes = [service for service in services if service.node]
    enough = any(node.serves for node in nodes)
    return [s.name for s in services if not s.serves and not s.aside and not (s.node and enough)]


def tls_files(data_dir: Path) -> TlsFiles | None:
    """What the servers of a stack speak TLS with, or None where they speak plain HTTP."""
    found = TlsFiles.within(data_dir / TLS_DIRECTORY)
    return found if found.certificate.exists() and found.ca.exists() else None


def own_directories(data_dir: Path) -> list[Path]:
    """What the servers of a stack keep, whichever engine ran them."""
    return [data_dir / name for name in _DIRECTORIES if os.path.lexists(data_dir / name)]


def told_directories(data_dir: Path) -> list[str]:
    """The same for a person: one that is a link leads to what is not ours to delete."""
    return [files.as_removed(directory) for directory in own_directories(data_dir)]


def holds_data(data_dir: Path) -> bool:
    """Whether there is a Vault's data where a started server would look for it."""
    data = data_dir / SERVICES[0] / DATA_NAME
    return data.is_dir() and any(data.iterdir())


def remove_directories(data_dir: Path) -> list[str]:
    """Delete what the servers of a stack keep, whichever engine ran them; returns what it was."""
    told = told_directories(data_dir)
    for directory in own_directories(data_dir):
        if directory.is_symlink():
            directory.unlink()
        else:
            files.remove_directory(directory)
    return told


@runtime_checkable
class StackProvider(Protocol):
    """Keeps a Vault (raft storage, not initialised by it) and a Toxiproxy running.

    Made from `Settings`, which give ports and the data directory, and a `Memory`. Where
    `tls_files` are, Vault speaks TLS with them, and the addresses say so. Every call may
    come from another process than the one before, so nothing is remembered but in the memory and by
    the servers themselves. Each verb may be called in any state, again after an interrupt, and
    after a crash.
    """

    @property
    def name(self) -> EngineName:
        """Which engine it is; also what the memory says."""

    def check_start(self, *, nodes: int = 1) -> None:
        """See that `start` would not be refused for a port that is taken. Changes nothing.

        Raises:
            StackError: It would be for what runs.
            PortTaken: Somebody else listens on a port of the settings.
        """

    def start(self, *, nodes: int = 1) -> Endpoints:
        """Start what does not run, and wait until all servers answer (a sealed Vault answers).

        Keeps what runs. Saves before it returns. If it fails, it ends what this call started.

        Args:
            nodes: How many there shall be at least, with a load balancer in front if that is more
                than one. A cluster that is known stays one, with all of its nodes.

        Raises:
            CapabilityMissing: It cannot run a cluster.
            PortTaken: Somebody else listens on a port of the settings.
            EngineError: A server could not be run.
            DeadlineExceeded: A server does not answer in time.
        """

    def stop(self) -> list[str]:
        """End both servers, and whatever a crashed `start` left; keep the data.

        Works on a full disk too.

        Returns:
            What was ended, for a person; empty if nothing ran.
        """

    def restart_vault(self) -> None:
        """End Vault politely and start it again at the same address. It is sealed afterwards."""

    def reload_vault(self) -> None:
        """Make each Vault that runs read its certificate anew; connections that are open stay."""

    def destroy(self) -> list[str]:
        """`stop`, and delete Vault's data and whatever else this provider made.

        Returns:
            What was removed, for a person.
        """

    def belongings(self) -> list[str]:
        """What `destroy` would remove, servers that run included, for a person. Changes nothing.

        Raises:
            EngineUnavailable: The engine does not answer, so nobody can tell.
        """

    def describe(self) -> list[ServiceState]:
        """Each server's state. Never raises because something does not run."""

    def log_names(self) -> list[str]:
        """What `logs` takes: each server's name, and ``audit``."""

    def logs(self, name: str, *, tail: int | None = None, follow: bool = False) -> Iterator[str]:
        """Lines of a log, the last ``tail`` of them; with ``follow`` until interrupted.

        Args:
            name: One of `log_names`.
            tail: How many; None for all.
            follow: Go on.
        """

    @property
    def audit_path(self) -> Path | None:
        """Vault's audit log on this machine, or None where it cannot be read as a file.

        Of a cluster it is the first node's.
        """

    @property
    def audit_paths(self) -> Mapping[str, Path]:
        """The audit log of each node, by its name; none where they cannot be read as files."""

    @property
    def server_audit_path(self) -> str | None:
        """The same log by the name that the server knows it by, for enabling it over the API."""


@runtime_checkable
class ClusterProvider(StackProvider, Protocol):
    """A provider that can run a cluster. Nodes are named by `NodeEndpoint.name`."""

    def kill_node(self, name: str) -> list[str]:
        """End a node without a goodbye (SIGKILL); returns what was ended, for a person."""

    def start_node(self, name: str) -> None:
        """Start a node that does not run, at its old address. It is sealed afterwards."""

    def add_node(self) -> NodeEndpoint:
        """Start one more node, which is not a member yet, and tell the balancer of it."""

    def remove_node(self, name: str) -> list[str]:
        """End a node that is no member any more, and delete what it kept; never the first one.

        Returns:
            What was ended and removed, for a person.
        """


@runtime_checkable
class CuttingProvider(ClusterProvider, Protocol):
    """A provider that can cut a node off from the others, while clients reach it as before.

    It ends with the node's process or container at the latest, whatever is noted of it on disk, so
    that one that is started anew is cut off no more.
    """

    def make_cuttable(self) -> None:
        """See that the next `start` makes nodes that can be cut off; they stay so.

        Raises:
            CapabilityMissing: Not on this machine.
            StackError: Nodes run that cannot be.
        """

    def cut_node(self, name: str, *, hears: bool = False, is_heard: bool = False) -> None:
        """Cut a node off from all the others, or change what still passes.

        Args:
            name: Which; it runs.
            hears: What they send it passes all the same.
            is_heard: Likewise what it sends them.

        Raises:
            CapabilityMissing: These nodes cannot be, or not in one direction alone.
            EngineError: It could not be done.
        """

    def join_node(self, name: str) -> bool:
        """Undo `cut_node`; whether there was something to undo."""

    def cut_nodes(self) -> list[str]:
        """Names of those that are cut off now. Never raises because something does not run."""


@dataclass(frozen=True, kw_only=True)
class RecorderEndpoint:
    """Where the HTTP recorder of a stack is.

    Attributes:
        listen: ``host:port`` that Toxiproxy reaches it at.
        api: Base URL at which it takes orders and tells of them.
    """

    listen: str
    api: str


@runtime_checkable
class RecordingProvider(StackProvider, Protocol):
    """A provider that can run an HTTP recorder between Toxiproxy and Vault.

    `StackProvider.stop` and ``destroy`` end it with the others, and `StackProvider.describe` has it
    while it is known.
    """

    def start_recorder(self) -> RecorderEndpoint:
        """Start it, and wait until it answers. Keeps it, and what it was ordered, if it runs.

        Raises:
            EngineError: It could not be run.
            DeadlineExceeded: It does not answer in time.
        """

    def known_recorder(self) -> RecorderEndpoint | None:
        """The one that was started last and not ended since; it may have died."""

    def stop_recorder(self) -> list[str]:
        """End it, and know of none; returns what was ended, for a person."""
