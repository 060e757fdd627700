from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import hvac
import hvac.exceptions
import psutil
import pytest

from tests.engine.stack.conftest import servers
from tests.engine.stack.freezing import freeze
from vault_harness.errors import (
    KeyringMissing,
    NotUp,
    PortTaken,
    StackError,
    VaultIsSealed,
)
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack.env import service_environment
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord
from vault_harness.settings import Settings, checkout
from vault_harness.waiting import wait_until

BLUEPRINT = Blueprint.default()


def pid_of(stack: LocalStack, service: str) -> int:
    return int(StackRecord.load(stack.data_dir).services[service]["pid"])


def secret_key(stack: LocalStack) -> str:
    variables = service_environment(stack, "backend")
    client = hvac.Client(url=variables["VAULT_ADDR"])
    client.auth.approle.login(
        role_id=Path(variables["VAULT_ROLE_ID_FILE"]).read_text(),
        secret_id=Path(variables["VAULT_SECRET_ID_FILE"]).read_text(),
    )
    kv, mount = client.secrets.kv.v2, variables["VAULT_MOUNT_POINT"]
    with pytest.raises(hvac.exceptions.Forbidden):
        kv.read_secret_version("ai/openai", mount_point=mount, raise_on_deleted_version=True)
    answer = kv.read_secret_version(
        "backend/django", mount_point=mount, raise_on_deleted_version=True
    )
    return str(answer["data"]["data"]["SECRET_KEY"])


def test_a_day_in_the_life(stack: LocalStack) -> None:
    assert stack.status().state == "down"
    endpoints = stack.up()
    status = stack.status()
    assert (status.state, status.initialised, status.sealed) == ("ready", True, False)
    assert (status.engine, status.product, status.seeded) == ("process", "openbao", False)
    assert [proxy.name for proxy in status.proxies] == ["vault"]

    changes = stack.seed(BLUEPRINT)
    assert {change.action for change in changes if change.kind == "secret"} == {"created"}
    assert {change.action for change in stack.seed(BLUEPRINT)} == {"unchanged"}
    assert (stack.status().seeded, stack.status().blueprint) == (True, "ecommerce")
    key = secret_key(stack)

    pids = {service: pid_of(stack, service) for service in ("vault", "toxiproxy")}
    assert stack.up() == endpoints
    assert {service: pid_of(stack, service) for service in pids} == pids, "nothing was restarted"

    stack.restart()
    sealed = stack.status()
    assert (sealed.state, sealed.seeded, sealed.next_step) == ("sealed", True, "invoke unseal")
    with pytest.raises(VaultIsSealed):
        stack.seed(BLUEPRINT)
    stack.unseal()
    assert secret_key(stack) == key

    assert len(stack.down()) == 2
    assert servers(stack) == []
    assert stack.down() == []
    with pytest.raises(NotUp):
        stack.unseal()
    assert stack.up() == endpoints
    assert secret_key(stack) == key

    stack.destroy()
    assert servers(stack) == []
    assert not stack.data_dir.exists()


@pytest.mark.slow
def test_a_toxiproxy_that_answers_nothing_is_replaced(stack: LocalStack) -> None:
    """By `up`, the doctor's remedy."""
    stack.up()
    stack.seed(BLUEPRINT)
    key = secret_key(stack)
    before = {service: pid_of(stack, service) for service in ("vault", "toxiproxy")}
    record = StackRecord.load(stack.data_dir)
    record.services["toxiproxy"]["probe"] = "http://127.0.0.1:1/version"
    record.save(stack.data_dir)

    LocalStack(stack.settings.model_copy(update={"start_timeout": 3.0})).up()

    assert pid_of(stack, "vault") == before["vault"]
    assert pid_of(stack, "toxiproxy") != before["toxiproxy"]
    assert stack.status().obstacles == ()
    assert secret_key(stack) == key


@pytest.mark.slow
def test_files_are_private_and_nothing_is_printed(stack: LocalStack) -> None:
    root = checkout()
    assert root is not None
    said = ""
    for arguments in (["up"], ["seed"], ["status"], ["status", "--json"], ["env", "backend"]):
        command = [sys.executable, "-m", "invoke", "--search-root", str(root), *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        said += answer.stdout + answer.stderr
    assert stack.data_dir.stat().st_mode & 0o777 == 0o700
    keyring = json.loads(stack.keyring_path.read_text())
    secrets = [*keyring["unseal_keys_b64"], keyring["root_token"]]
    for path in stack.data_dir.glob("*-id"):
        assert path.stat().st_mode & 0o777 == 0o600
        secrets.append(path.read_text())
    assert len(keyring["unseal_keys_b64"]) == 5
    assert keyring["unseal_threshold"] == 3
    assert stack.keyring_path.stat().st_mode & 0o777 == 0o600

    said += (stack.data_dir / "stack.json").read_text()
    said += "".join(stack.logs("vault")) + "".join(stack.logs("toxiproxy"))
    said += "".join(stack.logs("audit"))
    for process in servers(stack):
        said += " ".join([*process.cmdline(), *process.environ().values()])
    assert len(secrets) == 12
    assert not [secret for secret in secrets if secret in said]


def test_two_at_once_leave_one_stack(stack: LocalStack) -> None:
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(LocalStack(stack.settings).up()))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found[0] == found[1]
    assert len(servers(stack)) == 2
    assert stack.status().state == "ready"


@pytest.mark.slow
def test_an_initialised_vault_without_keyring_is_never_initialised_again(
    stack: LocalStack,
) -> None:
    """An initialised Vault without keys stops `up`, keeps its data, and needs its keys."""
    stack.up()
    stack.seed(BLUEPRINT)
    key = secret_key(stack)
    stack.down()
    kept = stack.keyring_path.rename(stack.data_dir.parent / "init.json")

    with pytest.raises(KeyringMissing, match="unseal keys are not here"):
        stack.up()
    assert servers(stack) == []

    kept.rename(stack.keyring_path)
    stack.up()
    assert secret_key(stack) == key


@pytest.mark.slow
def test_a_killed_server_comes_back(stack: LocalStack) -> None:
    stack.up()
    stack.seed(BLUEPRINT)
    key = secret_key(stack)
    for service in ("vault", "toxiproxy"):
        os.kill(pid_of(stack, service), signal.SIGKILL)
    wait_until(lambda: stack.status().state == "down", "both to be gone", timeout=10)
    with pytest.raises(NotUp):
        stack.endpoints()

    stack.up()

    assert secret_key(stack) == key


@pytest.mark.slow
def test_a_paused_vault_is_resumed(stack: LocalStack) -> None:
    stack.up()
    freeze(pid_of(stack, "vault"))
    assert stack.status().state == "not answering"

    stack.up()
    assert stack.status().state == "ready"
    freeze(pid_of(stack, "vault"))
    stack.down()
    assert servers(stack) == []


@pytest.mark.slow
def test_down_finds_servers_without_a_record(stack: LocalStack) -> None:
    """By their configuration file, and only they end."""
    stack.up()
    (stack.data_dir / "stack.json").unlink()
    editor = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(300)", f"{stack.data_dir}/vault/vault.json"]
    )
    try:
        assert len(stack.down()) == 2
        assert editor.poll() is None
    finally:
        editor.kill()
        editor.wait()


def test_down_leaves_a_process_with_a_recycled_pid_alone(stack: LocalStack) -> None:
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        record = StackRecord(engine="process")
        born = psutil.Process(stranger.pid).create_time() - 3600
        probe = "http://127.0.0.1:1/"
        record.services["vault"] = {"pid": stranger.pid, "born": born, "probe": probe}
        record.save(stack.data_dir)

        assert stack.status().state == "down"
        assert stack.down() == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize(
    ("setting", "more"),
    [
        ("VAULT_PORT", {}),
        ("PROXY_PORT", {"ha": True, "tls": True}),
        ("TOXIPROXY_PORT", {"seal": "static"}),
    ],
)
def test_a_taken_port(stack: LocalStack, setting: str, more: dict[str, Any]) -> None:
    """The error names port, owner and setting; no server, file or folder is left."""
    port = int(os.environ[f"HARNESS_{setting}"])
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()

        with pytest.raises(PortTaken) as caught:
            stack.up(**more)

    assert f"port {port} on 127.0.0.1 is taken" in caught.value.cause
    assert f"pid {os.getpid()}" in caught.value.cause
    assert f"HARNESS_{setting}" in caught.value.remedy
    assert servers(stack) == []
    assert not stack.data_dir.exists()


@pytest.mark.slow
def test_a_port_that_is_taken_while_the_stack_is_down(stack: LocalStack) -> None:
    stack.up()
    stack.down()
    record = (stack.data_dir / "stack.json").read_bytes()
    before = sorted(stack.data_dir.rglob("*"))
    with (
        socket.create_server(("127.0.0.1", int(os.environ["HARNESS_PROXY_PORT"]))),
        pytest.raises(PortTaken),
    ):
        stack.up(tls=True)
    assert sorted(stack.data_dir.rglob("*")) == before
    assert (stack.data_dir / "stack.json").read_bytes() == record

    stack.up()
    assert stack.status().state == "ready"


def test_env_before_seed(stack: LocalStack) -> None:
    """Without ids `env` is an error; with them, it prints ids only on request."""
    endpoints = stack.up()
    with pytest.raises(StackError, match="not seeded"):
        service_environment(stack, "celery_worker")

    stack.seed(BLUEPRINT)
    variables = service_environment(stack, "celery_worker")
    assert variables["VAULT_ADDR"] == endpoints.proxy
    assert variables["VAULT_ROLE_ID_FILE"].endswith("backend-role-id")
    assert "VAULT_ROLE_ID" not in variables
    shown = service_environment(stack, "ai_services", reveal=True, direct=True)
    assert shown["VAULT_ADDR"] == endpoints.vault
    assert len(shown["VAULT_SECRET_ID"]) == 36


@pytest.mark.slow
def test_a_blueprint_of_ones_own(stack: LocalStack, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        'name = "own"\n[mounts.team]\n'
        """[policies]\napp = { rules = 'path "team/data/*" { capabilities = ["read"] }' }\n"""
        '[approles.app]\npolicies = ["app"]\n[secrets.team.x]\nKEY = "literal"\n'
    )
    stack.up()
    stack.seed(Blueprint.load(file))

    later = LocalStack(stack.settings)
    assert (later.status().seeded, later.status().blueprint) == (True, "own")
    variables = service_environment(later, "app")
    assert variables["VAULT_MOUNT_POINT"] == "team"


@pytest.mark.slow
def test_free_ports_are_kept_over_a_down(tmp_path: Path) -> None:
    """With port 0 the first `up` chooses the ports."""
    settings = Settings(
        engine="process",
        data_dir=tmp_path / "data",
        vault_port=0,
        proxy_port=0,
        toxiproxy_port=0,
        start_timeout=60,
    )
    stack = LocalStack(settings)
    try:
        first = stack.up()
        stack.down()
        assert stack.up() == first
    finally:
        stack.destroy()
