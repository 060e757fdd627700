from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from vault_harness.certificates import shown_by
from vault_harness.errors import CapabilityMissing, NotUp, StackError
from vault_harness.judge.faults import Order
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.docker.cluster import DockerCluster
from vault_harness.local.stack.env import service_environment
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord, StackRecordFile
from vault_harness.local.vault.keyring import Keyring
from vault_harness.settings import Settings

BLUEPRINT = Blueprint.default()
pytestmark = pytest.mark.xdist_group("faults by hand")  # they share a stack


def disturb(stack: LocalStack, order: Order) -> None:
    stack.fault_requests(order.to_json())


def ask(
    stack: LocalStack,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    direct: bool = False,
) -> requests.Response:
    """Send a request as root to Vault, or to what stands before it."""
    endpoints = stack.endpoints()
    return requests.request(
        method,
        f"{endpoints.vault if direct else endpoints.proxy}/v1/{path}",
        headers={"X-Vault-Token": Keyring.load(stack.keyring_path).root_token or ""},
        json=body,
        timeout=10,
        verify=str(endpoints.ca_cert) if endpoints.ca_cert else None,
    )


def login(stack: LocalStack) -> int:
    variables = service_environment(stack, "backend")
    ids = {
        name: Path(variables[f"VAULT_{name.upper()}_FILE"]).read_text().strip()
        for name in ("role_id", "secret_id")
    }
    return ask(stack, "POST", "auth/approle/login", ids).status_code


def recorder(stack: LocalStack) -> psutil.Process:
    return psutil.Process(int(StackRecord.load(stack.data_dir).services["recorder"]["pid"]))


def counts(stack: LocalStack) -> list[tuple[int, int, bool]]:
    """Return for each fault: requests seen, requests hit, and whether it is over."""
    found = stack.status().recorder
    assert found is not None
    return [(one.seen, one.acted, one.over) for one in found.faults]


@pytest.fixture
def up(shared: LocalStack) -> Iterator[LocalStack]:
    yield shared
    with contextlib.suppress(KeyError, psutil.NoSuchProcess):
        recorder(shared).kill()  # its end by a signal takes two seconds
    shared.heal()


def test_the_first_logins_fail(up: LocalStack) -> None:
    disturb(up, Order(act="fail", targets=("login",), first=2, status=503))
    assert up.status().obstacles == ("requests are disturbed: login answered 503, the first 2",)
    assert [login(up) for _ in range(3)] == [503, 503, 200]
    assert counts(up) == [(3, 2, True)]
    assert up.status().obstacles == ()
    process = recorder(up)

    assert any("the HTTP recorder" in line for line in up.heal())
    assert not process.is_running()
    assert up.status().recorder is None
    assert [proxy.upstream for proxy in up.status().proxies] == [up.endpoints().node.upstream]
    assert login(up) == 200
    assert up.heal() == []


def test_a_look_uses_nothing_up(up: LocalStack) -> None:
    disturb(up, Order(act="fail", targets=("health",), first=1))
    assert up.status().obstacles == up.status().obstacles != ()
    assert counts(up) == [(0, 0, False)]
    assert ask(up, "GET", "sys/health").status_code == 503


@pytest.mark.slow  # starts twice
def test_up_leaves_it_and_down_ends_it(stack: LocalStack) -> None:
    up = stack
    up.up()
    up.seed(BLUEPRINT)
    disturb(up, Order(act="fail", targets=("login",)))
    process = recorder(up)
    up.up()
    assert (recorder(up).pid, login(up)) == (process.pid, 503)
    assert any("the HTTP recorder" in line for line in up.down())
    assert not process.is_running()
    up.up()
    assert (login(up), up.status().recorder) == (200, None)
    disturb(up, Order(act="fail", targets=("login",)))
    up.destroy()
    assert not up.data_dir.exists()


@pytest.mark.parametrize(
    ("mends", "kept"),
    [
        (lambda s: s.heal(), 200),
        (lambda s: s.up(), 200),
        (lambda s: disturb(s, Order(act="fail", targets=("login",), status=500)), 500),
    ],
    ids=["heal", "up", "the next fault"],
)
def test_a_recorder_that_dies(
    up: LocalStack, mends: Callable[[LocalStack], Any], kept: int
) -> None:
    disturb(up, Order(act="fail", targets=("login",)))
    process = recorder(up)
    process.kill()
    process.wait(10)
    with pytest.raises(requests.ConnectionError):
        login(up)
    found = up.status()
    assert found.obstacles == ("the proxy vault leads to the HTTP recorder, which has died",)
    assert (found.state, found.next_step, found.services["recorder"]) == (
        "ready",
        "invoke heal",
        "",
    )
    mends(up)
    assert login(up) == kept


def test_a_recorder_that_hangs_is_named_and_ended(up: LocalStack) -> None:
    disturb(up, Order(act="fail", targets=("login",)))
    process = recorder(up)
    process.send_signal(signal.SIGSTOP)
    assert up.status().obstacles == (
        "the proxy vault leads to the HTTP recorder, which does not answer",
    )
    up.heal()
    assert not process.is_running()
    assert login(up) == 200


def test_log_and_files_hold_no_secret(up: LocalStack) -> None:
    disturb(up, Order(act="fail", targets=("any",), every=2))
    for _ in range(2):
        login(up)
        ask(up, "GET", "ecommerce/data/backend/django")
    told = "".join(path.read_text() for path in (up.data_dir / "recorder").iterdir())
    told += str(up.status())
    secrets = [Keyring.load(up.keyring_path).root_token or ""]
    secrets += [path.read_text().strip() for path in up.data_dir.glob("*-secret-id")]
    assert "read number 2" in told
    assert [secret for secret in secrets if secret in told] == []


def test_over_tls(stack: LocalStack) -> None:
    stack.up(tls=True)
    stack.seed(BLUEPRINT)
    disturb(stack, Order(act="fail", targets=("login",), first=1))
    assert [login(stack), login(stack)] == [503, 200]
    for ca in (False, True):
        done = stack.renew_certificate(ca=ca)
        assert shown_by(stack.endpoints().proxy, ca_cert=done.ca_cert).serial == done.serial
    assert login(stack) == 200
    stack.heal()
    assert login(stack) == 200


def test_without_a_stack(stack: LocalStack) -> None:
    with pytest.raises(NotUp):
        disturb(stack, Order(act="fail", targets=("login",)))
    assert not (stack.data_dir / "recorder").exists()


def test_an_order_that_is_none(up: LocalStack) -> None:
    with pytest.raises(StackError, match="refused an order"):
        up.fault_requests({"act": "explode"})
    assert (login(up), up.status().obstacles) == (200, ())


def test_an_engine_without_a_recorder(tmp_path: Path) -> None:
    containers = DockerCluster(Settings(data_dir=tmp_path), StackRecordFile(tmp_path))
    with pytest.raises(CapabilityMissing, match="the docker engine") as caught:
        containers.start_recorder()
    assert "break.latency" in caught.value.remedy
