"""The one shape that the three engines share."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

from vault_harness.certificates import TlsFiles
from vault_harness.dialect import Dialect

EngineName = Literal["process", "docker", "external"]
Storage = Literal["inmem", "raft"]


class Capability(enum.StrEnum):
    """What an engine can do to a node beyond talking to it."""

    START = "start"  # start, stop, restart
    KILL = "kill"  # end without a goodbye
    PAUSE = "pause"  # stop the clock of a server that keeps its sockets
    RELOAD = "reload"  # SIGHUP
    AUDIT_LOG = "audit log"  # its audit log can be read as a file here
    AUDIT_FAULTS = "audit faults"  # the audit device can be made to fail or block
    DURABLE = "durable"  # data survives a restart
    SEAL = "seal"  # it may be sealed: the keys that unseal it are ours
    RESTORE = "restore"  # an earlier snapshot may replace all of its data: nobody else's is in it
    CLUSTER = "cluster"  # its nodes reach each other
    DATABASE = "database"  # its nodes reach a PostgreSQL that listens at `Engine.bind_host`
    PARTITION = "partition"  # cut off from its network: what is sent to it is swallowed


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """What a node shall be, for any engine.

    Attributes:
        name: Unique within one stack; also the raft node id.
        storage: ``inmem`` is quick and forgets at exit, ``raft`` survives restarts.
        directory: Where this node keeps configuration, data, audit log and server log. Created
            0700.
        port: API port on loopback; 0 picks a free one.
        cluster_port: Port of this machine for other nodes; 0 picks a free one.
        tls: What it needs to speak TLS, or None for plain HTTP.
        audit: Whether a file audit device is set up from the start.
        audit_raw: Log values in clear (``log_raw``): for scenarios on throw-away secrets only.
        retry_join: API addresses of nodes to join (raft only).
        extra: Further configuration in the server's JSON form, laid over the rest: a ``seal``
            stanza, or one more value of the listener.
        detached: Let the server outlive this process (``invoke up``); otherwise it dies with it.
        passes: Names of variables of ours that the server gets too, for the SDK of a cloud; one in
            a container gets files in their place where that is possible.
    """

    name: str
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

    Waiting is part of each verb: `start` returns when the API answers (sealed and uninitialised are
    answers), `stop` and `kill` when the process is gone. Each raises `DeadlineExceeded` or
    `ServerDied` with the last log lines, and `CapabilityMissing` where the engine cannot do it.
    """

    @property
    def name(self) -> str:
        """Unique within one stack."""

    @property
    def address(self) -> str:
        """Base URL for a client on this machine, e.g. ``http://127.0.0.1:40123``."""

    @property
    def inner_address(self) -> str:
        """Base URL by which other nodes of this engine reach its API."""

    @property
    def cluster_address(self) -> str:
        """``host:port`` by which other nodes of this engine reach it."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names and addresses that clients and nodes know it by: those of its certificate."""

    @property
    def ca_cert(self) -> Path | None:
        """The CA certificate that a client checks it with, None for the system's or plain HTTP."""

    @property
    def upstream(self) -> str:
        """``host:port`` for this engine's Toxiproxy, which may live in another network."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this engine can do to it."""

    @property
    def audit_path(self) -> Path | None:
        """Its audit log on this machine, or None where it cannot be read as a file."""

    @property
    def server_audit_path(self) -> str | None:
        """The same log by the name that the server knows it by; None without an audit device."""

    def start(self, *, timeout: float = 15.0) -> None:
        """Start it and wait until its API answers. Does nothing if it runs."""

    def stop(self, *, timeout: float = 10.0) -> None:
        """End it politely (SIGTERM), then without a choice. Does nothing if it does not run."""

    def kill(self) -> None:
        """End it without a goodbye (SIGKILL)."""

    def pause(self) -> None:
        """Freeze it: sockets stay open, nothing is answered (SIGSTOP)."""

    def resume(self) -> None:
        """Undo `pause` (SIGCONT). Does nothing if it is not paused."""

    def restart(self, *, timeout: float = 15.0) -> None:
        """`stop`, then `start` at the same address. Shamir-sealed afterwards."""

    def reload(self) -> None:
        """Make it read its configuration and reopen its audit log (SIGHUP)."""

    def disconnect(self) -> None:
        """Cut it off from other nodes, Toxiproxy and its own: what is sent to it is swallowed."""

    def reconnect(self) -> None:
        """Undo `disconnect`. Does nothing if it is not cut off."""

    def is_running(self) -> bool:
        """Whether the server lives, paused or not."""

    def logs(self, *, tail: int | None = None) -> str:
        """What the server printed, the last ``tail`` lines of it if given."""


@runtime_checkable
class ToxiproxyProcess(Protocol):
    """A running Toxiproxy server, embedded or real, wherever it runs."""

    @property
    def api(self) -> str:
        """Base URL of its HTTP API."""

    @property
    def flavour(self) -> Literal["embedded", "real"]:
        """Which of the two servers it is."""

    def listen(self) -> str:
        """A free ``host:port`` that a new proxy may listen on (as the Toxiproxy server sees it)."""

    def reachable(self, listen: str) -> str:
        """``host:port`` by which a client here reaches a proxy that listens on ``listen``."""

    def reachable_from_nodes(self, listen: str) -> str:
        """``host:port`` by which this engine's nodes reach a proxy that listens on ``listen``."""

    def disconnect(self) -> None:
        """Cut it off: a client's first packet is swallowed, so that it cannot even connect.

        Raises:
            CapabilityMissing: The engine has no network of its own.
        """

    def reconnect(self) -> None:
        """Undo `disconnect`. Does nothing if it is not cut off."""

    def is_running(self) -> bool:
        """Whether it lives."""

    def stop(self) -> None:
        """End it. Does nothing if it does not run."""

    def logs(self, *, tail: int | None = None) -> str:
        """What it printed."""


@runtime_checkable
class Engine(Protocol):
    """A provider of servers. Close it (it is a context manager too) and none of them is left.

    Attributes:
        choice: One line for a person: why this engine and not another.
    """

    choice: str

    @property
    def name(self) -> EngineName:
        """Which engine it is."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do to its nodes."""

    @property
    def dialect(self) -> Dialect | None:
        """Whose servers it runs; None where that is not known before one is asked."""

    def node(self, spec: NodeSpec) -> Node:
        """A node by that specification, not started yet."""

    def toxiproxy(
        self, *, seed: int | None = None, port: int = 0, detached: bool = False
    ) -> ToxiproxyProcess:
        """A started Toxiproxy server that answers."""

    def reachable_from_toxiproxy(self, port: int) -> str:
        """``host:port`` by which Toxiproxy reaches a listener of this process on ``port``."""

    def bind_host(self) -> str:
        """What such a listener must bind: loopback, or the gateway of a private network."""

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
