from __future__ import annotations

import socket
from contextlib import closing

import pytest

from vault_harness.errors import DeadlineExceeded, PortTaken
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.process.services import ServiceProcesses
from vault_harness.local.stack.example_services import SERVICES, ExampleServices
from vault_harness.local.stack.local import LocalStack
from vault_harness.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("services-as-processes")]


@pytest.fixture
def local(stack: LocalStack) -> LocalStack:
    stack.up()
    stack.seed(Blueprint.default())
    return stack


@pytest.fixture
def stopped(local: LocalStack) -> ExampleServices:
    services = ExampleServices(local, ports=dict.fromkeys(SERVICES, 0))
    services.write_credentials(Blueprint.default())
    return services


@pytest.fixture
def services(stopped: ExampleServices) -> ExampleServices:
    stopped.start()
    return stopped


def statuses(services: ExampleServices) -> set[str]:
    return {service.status for service in services.describe()}


def pids(local: LocalStack) -> dict[str, list[int]]:
    running = ServiceProcesses(local.data_dir).running()
    return {name: [process.pid for process in found] for name, found in running.items()}


def test_they_survive_a_seal_and_end_with_the_stack(
    local: LocalStack, services: ExampleServices
) -> None:
    described, first = services.describe(), pids(local)
    assert [service.name for service in described] == list(SERVICES)
    assert {(service.health, service.status) for service in described} == {("healthy", "ok")}
    before = services.fingerprints()
    assert list(before) == list(SERVICES)
    local.seal()
    wait_until(lambda: statuses(services) == {"degraded"}, "services to notice", timeout=60)
    assert services.fingerprints() == before
    local.unseal()
    wait_until(lambda: statuses(services) == {"ok"}, "services to recover", timeout=60)
    assert pids(local) == first
    assert set(SERVICES) <= set(local.down())
    assert pids(local) == {}


def test_a_second_start_replaces_only_what_changed(
    local: LocalStack, services: ExampleServices
) -> None:
    """A dead service starts again on its port, and another way replaces all."""
    first, urls = pids(local), {one.name: one.url for one in services.describe()}
    (backend,) = ServiceProcesses(local.data_dir).running()["backend"]
    backend.kill()
    assert {one.name for one in services.describe() if one.health == "none"} == {"backend"}
    services.start()
    second = pids(local)
    assert {name for name in SERVICES if second[name] != first[name]} == {"backend"}
    assert {one.name: one.url for one in services.describe()} == urls
    services.start(through_toxiproxy=False)
    assert not {pid for (pid,) in pids(local).values()} & {pid for (pid,) in second.values()}
    assert services.stop() == list(SERVICES)
    assert pids(local) == {}


@pytest.mark.usefixtures("stopped")
def test_a_taken_port_is_told(local: LocalStack) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        ports = dict.fromkeys(SERVICES, 0) | {"celery_beat": taken.getsockname()[1]}
        with pytest.raises(PortTaken, match="CELERY_BEAT_PORT"):
            ExampleServices(local, ports=ports).start()
    assert pids(local) == {}


def test_services_that_cannot_log_in_are_told_and_end(
    local: LocalStack, stopped: ExampleServices
) -> None:
    local.seal()
    with pytest.raises(DeadlineExceeded, match="backend is unhealthy") as caught:
        stopped.start(timeout=3.0)
    assert "unseal" in caught.value.remedy
    assert pids(local) == {}


def test_with_client_certificates(local: LocalStack) -> None:
    local.down()
    local.up(client_certs=True)
    services = ExampleServices(local, ports=dict.fromkeys(SERVICES, 0))
    services.write_credentials(Blueprint.default())
    services.start()
    before = services.fingerprints()
    local.renew_certificate(ca=True)
    local.restart()
    local.unseal()
    wait_until(lambda: statuses(services) == {"ok"}, "services to read again", timeout=60)
    assert services.fingerprints() == before
