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

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from vault_harness.engine._configuration import DATA_NAME
from vault_harness.engine._shape import EngineName

ServiceName = Literal["vault", "toxiproxy"]
LogName = Literal["vault", "toxiproxy", "audit"]
SERVICES: tuple[ServiceName, ...] = ("vault", "toxiproxy")

_DIRECTORIES = ("vault", "toxiproxy", "services")

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
        proxy: Base URL through Toxiproxy for this machine.
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
    """

    nodes: tuple[NodeEndpoint, ...]
    toxiproxy: str

    @property
    def node(self) -> NodeEndpoint:
        """The first node, which is the only one of a cluster of one."""
        return self.nodes[0]

    @property
    def vault(self) -> str:
        """Base URL of the first node."""
        return self.node.address

    @property
    def proxy(self) -> str:
        """Base URL of the first node through Toxiproxy."""
        return self.node.proxy


@dataclass
class KnownServers:
    """What tasks know of servers that an earlier task started. No secrets.

    Attributes:
        engine: Who runs them; None if nothing was ever started.
        endpoints: Where they are, or were last.
        services: What the provider needs to find them again; empty when they were stopped.
    """

    engine: EngineName | None = None
    endpoints: Endpoints | None = None
    services: dict[str, dict[str, Any]] = field(default_factory=dict)


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
    """

    name: ServiceName
    running: bool
    detail: str
    paused: bool = False

    @property
    def serves(self) -> bool:
        """Whether it could answer."""
        return self.running and not self.paused


def own_directories(data_dir: Path) -> list[Path]:
    """What the servers of a stack keep, whichever engine ran them."""
    return [data_dir / name for name in _DIRECTORIES if (data_dir / name).exists()]


def holds_data(data_dir: Path) -> bool:
    """Whether there is a Vault's data where a started server would look for it."""
    data = data_dir / SERVICES[0] / DATA_NAME
    return data.is_dir() and any(data.iterdir())


def remove_directories(data_dir: Path) -> list[str]:
    """Delete what the servers of a stack keep, whichever engine ran them; returns what it was."""
    present = own_directories(data_dir)
    for directory in present:
        shutil.rmtree(directory)
    return [str(directory) for directory in present]


@runtime_checkable
class StackProvider(Protocol):
    """Keeps a Vault (raft storage, not initialised by it) and a Toxiproxy running.

    Made from `Settings`, which give ports and the data directory, and a `Memory`. Every call may
    come from another process than the one before, so nothing is remembered but in the memory and by
    the servers themselves. Each verb may be called in any state, again after an interrupt, and
    after a crash.
    """

    @property
    def name(self) -> EngineName:
        """Which engine it is; also what the memory says."""

    def start(self) -> Endpoints:
        """Start what does not run, and wait until both servers answer (a sealed Vault answers).

        Keeps what runs. Saves before it returns. If it fails, it ends what this call started.

        Raises:
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
        """Both servers' state. Never raises because something does not run."""

    def logs(
        self, name: LogName, *, tail: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """Lines of a log, the last ``tail`` of them; with ``follow`` until interrupted."""

    @property
    def audit_path(self) -> Path | None:
        """Vault's audit log on this machine, or None where it cannot be read as a file."""

    @property
    def server_audit_path(self) -> str | None:
        """The same log by the name that the server knows it by, for enabling it over the API."""
