"""Hold what the scenarios of one process share, and measure what takes their time."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from vault_harness.judge.subjects import SubjectSpec
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.folders import run_directory
from vault_harness.local.engine.process.postgresql import Postgresql, SharedPostgresql
from vault_harness.local.engine.shape import Engine, ToxiproxyProcess
from vault_harness.local.toxiproxy.client import Toxiproxy
from vault_harness.recorder.witness import Witness
from vault_harness.settings import Settings

Wire = Literal["plain", "tls", "h2"]

WIRES: tuple[Wire, ...] = get_args(Wire)

START = 30.0
"""Seconds from a subject's start to its ``hello``: a Java VM needs time to warm up."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the scenarios of one process share.

    Attributes:
        listen: Returns a free address for a proxy, as the Toxiproxy server sees it.
        reachable: Turns such an address into one for clients on this machine.
        reachable_from_nodes: Turns such an address into one for the engine's nodes.
        declared: Times that the command line declares for the subject, which override its own.
        ttl_scale: Factor for all lives and the waits tied to them.
        turns: Lock file that all processes of a run share, to run a scenario alone.
        watched: Context held around each scenario, given its lab; used to show progress.
    """

    engine: Engine
    toxiproxy: Toxiproxy
    listen: Callable[[], str]
    reachable: Callable[[str], str]
    reachable_from_nodes: Callable[[str], str]
    directory: Path
    witness: Witness
    subject: SubjectSpec
    declared: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    ttl_scale: float = 1.0
    turns: Path | None = None
    start: float = START
    watched: Callable[[Any], AbstractContextManager[object]] = nullcontext
    wire: Wire = "plain"
    postgresql: SharedPostgresql = field(default_factory=SharedPostgresql)


@dataclass(frozen=True, kw_only=True)
class Given:
    """What already runs. The environment starts the rest, and stops only that."""

    toxiproxy: ToxiproxyProcess | None = None
    postgresql: Postgresql | None = None
    witness: Witness | None = None


@contextmanager
def open_environment(
    settings: Settings,
    subject: SubjectSpec,
    *,
    seed: int,
    given: Given | None = None,
) -> Iterator[Environment]:
    given = given or Given()
    witness = given.witness
    with (
        run_directory() as directory,
        open_engine(settings, directory=directory / "engine") as engine,
        nullcontext(witness) if witness is not None else Witness() as watching,
    ):
        server = given.toxiproxy or engine.toxiproxy(seed=seed)
        shared = SharedPostgresql(host=engine.bind_host(), server=given.postgresql)
        try:
            yield Environment(
                engine=engine,
                toxiproxy=Toxiproxy(server.api),
                listen=server.listen,
                reachable=server.reachable,
                reachable_from_nodes=server.reachable_from_nodes,
                directory=directory,
                witness=watching,
                subject=subject,
                seed=seed,
                postgresql=shared,
            )
        finally:
            shared.close()
            if given.toxiproxy is None:
                server.stop()


@dataclass
class Spent:
    """Measures the parts of a scenario that runs alone in its process.

    Attributes:
        wall: Seconds of wall time by purpose.
        subject: CPU seconds of the subject's ended processes.
    """

    wall: dict[str, float] = field(default_factory=dict)
    subject: float = 0.0

    def __post_init__(self) -> None:
        self._own, self._children = time.process_time(), _of_children()

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.wall[what] = self.wall.get(what, 0.0) + time.monotonic() - began

    def told(self, waited: Mapping[str, float], *, seconds: float) -> dict[str, dict[str, float]]:
        """`waited` has the seconds of each wait. The scenario's processes must have ended."""
        wall = {**self.wall, **{f"waiting for {what}": s for what, s in waited.items()}}
        wall["else"] = max(0.0, seconds - sum(wall.values()))
        children = _of_children() - self._children
        cpu = {
            "servers": max(0.0, children - self.subject),
            "subject": self.subject,
            "harness": time.process_time() - self._own,
        }
        return {
            "wall": {what: round(value, 3) for what, value in wall.items()},
            "cpu": {what: round(value, 3) for what, value in cpu.items()},
        }


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
