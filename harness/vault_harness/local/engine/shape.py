"""The interface that the three engines share."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

from vault_harness.certificates import TlsFiles
from vault_harness.errors import CapabilityMissing
from vault_harness.local.dialect import Dialect

EngineName = Literal["process", "docker", "external"]
Storage = Literal["inmem", "raft"]


class Capability(enum.StrEnum):
    """What an engine can do to a node, besides sending requests."""

    START = "start"  # start, stop, restart
    KILL = "kill"  # SIGKILL
    PAUSE = "pause"  # freeze a server that keeps its sockets
    RELOAD = "reload"  # SIGHUP
    AUDIT_LOG = "audit log"  # its audit log is a readable file here
    AUDIT_FAULTS = "audit faults"  # the audit device can be made to fail or block
    DURABLE = "durable"  # data survives a restart
    SEAL = "seal"  # we may seal it: we have its unseal keys
    RESTORE = "restore"  # a snapshot may replace all data: nobody else uses it
    CLUSTER = "cluster"  # its nodes reach each other
    DATABASE = "database"  # its nodes reach a PostgreSQL that listens at `Engine.bind_host`
    PARTITION = "partition"  # it can be cut off from its network: packets to it are dropped


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """The specification of a node, for any engine.

    Attributes:
        name: Unique within one stack; also the raft node id.
        storage: ``inmem`` is quick and loses its data at exit; ``raft`` survives restarts.
        directory: Folder for configuration, data and logs of this node. Created 0700.
        port: API port on loopback; 0 picks a free one.
        cluster_port: Port for other nodes; 0 picks a free one.
        tls: TLS files, or None for plain HTTP.
        audit: Whether a file audit device exists from the start.
        audit_raw: Log values in clear (``log_raw``). Only for throw-away secrets.
        retry_join: API addresses of nodes to join (raft only).
        extra: Further configuration in the server's JSON form, such as a ``seal`` stanza. It is
            merged over the rest.
        detached: Let the server outlive this process (``invoke up``).
        passes: Names of our environment variables that the server gets too, for a cloud's SDK.
            Containers get files instead where possible.
    """

    name: str = "vault"
    directory: Path
    storage: Storage = "inmem"
    port: int = 0
    cluster_port: int = 0
    tls: TlsFiles | None = None
    audit: bool = True
    audit_raw: bool = False
    retry_join: tuple[str, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
    detached: bool = False
    passes: tuple[str, ...] = ()


@runtime_checkable
class Node(Protocol):
    """One Vault server, running or not.

    Each verb waits: `start` until the API answers (also sealed or uninitialised), `stop` and `kill`
    until the process is gone. They raise `DeadlineExceeded` or `ServerDied` with the last log
    lines, and `CapabilityMissing` if the engine cannot do it.
    """

    @property
    def name(self) -> str:
        """The name, unique within one stack."""

    @property
    def address(self) -> str:
        """The base URL for a client on this machine, e.g. ``http://127.0.0.1:40123``."""

    @property
    def inner_address(self) -> str:
        """The base URL of its API for other nodes of this engine."""

    @property
    def cluster_address(self) -> str:
        """``host:port`` at which other nodes of this engine reach it."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names and addresses in its certificate."""

    @property
    def ca_cert(self) -> Path | None:
        """The CA certificate for clients; None for the system's own, or for plain HTTP."""

    @property
    def upstream(self) -> str:
        """``host:port`` for this engine's Toxiproxy, which may be in another network."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the engine can do to it."""

    @property
    def audit_path(self) -> Path | None:
        """The audit log on this machine; None if it is not a readable file here."""

    @property
    def server_audit_path(self) -> str | None:
        """The path of the audit log as the server sees it; None without an audit device."""

    def start(self, *, timeout: float = 15.0) -> None:
        """Start it and wait until its API answers. Does nothing if it runs."""

    def stop(self, *, timeout: float = 10.0) -> None:
        """Stop it with SIGTERM, then SIGKILL. Does nothing if it does not run."""

    def kill(self) -> None:
        """Kill it (SIGKILL)."""

    def pause(self) -> None:
        """Freeze it (SIGSTOP): sockets stay open, requests get no answer."""

    def resume(self) -> None:
        """Undo `pause` (SIGCONT). Does nothing if it is not paused."""

    def restart(self, *, timeout: float = 15.0) -> None:
        """Stop it, then start it at the same address. With Shamir's seal it is sealed then."""

    def reload(self) -> None:
        """Make it read its configuration and reopen its audit log (SIGHUP)."""

    def disconnect(self) -> None:
        """Cut it off from other nodes, Toxiproxy and clients: packets to it are dropped."""

    def reconnect(self) -> None:
        """Undo `disconnect`. Does nothing if it is not cut off."""

    def is_running(self) -> bool:
        """Return whether the server process exists, paused or not."""

    def logs(self, *, tail: int | None = None) -> str:
        """Return the server's output, or its last `tail` lines."""


@runtime_checkable
class ToxiproxyProcess(Protocol):
    """A running Toxiproxy server, embedded or real, wherever it runs."""

    @property
    def api(self) -> str:
        """Base URL of its HTTP API."""

    @property
    def flavour(self) -> Literal["embedded", "real"]:
        """Whether the server is the embedded or the real one."""

    def listen(self) -> str:
        """Return a free ``host:port`` for a new proxy, as the Toxiproxy server sees it."""

    def reachable(self, listen: str) -> str:
        """Return ``host:port`` at which a client here reaches the proxy on `listen`."""

    def reachable_from_nodes(self, listen: str) -> str:
        """Return ``host:port`` at which this engine's nodes reach the proxy on `listen`."""

    def disconnect(self) -> None:
        """Cut it off: packets to it are dropped, so clients cannot even connect."""

    def reconnect(self) -> None:
        """Undo `disconnect`. Does nothing if it is not cut off."""

    def is_running(self) -> bool:
        """Return whether it runs."""

    def stop(self) -> None:
        """End it. Does nothing if it does not run."""

    def logs(self, *, tail: int | None = None) -> str:
        """Return its output, or the last `tail` lines."""


@runtime_checkable
class Engine(Protocol):
    """Makes servers. Closing it, or leaving it as a context manager, removes all of them.

    `choice` is one line for a user: why this engine was chosen.
    """

    choice: str

    @property
    def name(self) -> EngineName:
        """The name of the engine."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the engine can do to its nodes."""

    @property
    def dialect(self) -> Dialect | None:
        """The product that it runs; None if unknown before a server is asked."""

    def node(self, spec: NodeSpec) -> Node:
        """Return a node by that specification, not started yet."""

    def toxiproxy(
        self, *, seed: int | None = None, port: int = 0, detached: bool = False
    ) -> ToxiproxyProcess:
        """Start a Toxiproxy server and wait until it answers."""

    def reachable_from_toxiproxy(self, port: int) -> str:
        """Return ``host:port`` at which Toxiproxy reaches `port` of this process."""

    def bind_host(self) -> str:
        """Return the address that such a port must be bound to: loopback or a network gateway."""

    def close(self) -> None:
        """End and remove everything that this engine made."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


ON_PROCESSES = frozenset(Capability) - {Capability.PARTITION}
"""Processes are our children and share the loopback interface of this machine."""

IN_CONTAINERS = frozenset(Capability)
"""For a container engine on this machine: it shares files, and its networks are interfaces here."""

IN_CONTAINERS_ELSEWHERE = IN_CONTAINERS - {
    Capability.AUDIT_LOG,
    Capability.AUDIT_FAULTS,
    Capability.DATABASE,
    Capability.PARTITION,
}
"""For a container engine in a virtual machine or on another host."""

OF_SOMEBODY_ELSE = frozenset({Capability.DURABLE})
"""The harness did not start this server. It can only rely on lasting data."""

CAPABILITIES = {
    "process": ON_PROCESSES,
    "docker": IN_CONTAINERS,
    "docker, in a virtual machine or on another host": IN_CONTAINERS_ELSEWHERE,
    "external": OF_SOMEBODY_ELSE,
}
"""Capabilities by the name of the engine, for documentation."""


def no_network(name: str) -> CapabilityMissing:
    """Return the error for cutting off a process, which shares the loopback interface."""
    return CapabilityMissing(
        f"{name} cannot be cut off: it has no network of its own",
        looked_at="the engine, which runs processes on loopback",
        remedy="use HARNESS_ENGINE=docker for that, with an engine on this machine",
    )
