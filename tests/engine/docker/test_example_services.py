import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.docker.state import find_image
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.images.build import LOCAL_SERVICES
from vault_harness.local.stack.example_services import SERVICES, ExampleServices
from vault_harness.local.stack.local import LocalStack
from vault_harness.settings import Settings, checkout
from vault_harness.waiting import wait_until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow,
    pytest.mark.xdist_group("services"),  # they share a stack and its services
]


def invoke(local: LocalStack, *words: str) -> None:
    environment = os.environ | {
        "HARNESS_ENGINE": "docker",
        "HARNESS_DATA_DIR": str(local.data_dir),
        "HARNESS_VAULT_PORT": "0",
        "HARNESS_PROXY_PORT": "0",
        "HARNESS_TOXIPROXY_PORT": "0",
    }
    root = checkout()
    assert root is not None
    subprocess.run(
        [sys.executable, "-m", "invoke", *words], cwd=root, env=environment, timeout=120, check=True
    )


@pytest.fixture(scope="module")
def local(
    settings: Settings,
    compose: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LocalStack]:
    with connected() as client:
        if find_image(client, LOCAL_SERVICES) is None:
            pytest.skip(f"the image {LOCAL_SERVICES} is not here: invoke images")
    stack = LocalStack(
        Settings(
            engine="docker",
            data_dir=tmp_path_factory.mktemp("services") / "vault-data",
            vault_port=0,
            proxy_port=0,
            toxiproxy_port=0,
            start_timeout=60,
        )
    )
    try:
        stack.up()
        stack.seed(Blueprint.default())
        yield stack
    finally:
        stack.destroy()


@pytest.fixture(scope="module")
def services(local: LocalStack) -> ExampleServices:
    services = ExampleServices(local, ports=dict.fromkeys(SERVICES, 0))
    services.write_credentials(Blueprint.default())
    services.start(timeout=120)
    return services


def statuses(services: ExampleServices) -> set[str]:
    return {service.status for service in services.describe()}


def test_all_are_healthy(services: ExampleServices) -> None:
    described = services.describe()
    assert [service.name for service in described] == list(SERVICES)
    assert {service.health for service in described} == {"healthy"}
    assert statuses(services) == {"ok"}


def test_they_show_a_fingerprint_and_never_the_secret(
    local: LocalStack, services: ExampleServices
) -> None:
    operator = local.operator()
    secret = operator.client.secrets.kv.v2.read_secret_version(
        "backend/django", mount_point="ecommerce", raise_on_deleted_version=True
    )["data"]["data"]["SECRET_KEY"]
    operator.close()
    prints = services.fingerprints()
    assert set(prints) == set(SERVICES)
    assert len(set(prints.values())) == 6, "six secrets, shared by services of one role"
    assert prints["celery_worker"] == prints["celery_beat"]
    said = [
        requests.get(f"{service.url}{path}", timeout=10).text
        for service in services.describe()
        for path in ("/health", "/fingerprint", "/")
    ]
    said += [services.logs(name) for name in SERVICES]
    assert not [text for text in said if secret in text or json.dumps(secret)[1:-1] in text]


def test_they_see_neither_keys_nor_each_others_ids(services: ExampleServices) -> None:
    for name in SERVICES:
        present = {path.name for path in services.credentials_directory(name).iterdir()}
        assert len(present) == 2
        assert all(file.endswith(("-role-id", "-secret-id")) for file in present)


def test_they_survive_a_seal_and_an_unseal(local: LocalStack, services: ExampleServices) -> None:
    before = services.fingerprints()
    local.seal()
    wait_until(lambda: statuses(services) == {"degraded"}, "services to notice", timeout=90)
    assert services.fingerprints() == before
    assert {service.health for service in services.describe()} == {"healthy"}
    local.unseal()
    wait_until(lambda: statuses(services) == {"ok"}, "services to recover", timeout=90)
    assert services.fingerprints() == before
    assert services.restarts() == dict.fromkeys(SERVICES, 0)


def test_a_rotated_secret_id_needs_no_restart(
    local: LocalStack, services: ExampleServices, tmp_path: Path
) -> None:
    """It is read at the next login, through the mounted directory."""
    before = services.credentials_directory("backend").joinpath("backend-secret-id").read_text()
    invoke(local, "rotate.secret-id", "--all")
    after = services.credentials_directory("backend").joinpath("backend-secret-id").read_text()
    assert after != before
    operator = local.operator()
    accessors = operator.request("LIST", "auth/token/accessors")["data"]["keys"]
    own = operator.request("GET", "auth/token/lookup-self")["data"]["accessor"]
    for accessor in accessors:
        if accessor != own:
            operator.request("POST", "auth/token/revoke-accessor", accessor=accessor)
    operator.close()
    wait_until(lambda: statuses(services) == {"ok"}, "services to log in again", timeout=90)
    assert services.restarts() == dict.fromkeys(SERVICES, 0)


def test_they_can_be_ended_alone(local: LocalStack, services: ExampleServices) -> None:
    assert services.stop() == list(SERVICES)
    assert {service.health for service in services.describe()} == {"none"}
    assert all(service.running for service in local.provider().describe())


def test_over_tls(local: LocalStack, services: ExampleServices) -> None:
    services.stop()
    local.down()
    local.up(tls=True)
    services.start(timeout=120)
    assert statuses(services) == {"ok"}
    before = services.fingerprints()
    for ca in (True, False):
        local.renew_certificate(ca=ca)
    local.restart()
    local.unseal()
    wait_until(lambda: statuses(services) == {"ok"}, "services to read again", timeout=90)
    assert services.fingerprints() == before
    assert services.restarts() == dict.fromkeys(SERVICES, 0)


def test_with_client_certificates(local: LocalStack, services: ExampleServices) -> None:
    services.stop()
    local.down()
    local.up(client_certs=True)
    services.start(timeout=120)
    assert statuses(services) == {"ok"}
    before = services.fingerprints()
    shown = services.credentials_directory("backend") / "certificate.pem"
    first = shown.read_text()
    for ca in (True, False):
        local.renew_certificate(ca=ca)
    assert shown.read_text() != first
    local.restart()
    local.unseal()
    wait_until(lambda: statuses(services) == {"ok"}, "services to read again", timeout=90)
    assert services.fingerprints() == before
    assert services.restarts() == dict.fromkeys(SERVICES, 0)
