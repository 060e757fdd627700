"""What there is of Docker on this machine."""

from __future__ import annotations

from vault_harness.settings import Settings
from vault_harness.vault.doctor._finding import DockerView


def look_at_docker(settings: Settings, *, timeout: float = 5.0) -> DockerView:
    """Whether a container engine answers, and which images of the settings do not do."""
    # Only here: the docker client is slow to import, and most machines do without.
    from vault_harness.engine.docker import DockerStatus, inspect_docker

    state = inspect_docker(settings, timeout=timeout, ask_registry=False)
    engine = state.status is not DockerStatus.NO_ENGINE
    images = (state.vault, state.toxiproxy)
    outdated = tuple(image.name for image in images if image is not None and image.outdated)
    return DockerView(engine, state.missing, state.line, outdated)
