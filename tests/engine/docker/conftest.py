from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError

from vault_harness.errors import ImageMissing, ProgramMissing
from vault_harness.local.engine.docker.compose import LABEL_PROJECT, find_compose, project_name
from vault_harness.local.engine.docker.engine import DockerEngine, inspect_docker
from vault_harness.local.engine.docker.network import DockerToxiproxy
from vault_harness.local.engine.docker.node import DockerNode
from vault_harness.local.engine.docker.state import require_balancer
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.local.stack.local import LocalStack
from vault_harness.settings import Settings

# Label and value by which the tests of this folder find leftovers.
Objects = dict[str, set[str]]


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Skips on a machine that cannot run containers."""
    settings = Settings(start_timeout=30)
    state = inspect_docker(settings, ask_registry=False)
    if state.vault is None or state.toxiproxy is None:
        pytest.skip(f"no containers here: {state.line}")
    return settings


@pytest.fixture(scope="module")
def engine(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    with DockerEngine(settings, directory=tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture(scope="module")
def toxiproxy(engine: DockerEngine) -> DockerToxiproxy:
    return engine.toxiproxy(seed=1)


@pytest.fixture
def make_node(engine: DockerEngine, tmp_path: Path) -> Iterator[Callable[..., DockerNode]]:
    """Makes nodes in a folder of the test, and removes them after it."""
    made: list[DockerNode] = []

    def make(name: str = "vault", **more: object) -> DockerNode:
        spec = NodeSpec(name=name, directory=tmp_path / name, **more)  # type: ignore[arg-type] # a test's own
        made.append(engine.node(spec))
        return made[-1]

    yield make
    for node in made:
        node.close()


@pytest.fixture
def node(make_node: Callable[..., DockerNode]) -> DockerNode:
    node = make_node()
    node.start()
    return node


@pytest.fixture
def objects_of() -> Callable[[str], Objects]:
    def look(label: str) -> Objects:
        with connected() as client:
            filters: dict[str, Any] = {"label": label}
            return {
                "containers": {
                    str(item.name)
                    for item in client.containers.list(
                        all=True, filters=filters, ignore_removed=True
                    )
                },
                "networks": {str(item.name) for item in client.networks.list(filters=filters)},
                "volumes": {str(item.name) for item in client.volumes.list(filters=filters)},
            }

    return look


@pytest.fixture(scope="session")
def compose() -> tuple[str, ...]:
    """The command that runs Compose; skips without Compose."""
    try:
        return find_compose()
    except ProgramMissing as error:
        pytest.skip(error.cause)


def kill_containers(stack: LocalStack) -> None:
    """Kill the running containers of a stack: a clean stop takes a second each."""
    label = f"{LABEL_PROJECT}={project_name(stack.data_dir)}"
    with connected() as client:
        for container in client.containers.list(filters={"label": label}, ignore_removed=True):
            if container.status == "running":  # `destroy` handles the others
                with contextlib.suppress(APIError):  # it has ended meanwhile
                    container.kill()


@pytest.fixture
def local(settings: Settings, compose: tuple[str, ...], tmp_path: Path) -> Iterator[LocalStack]:
    """A stack on free ports with its own data directory, not up yet, destroyed at the end."""
    chosen = Settings(
        engine="docker",
        data_dir=tmp_path / "vault-data",
        vault_port=0,
        proxy_port=0,
        toxiproxy_port=0,
        start_timeout=60,
    )
    stack = LocalStack(chosen)
    yield stack
    kill_containers(stack)
    stack.destroy()


@pytest.fixture
def stack(settings: Settings, local: LocalStack) -> LocalStack:
    """The same stack for a cluster; skips without HAProxy."""
    with connected() as client:
        try:
            require_balancer(client, settings)
        except ImageMissing as error:
            pytest.skip(error.cause)
    return local
