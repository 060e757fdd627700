"""What the processes of a run share: there before the first of them is forked."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from contextlib import ExitStack

from vault_harness.engine import ToxiproxyProcess, open_engine, run_directory
from vault_harness.errors import EngineError
from vault_harness.scenario._servers import platform
from vault_harness.settings import Settings


def load_for_forks(*, leases: bool) -> None:
    """Load what scenarios need when they run, so that each fork has it and none loads it anew.

    Args:
        leases: Whether some of them log in at a database.
    """
    platform()
    importlib.import_module("trustme")
    if leases:
        importlib.import_module("psycopg")


@contextlib.contextmanager
def shared_toxiproxies(
    settings: Settings, *, seed: int, sharers: int
) -> Iterator[list[ToxiproxyProcess]]:
    """Toxiproxy servers for the forks of this process, ended when the block does.

    A server keeps proxies apart by their names, and each scenario has one of its own name; no fault
    acts on the server itself. There is one for each core, as the embedded one uses no more of them.

    Args:
        settings: Which engine.
        seed: Of the network faults.
        sharers: How many processes will use them.

    Yields:
        The servers; none where one could not be started, which those who need one then find out.
    """
    with ExitStack() as closing:
        servers: list[ToxiproxyProcess] = []
        with contextlib.suppress(EngineError):
            directory = closing.enter_context(run_directory())
            engine = closing.enter_context(open_engine(settings, directory=directory / "engine"))
            count = min(sharers, os.cpu_count() or 1)
            servers = [engine.toxiproxy(seed=seed) for _ in range(count)]
        yield servers
