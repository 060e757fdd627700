"""OpenBao's agents, described by a file and judged without an adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.judge.subjects import (
    OperationFailed,
    SecretNotServed,
    open_subject,
    parse_subject,
)
from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault import approle
from vault_harness.waiting import wait_until

HERE = Path(__file__).parent
MOUNT = "ecommerce"


@pytest.mark.parametrize("name", ["bao-agent", "bao-sink", "bao-proxy"])
def test_it_is_read_as_an_application_would(name: str, stack: Stack, tmp_path: Path) -> None:
    """A value, its change, and a failure for a secret that is not configured."""
    kv = stack.operator.client.secrets.kv.v2
    for path in ("backend/django", "shared/email"):
        kv.create_or_update_secret(path, {"K": "first"}, mount_point=MOUNT)
    ids = approle.write_credentials(stack.operator, "backend", tmp_path)
    environ = {
        "VAULT_ADDR": stack.node.address,
        "VAULT_MOUNT_POINT": MOUNT,
        "VAULT_ROLE_ID": ids.role_id_file.read_text(),  # by value: it must make files of them
        "VAULT_SECRET_ID": ids.secret_id_file.read_text(),
    }
    spec = parse_subject(f"agent:{HERE / 'agent' / name}.toml")
    agent = open_subject(spec, environ, log=tmp_path / "agent.log")

    def gives(value: str) -> bool:
        try:
            return agent.read("backend/django", "K", timeout=20).value == value
        except OperationFailed:
            return False

    try:
        wait_until(lambda: gives("first"), "a value", timeout=30, evidence=agent.logs)
        kv.create_or_update_secret("backend/django", {"K": "second"}, mount_point=MOUNT)
        wait_until(lambda: gives("second"), "the new value", timeout=30, evidence=agent.logs)
        with pytest.raises((OperationFailed, SecretNotServed), match=r"404|does not render"):
            agent.read("backend/no-such-secret", "K", timeout=20)
        agent.close(timeout=20)
        assert agent.exit_code == 0
    finally:
        agent.kill()
