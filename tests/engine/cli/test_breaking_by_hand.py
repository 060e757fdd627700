from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

pytestmark = [
    pytest.mark.slow,  # each test types several commands
    pytest.mark.xdist_group("breaking by hand"),  # they share a stack
]

Checkout = Any  # of conftest.py


@pytest.fixture
def proxy(checkout: Checkout) -> Iterator[str]:
    yield checkout.proxy()
    checkout.run("heal")


def health(proxy: str, *, timeout: float = 10.0) -> int:
    return requests.get(f"{proxy}/v1/sys/health", timeout=timeout).status_code


def test_a_toxic_replaces_the_one_before(checkout: Checkout, proxy: str) -> None:
    checkout.run("break.slow", "0")
    with pytest.raises(requests.Timeout):
        health(proxy, timeout=0.5)
    assert "./dev heal" in checkout.run("break", "latency", "400")
    began = time.monotonic()
    assert health(proxy) == 200
    assert 0.4 <= time.monotonic() - began < 5.0
    assert "removed" in checkout.run("heal")
    assert "toxic" not in checkout.run("status")


def test_cut(checkout: Checkout, proxy: str) -> None:
    checkout.run("break.cut")
    with pytest.raises(requests.ConnectionError):
        health(proxy)
    assert "./dev heal" in checkout.run("status")
    assert "enabled" in checkout.run("heal")
    assert health(proxy) == 200


def test_seal(checkout: Checkout, proxy: str) -> None:
    checkout.run("break.seal")
    assert health(proxy) == 503
    assert "unsealed Vault" in checkout.run("heal")
    assert health(proxy) == 200


def begun(checkout: Checkout, *words: str) -> subprocess.Popen[str]:
    """Start a task with ``--for``, and return it when the fault is in force."""
    task = subprocess.Popen(
        [sys.executable, "-m", "vault_harness", *words],
        # A shell's background job ignores Ctrl-C; "held" takes it back, as `./dev` does.
        env={**checkout.environment, "PYTHONUNBUFFERED": "1", "HARNESS_INTERRUPTS": "held"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert task.stdout is not None
    assert "Ctrl-C undoes it earlier" in task.stdout.readline()
    return task


def ended(task: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = task.communicate(timeout=60)
    return task.returncode, said


def test_a_fault_ends_after_its_time(checkout: Checkout, proxy: str) -> None:
    task = begun(checkout, "break.cut", "--for", "2s")
    with pytest.raises(requests.ConnectionError):
        health(proxy)
    assert ended(task) == (0, "undone: connections through Toxiproxy are cut\n")
    assert health(proxy) == 200
    assert checkout.run("heal") == "nothing was broken\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_undoes_a_fault_earlier(
    checkout: Checkout, proxy: str, number: int, code: int
) -> None:
    task = begun(checkout, "break.seal", "--for", "10m")
    assert health(proxy) == 503
    task.send_signal(number)
    got, said = ended(task)
    assert (got, "undone: Vault is sealed" in said) == (code, True), said
    assert health(proxy) == 200


def test_a_fault_of_requests_ends_alone(checkout: Checkout, proxy: str) -> None:
    checkout.run("break.fail", "login", "--status", "500")
    task = begun(checkout, "break.fail", "health", "--status", "418", "--for", "1s")
    assert health(proxy) == 418
    assert ended(task)[0] == 0
    assert health(proxy) == 200
    assert "login answered 500" in checkout.run("status")


def test_heal_mends_what_a_killed_task_left(checkout: Checkout, proxy: str) -> None:
    task = begun(checkout, "break.latency", "5000", "--for", "10m")
    task.kill()
    task.communicate()
    assert "latency=5000" in checkout.run("status")
    assert "removed" in checkout.run("heal")
    began = time.monotonic()
    assert health(proxy) == 200
    assert time.monotonic() - began < 5.0


def test_revoke(checkout: Checkout, proxy: str) -> None:
    """The tokens of the role are dead; another role's tokens and its next login work."""
    url, token = f"{proxy}/v1/auth/token/lookup-self", checkout.login()
    assert requests.get(url, headers={"X-Vault-Token": token}, timeout=10).status_code == 200
    checkout.run("break.revoke", "api-gateway")
    assert requests.get(url, headers={"X-Vault-Token": token}, timeout=10).status_code == 200
    printed = checkout.run("break.revoke", "backend")
    assert requests.get(url, headers={"X-Vault-Token": token}, timeout=10).status_code == 403
    assert token not in printed
    again = checkout.login()
    assert requests.get(url, headers={"X-Vault-Token": again}, timeout=10).status_code == 200


def test_revoking_of_a_role_that_is_not_there(checkout: Checkout) -> None:
    assert "backend" in checkout.run("break.revoke", "nobody", code=4)


def test_seeding_asks_before_values_go(checkout: Checkout) -> None:
    before = checkout.value("backend/django")
    assert "nobody is there to answer" in checkout.run("seed", "--overwrite", code=4)
    assert "would replace" in checkout.run("seed", "--overwrite", "--dry-run")
    checkout.run("seed", "--only", "access")
    checkout.run("seed")
    assert checkout.value("backend/django") == before
    checkout.run("seed", "--overwrite", "--yes")
    assert checkout.value("backend/django") != before


def test_vault_takes_all_words_after_it(checkout: Checkout) -> None:
    assert "backend/" in checkout.run("vault", "kv", "list", "ecommerce/")
    path = "ecommerce/backend/by-hand"
    checkout.run("vault", "kv", "put", path, "A=two words")
    assert checkout.run("vault", "kv", "get", "-field=A", path).strip() == "two words"
    checkout.run("vault", "kv", "get", "ecommerce/nowhere", code=2)


def test_a_log_line_is_printed_as_it_is(checkout: Checkout) -> None:
    log = next(path for path in checkout.data_dir.rglob("*.log") if "vault" in path.name)
    with log.open("a") as lines:
        lines.write("somebody may invoke seed here\n")
    assert "somebody may invoke seed here" in checkout.run("logs")


def test_destroy_says_first_what_would_go(checkout: Checkout, proxy: str) -> None:
    """A dry run names the keys and the servers, and touches neither."""
    said = checkout.run("destroy", "--dry-run")
    assert f"would remove {checkout.data_dir / 'init.json'}" in said
    assert "would remove Vault" in said
    assert health(proxy) == 200
    assert (checkout.data_dir / "init.json").is_file()
