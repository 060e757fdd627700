"""Picks the engine by the settings, and says why."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from vault_harness.engine._provider import Memory, StackProvider
from vault_harness.engine._shape import Engine, EngineName
from vault_harness.engine.external import ExternalEngine
from vault_harness.engine.process import ProcessEngine, ProcessStack
from vault_harness.errors import SettingsError
from vault_harness.settings import Settings


def choose(settings: Settings, *, lasting: bool = False) -> tuple[EngineName, str]:
    """Which engine to use, and one line that says why. Never raises.

    Args:
        settings: As for `open_engine`.
        lasting: For the stack of ``invoke up``, which docker runs through Compose.
    """
    if settings.engine == "process":
        return "process", "asked for by HARNESS_ENGINE=process"
    if settings.engine == "external":
        return "external", "asked for by HARNESS_ENGINE=external"
    if settings.engine == "docker":
        # Whether it can be used is for the docker engine to find out, which has the better errors.
        return "docker", "asked for by HARNESS_ENGINE=docker"
    reason = docker_state(settings, lasting=lasting)
    if reason:
        return "process", f"docker cannot be used: {reason}"
    return "docker", "a container engine answers and the images are there"


def docker_state(settings: Settings, *, lasting: bool = False) -> str | None:
    """Why docker cannot be used here, in a few words; None if it can."""
    # Lazily: the docker client is slow to import, and most machines run without.
    module = importlib.import_module("vault_harness.engine.docker")
    return cast("str | None", module.docker_state(settings, lasting=lasting))


def open_provider(
    settings: Settings, memory: Memory, *, name: EngineName | None = None
) -> StackProvider:
    """Who runs the stack of ``invoke up``.

    Args:
        settings: As for `open_engine`.
        memory: Where it keeps what the next task must know.
        name: The engine that runs it already, which then decides.

    Raises:
        EngineUnavailable: docker was asked for and cannot be used.
        SettingsError: An external Vault cannot be brought up.
    """
    chosen = name or choose(settings, lasting=True)[0]
    if chosen == "docker":
        module = importlib.import_module("vault_harness.engine.docker")
        return cast("StackProvider", module.DockerCluster(settings, memory))
    if chosen == "external":
        raise SettingsError(
            "an external Vault is somebody else's: it cannot be brought up or down from here",
            looked_at="HARNESS_ENGINE=external",
            remedy="unset HARNESS_ENGINE for a Vault of your own; scenarios can use this one",
        )
    return ProcessStack(settings, memory)


def open_engine(settings: Settings, *, directory: Path, outward: bool = True) -> Engine:
    """The engine that the settings ask for.

    Args:
        settings: ``settings.engine`` decides; ``auto`` takes docker if it can be used, else
            process.
        directory: Where it may keep files; created.
        outward: Whether servers reach more than each other and this machine's address on their
            network. Only containers can be kept from it.

    Raises:
        EngineUnavailable: The engine that was asked for does not answer.
        ProgramMissing: The process engine finds no server.
        SettingsError: The external engine lacks address or token.
    """
    name, why = choose(settings)
    engine: Engine
    if name == "process":
        engine = ProcessEngine(settings, directory=directory)
    elif name == "external":
        engine = ExternalEngine(settings, directory=directory)
    else:
        module = importlib.import_module("vault_harness.engine.docker")
        engine = cast("Engine", module.DockerEngine(settings, directory=directory, outward=outward))
    engine.choice = f"{engine.choice} ({why})" if engine.choice else f"{name} ({why})"
    return engine
