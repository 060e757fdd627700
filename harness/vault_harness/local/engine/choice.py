"""Choose the engine from the settings."""

from __future__ import annotations

from pathlib import Path

from vault_harness.errors import named
from vault_harness.local.engine.process.engine import ProcessEngine
from vault_harness.local.engine.shape import Engine, EngineName
from vault_harness.settings import Settings


def choose(settings: Settings, *, lasting: bool = False) -> tuple[EngineName, str]:
    """Return the engine and the reason. Never raises.

    ``auto`` means processes; for a `lasting` stack (``invoke up``), containers if docker works
    here.
    """
    if settings.engine != "auto":
        # If it cannot be used, its own error says more.
        return settings.engine, f"asked for by HARNESS_ENGINE={settings.engine}"
    if lasting and docker_state(settings, lasting=True) is None:
        return "docker", f"{named('up', '--engine', 'process')} takes processes"
    if lasting:
        return "process", f"{named('up', '--engine', 'docker')} takes containers"
    return "process", "the default"


def docker_state(settings: Settings, *, lasting: bool = False) -> str | None:
    """Return why docker cannot be used here, or None if it can."""
    # Imported late: the docker client is slow to import.
    from vault_harness.local.engine.docker.engine import docker_state as state

    return state(settings, lasting=lasting)


def open_engine(settings: Settings, *, directory: Path, outward: bool = True) -> Engine:
    """Open the engine that the settings name.

    Args:
        outward: Whether servers may reach other machines. Only containers can be kept from it.
    """
    name, why = choose(settings)
    engine: Engine
    if name == "process":
        engine = ProcessEngine(settings, directory=directory)
    elif name == "external":
        from vault_harness.local.engine.external import ExternalEngine

        engine = ExternalEngine(settings, directory=directory)
    else:
        from vault_harness.local.engine.docker.engine import DockerEngine

        engine = DockerEngine(settings, directory=directory, outward=outward)
    engine.choice = f"{engine.choice} ({why})" if engine.choice else f"{name} ({why})"
    return engine
