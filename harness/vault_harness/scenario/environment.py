"""What the scenarios of one process have in common: an engine, Toxiproxy, and who is tested."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vault_harness.engine import (
    Engine,
    Postgresql,
    ToxiproxyProcess,
    open_engine,
    run_directory,
)
from vault_harness.scenario.postgresql import SharedPostgresql
from vault_harness.scenario.tls import Wire
from vault_harness.settings import Settings
from vault_harness.subjects import SubjectSpec
from vault_harness.toxiproxy import Toxiproxy

START = 30.0
"""Seconds from a subject's start to its ``hello``: a virtual machine takes its time to warm up."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the scenarios of one process share: an engine, and one Toxiproxy server.

    Attributes:
        engine: Runs servers.
        toxiproxy: Control over the Toxiproxy server.
        listen: Gives a free address for a proxy, as the Toxiproxy server sees it.
        reachable: Turns that into one that a client here can use.
        reachable_from_nodes: Turns it into one that the engine's nodes can use.
        directory: For files of scenarios; each run of one gets a folder of its own in it.
        subject: Which client is tested.
        declared: Times that the command line declares for it; they win over its own.
        seed: Of the Toxiproxy server, to be printed on failure.
        ttl_scale: By how much all lives, and the waits tied to them, are stretched.
        turns: A file that all processes of a run share: by it a scenario can be run alone.
        start: Seconds from the subject's start to its ``hello``.
        watched: What is held around each scenario, given its lab: for whoever shows progress.
        wire: What is spoken between clients and Vault, where a scenario does not say it itself.
        postgresql: The PostgreSQL of the scenarios that have leases.
    """

    engine: Engine
    toxiproxy: Toxiproxy
    listen: Callable[[], str]
    reachable: Callable[[str], str]
    reachable_from_nodes: Callable[[str], str]
    directory: Path
    subject: SubjectSpec
    declared: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    ttl_scale: float = 1.0
    turns: Path | None = None
    start: float = START
    watched: Callable[[Any], AbstractContextManager[object]] = nullcontext
    wire: Wire = "plain"
    postgresql: SharedPostgresql = field(default_factory=SharedPostgresql)


@contextmanager
def open_environment(
    settings: Settings,
    subject: SubjectSpec,
    *,
    seed: int,
    declared: Mapping[str, float] | None = None,
    ttl_scale: float = 1.0,
    turns: Path | None = None,
    start: float = START,
    watched: Callable[[Any], AbstractContextManager[object]] = nullcontext,
    wire: Wire = "plain",
    toxiproxy: ToxiproxyProcess | None = None,
    postgresql: Postgresql | None = None,
) -> Iterator[Environment]:
    """An engine and a Toxiproxy server for scenarios, ended when the block does.

    Args:
        settings: Which engine.
        subject: Which client is tested; `run_scenario` may be given another.
        seed: Of the network faults.
        declared: Times that are declared for the client, in seconds.
        ttl_scale: By how much all lives are stretched.
        turns: A file that all processes of a run share, if there are several.
        start: Seconds from the subject's start to its ``hello``.
        watched: What is held around each scenario, given its lab.
        wire: What is spoken between clients and Vault.
        toxiproxy: One of that engine which runs already, and is not ended here.
        postgresql: One that another process starts, and ends.

    Raises:
        EngineError: A server could not be run.
    """
    with (
        run_directory() as directory,
        open_engine(settings, directory=directory / "engine") as engine,
    ):
        server = toxiproxy or engine.toxiproxy(seed=seed)
        shared = SharedPostgresql(host=engine.bind_host(), server=postgresql)
        try:
            yield Environment(
                engine=engine,
                toxiproxy=Toxiproxy(server.api),
                listen=server.listen,
                reachable=server.reachable,
                reachable_from_nodes=server.reachable_from_nodes,
                directory=directory,
                subject=subject,
                declared=dict(declared or {}),
                seed=seed,
                ttl_scale=ttl_scale,
                turns=turns,
                start=start,
                watched=watched,
                wire=wire,
                postgresql=shared,
            )
        finally:
            shared.close()
            if toxiproxy is None:
                server.stop()
