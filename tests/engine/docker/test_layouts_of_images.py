import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.errors import ImageNotFound

from vault_harness.local import dialect
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.docker.engine import DockerEngine
from vault_harness.local.engine.docker.state import require
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.local.images.build import LOCAL_VAULT
from vault_harness.local.stack.launching import launch
from vault_harness.local.stack.local import LocalStack
from vault_harness.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("layouts")]

# The layout of OpenBao's images from 2.6 on: another folder, no other name, its own user.
DOCKERFILE = f"""
FROM {LOCAL_VAULT} AS here
FROM scratch
COPY --from=here /bin/vault /usr/bin/bao
COPY --from=here /etc /etc
ENV PATH=/usr/bin NAME=openbao
VOLUME /openbao/file
VOLUME /openbao/logs
USER 100:1000
ENTRYPOINT ["/usr/bin/bao"]
"""
TAG = "somebodys/openbao-with-a-user:1"


@pytest.fixture(scope="module")
def chosen(settings: Settings) -> Iterator[Settings]:
    with connected(timeout=300) as client:
        vault, _ = require(client, settings)
        if vault.name != LOCAL_VAULT or vault.dialect is not dialect.OPENBAO:
            pytest.skip(f"needs a local image of OpenBao, and this is {vault}")
        client.images.build(fileobj=io.BytesIO(DOCKERFILE.encode()), tag=TAG, rm=True)
        yield settings.model_copy(update={"vault_image": TAG})
        with contextlib.suppress(ImageNotFound):  # tests of another worker may have ended first
            client.images.remove(TAG, force=True)


def test_a_scenario_runs_on_it(chosen: Settings, tmp_path: Path) -> None:
    with (
        DockerEngine(chosen, directory=tmp_path / "engine") as engine,
        launch(
            engine, Blueprint.default(), NodeSpec(directory=tmp_path / "vault", storage="raft")
        ) as stack,
    ):
        assert stack.operator.seal_status().product == "openbao"


def test_a_stack_runs_on_it(chosen: Settings, compose: tuple[str, ...], tmp_path: Path) -> None:
    """The health check uses the same name."""
    stack = LocalStack(
        chosen.model_copy(
            update={
                "engine": "docker",
                "data_dir": tmp_path / "vault-data",
                "vault_port": 0,
                "proxy_port": 0,
                "toxiproxy_port": 0,
                "start_timeout": 60.0,
            }
        )
    )
    try:
        stack.up()
        stack.seed(Blueprint.default())
        assert stack.status().state == "ready"
    finally:
        stack.destroy()
