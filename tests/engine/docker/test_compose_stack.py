"""`invoke up` on the docker engine: the lasting stack, through both kinds of Compose."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from vault_harness.blueprint import Blueprint
from vault_harness.engine import StackProvider
from vault_harness.engine.docker._compose import FILES, project_name
from vault_harness.engine.docker._stack import DockerStack
from vault_harness.errors import PortTaken
from vault_harness.settings import Settings, resources
from vault_harness.stack import LocalStack
from vault_harness.stack.record import StackRecordFile
from vault_harness.toxiproxy import Latency, Toxiproxy

pytestmark = [pytest.mark.docker, pytest.mark.slow]

Objects = dict[str, set[str]]


@pytest.fixture
def local(
    settings: Settings, compose_commands: list[tuple[str, ...]], tmp_path: Path
) -> Iterator[LocalStack]:
    """A stack of its own data directory, on free ports, destroyed in the end."""
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
    stack.destroy()


@pytest.fixture
def project(local: LocalStack) -> str:
    """The label of what belongs to it."""
    return f"com.docker.compose.project={project_name(local.data_dir)}"


def read_secret(local: LocalStack, address: str) -> int:
    """Status of a read of one secret with the root token."""
    with contextlib.closing(local.operator()) as operator:
        token = operator.client.token
    return requests.get(
        f"{address}/v1/ecommerce/data/backend/django",
        headers={"X-Vault-Token": token},
        timeout=10,
    ).status_code


def test_it_has_the_shape(settings: Settings) -> None:
    """The provider is what the local stack expects."""
    assert isinstance(DockerStack(settings, StackRecordFile(settings.data_dir)), StackProvider)


def test_from_nothing_to_seeded_and_back(
    local: LocalStack, project: str, objects_of: Callable[[str], Objects]
) -> None:
    """Up, seed, read through the proxy, restart, unseal, down, up, destroy: a developer's day."""
    endpoints = local.up()
    assert local.up() == endpoints
    local.seed(Blueprint.default())
    assert read_secret(local, endpoints.proxy) == 200
    assert {True} == {entry.running for entry in local.provider().describe()}
    assert any("running" in entry.detail for entry in local.provider().describe())

    local.restart()
    status = local.status()
    assert (status.engine, status.initialised, status.sealed) == ("docker", True, True)
    local.unseal()
    assert read_secret(local, endpoints.vault) == 200

    ended = local.down()
    assert len([line for line in ended if "container" in line]) == 2
    left = objects_of(project)
    assert (left["containers"], left["networks"], len(left["volumes"])) == (set(), set(), 1)
    assert local.down() == []

    again = local.up()
    assert read_secret(local, again.vault) == 200

    local.destroy()
    assert objects_of(project) == {"containers": set(), "networks": set(), "volumes": set()}


def test_toxics_survive_a_second_up(local: LocalStack) -> None:
    """`up` keeps what runs, whatever somebody is trying out on it."""
    endpoints = local.up()
    proxy = Toxiproxy(endpoints.toxiproxy).proxy("vault")
    proxy.add(Latency(latency=1), name="mine")
    local.up()
    assert [toxic.name for toxic in proxy.toxics()] == ["mine"]


def test_logs_and_the_audit_log_are_there(local: LocalStack) -> None:
    """Both servers' words, and a file that this user can read."""
    local.up()
    local.seed(Blueprint.default())
    provider = local.provider()
    assert any("server started" in line for line in provider.logs("vault"))
    assert len(list(provider.logs("vault", tail=2))) == 2
    assert list(provider.logs("toxiproxy"))
    assert provider.audit_path is not None
    assert list(provider.logs("audit", tail=1)) == provider.audit_path.read_text().splitlines()[-1:]


def test_a_taken_port_is_said_before_anything_starts(
    local: LocalStack, project: str, objects_of: Callable[[str], Objects]
) -> None:
    """With who has it and the setting that moves ours."""
    taken = int(local.up().vault.rpartition(":")[2])
    other = LocalStack(
        local.settings.model_copy(
            update={"vault_port": taken, "data_dir": local.data_dir.parent / "other"}
        )
    )
    with pytest.raises(PortTaken) as caught:
        other.up()
    assert "HARNESS_VAULT_PORT" in caught.value.remedy
    label = f"com.docker.compose.project={project_name(other.data_dir)}"
    assert sum(map(len, objects_of(label).values())) == 0


def test_a_paused_vault_is_up_again_after_up(local: LocalStack) -> None:
    """Whoever paused it and calls `up` wants it up."""
    from vault_harness.engine.docker._client import connected

    endpoints = local.up()
    with connected() as client:
        for container in client.containers.list(
            filters={
                "label": [
                    f"com.docker.compose.project={project_name(local.data_dir)}",
                    "com.docker.compose.service=vault",
                ]
            }
        ):
            container.pause()
    local.up()
    assert requests.get(f"{endpoints.vault}/v1/sys/health", timeout=5).status_code == 200


def test_every_kind_of_compose_reads_the_files(
    compose_commands: list[tuple[str, ...]], tmp_path: Path
) -> None:
    """By hand as in the guide, with the new and with the old one."""
    for command in compose_commands:
        files = [part for name in (*FILES, "services.yml") for part in ("-f", resources() / name)]
        answer = subprocess.run(
            [*command, *map(str, files), "config"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )
        assert answer.returncode == 0, answer.stderr
        assert "hashicorp/vault:" in answer.stdout


def test_the_old_compose_brings_it_up_too(
    local: LocalStack, compose_commands: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that has `docker-compose` only."""
    if ("docker-compose",) not in compose_commands or len(compose_commands) == 1:
        pytest.skip("needs both kinds of Compose")
    assert shutil.which("docker-compose")
    monkeypatch.setattr(
        "vault_harness.engine.docker._compose.find_compose", lambda: ("docker-compose",)
    )
    endpoints = local.up()
    local.restart()
    local.unseal()
    assert requests.get(f"{endpoints.proxy}/v1/sys/health", timeout=5).status_code == 200
    assert len(local.down()) == 2
