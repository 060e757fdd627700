"""The interface that the engines share."""

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
    """What an engine can do to a node."""

    START = "start"  # start, stop, restart
    KILL = "kill"  # SIGKILL
    PAUSE = "pause"  # it keeps its sockets
    RELOAD = "reload"  # SIGHUP
    AUDIT_LOG = "audit log"  # a readable file here
    AUDIT_FAULTS = "audit faults"  # the audit device can be made to fail or block
    DURABLE = "durable"  # data survives a restart
    SEAL = "seal"  # we have its unseal keys
    RESTORE = "restore"  # a snapshot may replace all data: nobody else uses it
    CLUSTER = "cluster"  # its nodes reach each other
    DATABASE = "database"  # its nodes reach a PostgreSQL at `Engine.bind_host`
    PARTITION = "partition"  # packets to it can be dropped


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """A node, for any engine.

    Attributes:
        name: Also the raft node id.
        storage: ``inmem`` is quick and loses its data at exit.
        directory: Created 0700.
        port: 0 picks a free one, also for `cluster_port`.
        audit: Whether a file audit device exists from the start.
        audit_raw: Log values in clear (``log_raw``): only for throw-away secrets.
        retry_join: API addresses of nodes to join (raft only).
        extra: More configuration in the server's JSON form, merged over the rest.
        detached: Let the server outlive this process (``invoke up``).
        passes: Names of our environment variables that the server gets too. Containers get files
            instead where possible.
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
    """One Vault server, running or not. A verb with nothing to do does nothing.

    `start` waits until the API answers (also sealed or uninitialised), `stop` and `kill` until the
    process is gone. They raise `DeadlineExceeded` or `ServerDied` with the last log lines, and
    `CapabilityMissing` if the engine cannot do it.
    """

    @property
    def name(self) -> str:
        """Unique within one stack."""

    @property
    def address(self) -> str:
        """Base URL for a client here, e.g. ``http://127.0.0.1:40123``."""

    @property
    def inner_address(self) -> str:
        """Base URL for other nodes of this engine."""

    @property
    def cluster_address(self) -> str:
        """``host:port`` for other nodes of this engine."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names and addresses in its certificate."""

    @property
    def ca_cert(self) -> Path | None:
        """The CA certificate; None for the system's own, or for plain HTTP."""

    @property
    def upstream(self) -> str:
        """``host:port`` for this engine's Toxiproxy."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the engine can do to it."""

    @property
    def audit_path(self) -> Path | None:
        """The audit log, if it is a readable file here."""

    @property
    def server_audit_path(self) -> str | None:
        """The audit log as the server sees it; None without an audit device."""

    def start(self, *, timeout: float = 15.0) -> None:
        """Start it."""

    def stop(self, *, timeout: float = 10.0) -> None:
        """Send SIGTERM, then SIGKILL."""

    def kill(self) -> None:
        """Send SIGKILL."""

    def pause(self) -> None:
        """Freeze it (SIGSTOP): sockets stay open, requests get no answer."""

    def resume(self) -> None:
        """Undo `pause` (SIGCONT)."""

    def restart(self, *, timeout: float = 15.0) -> None:
        """Stop and start it at the same address. With Shamir's seal it is sealed then."""

    def reload(self) -> None:
        """Make it read its configuration and reopen its audit log (SIGHUP)."""

    def disconnect(self) -> None:
        """Drop packets to it, from nodes, Toxiproxy and clients."""

    def reconnect(self) -> None:
        """Undo `disconnect`."""

    def is_running(self) -> bool:
        """Return whether its process exists, paused or not."""

    def logs(self, *, tail: int | None = None) -> str:
        """Return its output, or the last `tail` lines."""

    def close(self) -> None:
        """End it for good, and give back what it has; an external Vault stays."""


@runtime_checkable
class ToxiproxyProcess(Protocol):
    """A running Toxiproxy server, embedded or real."""

    @property
    def api(self) -> str:
        """Base URL of its HTTP API."""

    @property
    def flavour(self) -> Literal["embedded", "real"]:
        """Which of the two it is."""

    def listen(self) -> str:
        """Return a free ``host:port`` for a new proxy, as Toxiproxy sees it."""

    def reachable(self, listen: str) -> str:
        """Return ``host:port`` of that proxy for a client here."""

    def reachable_from_nodes(self, listen: str) -> str:
        """Return ``host:port`` of that proxy for this engine's nodes."""

    def disconnect(self) -> None:
        """Drop packets to it, so that clients cannot even connect."""

    def reconnect(self) -> None:
        """Undo `disconnect`."""

    def is_running(self) -> bool:
        """Return whether it runs."""

    def stop(self) -> None:
        """End it."""

    def logs(self, *, tail: int | None = None) -> str:
        """Return its output."""


@runtime_checkable
class Engine(Protocol):
    """Makes servers. Closing it removes all of them.

    `choice` tells a user why this engine was chosen.
    """

    choice: str

    @property
    def name(self) -> EngineName:
        """The engine's name."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do to its nodes."""

    @property
    def dialect(self) -> Dialect | None:
        """The product that it runs; None if no server was asked yet."""

    def node(self, spec: NodeSpec) -> Node:
        """Return a node, not started yet."""

    def toxiproxy(
        self, *, seed: int | None = None, port: int = 0, detached: bool = False
    ) -> ToxiproxyProcess:
        """Start a Toxiproxy server and wait until it answers."""

    def reachable_from_toxiproxy(self, port: int) -> str:
        """Return ``host:port`` at which Toxiproxy reaches `port` of this process."""

    def bind_host(self) -> str:
        """Return the address that such a port must be bound to."""

    def close(self) -> None:
        """Remove everything that this engine made."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


ON_PROCESSES = frozenset(Capability) - {Capability.PARTITION}
"""Processes share this machine's loopback interface."""

IN_CONTAINERS = frozenset(Capability)
"""For an engine on this machine: it shares files and networks."""

IN_CONTAINERS_ELSEWHERE = IN_CONTAINERS - {
    Capability.AUDIT_LOG,
    Capability.AUDIT_FAULTS,
    Capability.DATABASE,
    Capability.PARTITION,
}
"""For an engine in a virtual machine or on another host."""

OF_SOMEBODY_ELSE = frozenset({Capability.DURABLE})
"""The harness did not start this server. It can only rely on lasting data."""

CAPABILITIES = {
    "process": ON_PROCESSES,
    "docker": IN_CONTAINERS,
    "docker, in a virtual machine or on another host": IN_CONTAINERS_ELSEWHERE,
    "external": OF_SOMEBODY_ELSE,
}
"""For documentation."""


def no_network(name: str) -> CapabilityMissing:
    return CapabilityMissing(
        f"{name} cannot be cut off: it has no network of its own",
        looked_at="the engine, which runs processes on loopback",
        remedy="use HARNESS_ENGINE=docker for that, with an engine on this machine",
    )
