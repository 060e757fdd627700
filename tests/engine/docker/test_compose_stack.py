import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.engine.docker.by_hand import by_hand
from vault_harness.certificates import shown_by
from vault_harness.errors import DeadlineExceeded, NotUp, PortTaken, StackError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.docker.compose import project_name
from vault_harness.local.engine.docker.state import require
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.engine.ports import PortLease, answers, ask, seal_status_url
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.toxiproxy.client import Toxiproxy
from vault_harness.local.toxiproxy.toxics import Latency
from vault_harness.settings import Settings, checkout
from vault_harness.waiting import wait_until

pytestmark = [pytest.mark.docker, pytest.mark.slow]

Objects = dict[str, set[str]]


@pytest.fixture
def project(local: LocalStack) -> str:
    return f"com.docker.compose.project={project_name(local.data_dir)}"


def read_secret(local: LocalStack, address: str) -> int:
    with contextlib.closing(local.operator()) as operator:
        token = operator.client.token
    return requests.get(
        f"{address}/v1/ecommerce/data/backend/django",
        headers={"X-Vault-Token": token},
        timeout=10,
    ).status_code


def container_of(local: LocalStack, service: str) -> Any:
    labels = [
        f"com.docker.compose.project={project_name(local.data_dir)}",
        f"com.docker.compose.service={service}",
    ]
    with connected() as client:
        (found,) = client.containers.list(all=True, filters={"label": labels})
    return found


def becomes_healthy(local: LocalStack) -> None:
    def health() -> str:
        return str(container_of(local, "vault").attrs["State"]["Health"]["Status"])

    wait_until(lambda: health() == "healthy", "the health check to pass", timeout=60)


def test_from_nothing_to_seeded_and_back(
    local: LocalStack, project: str, objects_of: Callable[[str], Objects]
) -> None:
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
    assert (left["containers"], left["networks"]) == (set(), set())
    assert local.down() == []

    again = local.up()
    assert read_secret(local, again.vault) == 200

    local.destroy()
    assert objects_of(project) == {"containers": set(), "networks": set(), "volumes": set()}


def test_toxics_survive_a_second_up(local: LocalStack) -> None:
    endpoints = local.up()
    proxy = Toxiproxy(endpoints.toxiproxy).proxy("vault")
    proxy.add(Latency(latency=1), name="mine")
    local.up()
    assert [toxic.name for toxic in proxy.toxics()] == ["mine"]


def test_logs_and_the_audit_log_are_there(local: LocalStack) -> None:
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
    """The error names the port's owner and the setting that moves ours."""
    taken = int(local.up().vault.rpartition(":")[2])
    other = LocalStack(
        local.settings.model_copy(
            update={"vault_port": taken, "data_dir": local.data_dir.parent / "other"}
        )
    )
    with pytest.raises(PortTaken) as caught:
        other.up()
    assert "HARNESS_VAULT_PORT" in caught.value.remedy
    holder = container_of(local, "vault").name
    assert f"docker stop {holder}" in caught.value.remedy
    assert "dockerd" not in str(caught.value)
    label = f"com.docker.compose.project={project_name(other.data_dir)}"
    assert sum(map(len, objects_of(label).values())) == 0


def test_a_paused_vault_is_up_again_after_up(local: LocalStack) -> None:
    endpoints = local.up()
    container_of(local, "vault").pause()
    local.up()
    assert requests.get(f"{endpoints.vault}/v1/sys/health", timeout=5).status_code == 200


def test_a_paused_toxiproxy_is_not_ready(local: LocalStack) -> None:
    """A paused Toxiproxy keeps its sockets and answers nothing."""
    local.up()
    container_of(local, "toxiproxy").pause()
    assert local.status().state == "not answering"
    assert local.status().next_step.startswith("invoke up wakes what was paused")
    with pytest.raises(NotUp, match="toxiproxy"):
        local.endpoints()
    local.up()
    assert local.status().state == "ready"


def test_a_second_up_that_fails_removes_nothing(
    local: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = local.up()
    monkeypatch.setattr("vault_harness.local.engine.docker.stack.answers", lambda _url, **_: False)
    impatient = LocalStack(local.settings.model_copy(update={"start_timeout": 0.3}))
    with pytest.raises(DeadlineExceeded):
        impatient.up()
    assert {service.running for service in local.provider().describe()} == {True}
    assert requests.get(f"{endpoints.vault}/v1/sys/health", timeout=5).status_code == 200


def test_up_knows_its_own_containers_without_a_record(local: LocalStack) -> None:
    """Without a record, `up` asks the engine which container publishes a port."""
    ports = {"vault_port": PortLease, "proxy_port": PortLease, "toxiproxy_port": PortLease}
    leases = {name: make() for name, make in ports.items()}
    chosen = local.settings.model_copy(update={name: lease.port for name, lease in leases.items()})
    for lease in leases.values():
        lease.release()
    endpoints = LocalStack(chosen).up()
    (local.data_dir / "stack.json").unlink()
    assert LocalStack(chosen).up() == endpoints


def test_the_other_engine_goes_on_with_the_same_vault(local: LocalStack) -> None:
    local.up()
    local.seed(Blueprint.default())
    keys = local.keyring_path.read_bytes()
    for name in ("process", "docker"):
        LocalStack(local.settings).down()
        local.settings = local.settings.model_copy(update={"engine": name})
        endpoints = local.up()
        assert local.status().engine == name
        assert read_secret(local, endpoints.proxy) == 200
        assert local.keyring_path.read_bytes() == keys


def test_data_of_the_other_product_is_refused(local: LocalStack) -> None:
    """Data of the other product is refused before its keys look wrong."""
    local.up()
    local.down()
    (local.data_dir / "vault" / "product").write_text("vault\n")
    with pytest.raises(StackError, match="written by HashiCorp Vault") as caught:
        local.up()
    assert "VAULT_IMAGE" in caught.value.remedy
    assert local.keyring_path.exists()


def test_everything_of_it_belongs_to_this_user(local: LocalStack) -> None:
    local.up()
    local.seed(Blueprint.default())
    present = [path.stat() for path in (local.data_dir / "vault").rglob("*")]
    assert {(status.st_uid, status.st_mode & 0o077) for status in present} == {(os.getuid(), 0)}


def test_by_hand_on_the_stack_of_the_tasks(local: LocalStack) -> None:
    endpoints = local.up()
    env_file = ("--env-file", str(local.data_dir / "compose.env"))
    assert set(by_hand(*env_file, "ps", "--services").split()) == {"vault", "toxiproxy"}
    by_hand(*env_file, "down")
    by_hand(*env_file, "up", "-d")
    assert local.status().state == "sealed"
    assert local.up() == endpoints


def test_by_hand_without_a_task_the_checkout_stays_usable(
    settings: Settings, compose: tuple[str, ...], tmp_path: Path
) -> None:
    with connected() as client:
        vault, toxiproxy = require(client, settings)
    leases = [PortLease() for _ in range(3)]
    ports = dict(zip(("VAULT_PORT", "TOXIPROXY_PORT", "PROXY_PORT"), leases, strict=True))
    variables = {name: str(lease.port) for name, lease in ports.items()}
    for lease in leases:
        lease.release()
    variables |= {
        "VAULT_IMAGE": vault.name,
        "VAULT_PROGRAM": vault.dialect.program,
        "VAULT_CONFIG": f"/vault/config/{vault.dialect.program}.json",
        "TOXIPROXY_IMAGE": toxiproxy.name,
    }
    names = ("base.yml", "vault.yml", "toxiproxy.yml")
    files = [word for name in names for word in ("-f", f"compose/{name}")]
    project = ("-p", f"by-hand-{tmp_path.name[-20:]}".replace("_", "-"))
    root = checkout()
    assert root is not None
    before = sorted(root.iterdir())
    try:
        by_hand(*project, *files, "up", "-d", **variables)
        url = f"http://127.0.0.1:{variables['VAULT_PORT']}/v1/sys/seal-status"
        wait_until(lambda: answers(url), "Vault to answer", timeout=30)
        assert requests.get(url, timeout=5).json()["initialized"] is False
    finally:
        by_hand(*project, *files, "down", "--volumes", **variables)
    assert sorted(root.iterdir()) == before


def test_all_files_are_read_together(compose: tuple[str, ...]) -> None:
    names = ("base.yml", "vault.yml", "toxiproxy.yml", "services.yml")
    files = [word for name in names for word in ("-f", f"compose/{name}")]
    said = by_hand(*files, "config")
    assert "hashicorp/vault:" in said
    assert said.startswith("name: vault-harness-by-hand\n")


def test_over_tls(local: LocalStack) -> None:
    endpoints = local.up(tls=True)
    local.seed(Blueprint.default())
    assert endpoints.proxy.startswith("https://")
    assert local.status().state == "ready"
    assert local.status().obstacles == ()
    becomes_healthy(local)
    done = local.renew_certificate(ca=True)
    for address in (endpoints.vault, endpoints.proxy):
        assert shown_by(address, ca_cert=done.ca_cert).serial == done.serial
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            shown_by(address, ca_cert=None)
    local.restart()
    local.unseal()
    assert shown_by(endpoints.vault, ca_cert=done.ca_cert).serial == done.serial


def test_with_client_certificates(local: LocalStack) -> None:
    endpoints = local.up(client_certs=True)
    local.seed(Blueprint.default())
    assert local.status().state == "ready"
    assert local.status().obstacles == ()
    becomes_healthy(local)
    for address in (endpoints.vault, endpoints.proxy):
        assert ask(seal_status_url(address)) is None
        own = local.data_dir / "backend-certificate.pem"
        assert answers(seal_status_url(address), own=own)
    local.renew_certificate(ca=True)
    local.restart()
    local.unseal()
    assert local.status().state == "ready"
