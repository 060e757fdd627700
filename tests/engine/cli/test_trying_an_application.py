from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from vault_harness.local.engine.ports import PortLease
from vault_harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,  # each test lets faults last for seconds
    pytest.mark.xdist_group("trying"),  # they share a stack
]

Checkout = Any  # of conftest.py

GOOD = """
import time
from resilient_vault_client import VaultClient
vault = VaultClient()
while True:
    try:
        vault.get_secret("backend/django", "SECRET_KEY")
    except Exception as error:
        print(type(error).__name__, flush=True)
    time.sleep(0.2)
"""
"""Survives everything."""

STUBBORN = """
import os, sys, time, requests
address = os.environ["VAULT_ADDR"]
ids = {
    name: open(os.environ[f"VAULT_{name}_FILE".upper()]).read() for name in ("role_id", "secret_id")
}
token = requests.post(f"{address}/v1/auth/approle/login", json=ids).json()["auth"]["client_token"]
while True:
    try:
        url = f"{address}/v1/ecommerce/data/backend/django"
        requests.get(url, headers={"X-Vault-Token": token}, timeout=5)
    except requests.ConnectionError:
        if "--brittle" in sys.argv:
            sys.exit("no Vault")
    time.sleep(0.2)
"""
"""Logs in once only. With --brittle it ends when Vault is away."""

HEALTHY = """
import http.server, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
"""
"""Goes before another program."""


@pytest.fixture
def app(tmp_path: Path) -> Any:
    def write(text: str, *words: str) -> str:
        (tmp_path / "app.py").write_text(text)
        return shlex.join([sys.executable, str(tmp_path / "app.py"), *words])

    return write


def test_a_good_client_survives(checkout: Checkout, app: Any) -> None:
    before = checkout.run("audit", "--lines", "1")
    said = json.loads(checkout.run("try", app(GOOD), "--for", "3s", "--json", timeout=300))
    steps = {step["fault"]: step for step in said["steps"]}
    assert [*steps] == ["cut", "latency", "seal", "revoke", "rotate"]
    assert {step["verdict"] for step in steps.values()} == {"survived"}
    assert said["code"] == 0
    assert steps["seal"]["requests"]["read 503"] >= 1
    assert "logged in again" in steps["revoke"]["told"]
    assert "logged in again" in steps["rotate"]["told"]
    assert before
    assert "destroy" in checkout.run("audit", "--path", "*accessor/destroy")
    assert requests.get(f"{checkout.proxy()}/v1/sys/health", timeout=10).status_code == 200


def test_a_client_that_never_logs_in_again(checkout: Checkout, app: Any) -> None:
    words = ["try", app(STUBBORN), "--for", "3s", "--only", "revoke"]
    said = checkout.run(*words, code=1, timeout=300)
    assert "revoke   broken" in said
    assert "none of it worked (403)" in said


def test_a_command_that_dies(checkout: Checkout, app: Any) -> None:
    words = ["try", app(STUBBORN, "--brittle"), "--for", "20s", "--only", "cut,revoke"]
    said = checkout.run(*words, code=1, timeout=300)
    assert "cut      broken         the command ended with exit code 1" in said
    assert "revoke" not in said


def test_a_command_that_does_not_start(checkout: Checkout, app: Any) -> None:
    said = checkout.run("try", app("raise SystemExit('port in use')"), code=4)
    assert "ended with exit code 1 before anything was broken" in said
    assert "port in use" in said


def test_an_application_that_serves_from_memory(checkout: Checkout, app: Any) -> None:
    """With --health it is told that the application was well all the time."""
    lease = PortLease()
    try:
        command = app(HEALTHY + GOOD, str(lease.port))
        words = ["--health", f"http://{lease.listen}/health", "--for", "3s", "--only", "seal"]
        assert "fell back: healthy all the time" in checkout.run(
            "try", command, *words, timeout=300
        )
    finally:
        lease.release()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_after_the_end(checkout: Checkout, app: Any, number: int) -> None:
    """A signal ends the command too; Vault is not left sealed, except after a kill."""
    command = app(GOOD)
    task = subprocess.Popen(
        [sys.executable, "-m", "vault_harness", "try", command, "--for", "10m", "--only", "seal"],
        env={**checkout.environment, "PYTHONUNBUFFERED": "1", "HARNESS_INTERRUPTS": "held"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert task.stdout is not None
    assert "it runs as backend" in task.stdout.readline()
    wait_until(lambda: sealed(checkout), "Vault to be sealed", timeout=30)
    task.send_signal(number)
    said, _ = task.communicate(timeout=60)
    wait_until(lambda: not running(command), "the command to end", timeout=10)
    if number == signal.SIGKILL:
        assert "sealed" in checkout.run("status")
        checkout.run("heal")
    assert not sealed(checkout), said
    assert (task.returncode, "Traceback" in said) == (
        {2: 130, 9: -9}[number],
        False,
    ), said


def sealed(checkout: Checkout) -> bool:
    address = checkout.proxy_address = getattr(checkout, "proxy_address", "") or checkout.proxy()
    return requests.get(f"{address}/v1/sys/health", timeout=10).status_code == 503


def running(command: str) -> bool:
    script = shlex.split(command)[1]
    return any(
        script in (process.info["cmdline"] or []) and process.pid != os.getpid()
        for process in psutil.process_iter(["cmdline"])
    )


def test_wrong_words_break_nothing(checkout: Checkout, app: Any) -> None:
    assert "name some of cut, latency" in checkout.run("try", "x", "--only", "flood", code=4)
    assert "there is no service shop" in checkout.run("try", "x", "--service", "shop", code=4)
    assert "is no command" in checkout.run("try", "'x", code=4)
    assert "no-such-program" in checkout.run("try", "no-such-program", code=None)


def test_a_program_reads_the_variables(checkout: Checkout) -> None:
    found = json.loads(checkout.run("env", "backend", "--json"))
    assert found["VAULT_ADDR"] == checkout.proxy()
    assert Path(found["VAULT_SECRET_ID_FILE"]).is_file()
    assert "VAULT_SECRET_ID" not in found
