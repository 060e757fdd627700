from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import resilient_vault_client
from resilient_vault_client import VaultError, _config, events
from resilient_vault_client.events import Event
from tests.engine.client.lab import ROOT, run
from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault import approle

PAGE = (ROOT / "docs" / "client.md").read_text()


def examples(document: str) -> list[str]:
    found = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    return [example for example in found if "resilient_vault_client" in example]


@pytest.mark.parametrize(
    "document", ["README.md", "docs/client.md", "harness/resilient_vault_client/README.md"]
)
def test_examples_run(shared: Stack, tmp_path: Path, document: str) -> None:
    role, secret = tmp_path / "role-id", tmp_path / "secret-id"
    role.write_text(approle.role_id(shared.operator, "backend"))
    secret.write_text(approle.new_secret_id(shared.operator, "backend").secret_id)
    environ = {
        "VAULT_ADDR": shared.node.address,
        "VAULT_MOUNT_POINT": "ecommerce",
        "VAULT_ROLE_ID_FILE": str(role),
        "VAULT_SECRET_ID_FILE": str(secret),
    }
    found = examples(document)

    assert found
    for example in found:
        # The mount is each organisation's own; the rest of the example stays as it is.
        code, said, _ = run(example.replace('"kv"', '"ecommerce"'), environ)
        assert code == 0, said


def test_every_variable_is_on_the_page() -> None:
    read = set(re.findall(r'"((?:VAULT|USE)_[A-Z_]+)"', inspect.getsource(_config)))
    read |= {"VAULT_ROLE_ID", "VAULT_SECRET_ID"}
    table = PAGE[PAGE.index("## Settings") : PAGE.index("## What it does")]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]

    assert set(re.findall(r"`([A-Z_]+)`", " ".join(rows))) == read


def test_defaults_are_as_the_page_says() -> None:
    config = _config.Config()
    said = dict(re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \|", PAGE, re.MULTILINE))

    assert said["VAULT_MOUNT_POINT"] == config.mount_point
    assert said["VAULT_AUTH_MOUNT"] == config.auth_mount
    for name, value in (
        ("VAULT_CLIENT_TIMEOUT", config.timeout),
        ("VAULT_CACHE_TTL", config.cache_ttl),
        ("VAULT_MAX_STALE", config.max_stale),
        ("VAULT_BACKOFF_CAP", config.backoff_cap),
    ):
        assert _config._seconds(said, name) == value


def test_every_error_and_event_is_on_the_page() -> None:
    errors = {
        name
        for name, kind in vars(resilient_vault_client).items()
        if inspect.isclass(kind) and issubclass(kind, VaultError)
    }
    names = {
        re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        for name, kind in vars(events).items()
        if inspect.isclass(kind) and issubclass(kind, Event) and kind is not Event
    }

    assert len(errors) > 25
    assert {name for name in errors if f"`{name}`" not in PAGE} == set()
    assert {name for name in names if f"`{name}`" not in PAGE} == set()
