"""Servers as containers: of one run, or of the stack that outlives its task.

Kept out of `vault_harness.engine`, which every task imports: the docker client is slow to load.
"""

from vault_harness.engine.docker._client import connect, connected, container_on
from vault_harness.engine.docker._cluster import DockerCluster
from vault_harness.engine.docker._compose import LABEL_PROJECT, LABEL_SERVICE, Compose, project_name
from vault_harness.engine.docker._engine import DockerEngine, docker_state
from vault_harness.engine.docker._labels import Removed, sweep_leftovers
from vault_harness.engine.docker._stack import DockerStack
from vault_harness.engine.docker._state import (
    DockerState,
    DockerStatus,
    Image,
    find_image,
    inspect_docker,
    refuse_outdated,
)
from vault_harness.engine.docker._whose import project_here

__all__ = [
    "DockerEngine",
    "DockerStack",
    "DockerCluster",
    "docker_state",
    "inspect_docker",
    "DockerState",
    "DockerStatus",
    "Image",
    "find_image",
    "refuse_outdated",
    "connect",
    "connected",
    "container_on",
    "Compose",
    "project_name",
    "project_here",
    "LABEL_PROJECT",
    "LABEL_SERVICE",
    "sweep_leftovers",
    "Removed",
]
