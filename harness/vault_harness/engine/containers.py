"""What only the docker engine has: its state, local images, example services, leftovers.

Kept out of `vault_harness.engine`, which every task imports.
"""

from __future__ import annotations

from vault_harness.engine._docker_build import BuiltImage, build_images
from vault_harness.engine._docker_client import connected
from vault_harness.engine._docker_labels import Removed, sweep
from vault_harness.engine._docker_services import SERVICES, ExampleService, ExampleServices
from vault_harness.engine._docker_state import DockerState, DockerStatus, inspect_docker
from vault_harness.errors import EngineUnavailable

__all__ = [
    "inspect_docker",
    "DockerState",
    "DockerStatus",
    "build_images",
    "BuiltImage",
    "ExampleServices",
    "ExampleService",
    "SERVICES",
    "sweep_leftovers",
    "Removed",
]


def sweep_leftovers(*, timeout: float = 10.0) -> Removed:
    """Remove containers, networks and volumes of runs that are dead; nothing without an engine."""
    try:
        with connected(timeout=timeout) as client:
            return sweep(client)
    except EngineUnavailable:
        return Removed()
