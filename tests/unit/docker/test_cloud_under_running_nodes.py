"""Nodes that a cloud unseals keep their credentials, whichever shell calls."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError

from vault_harness.errors import EngineError, SettingsError, StackError
from vault_harness.local.dialect import OPENBAO
from vault_harness.local.engine.docker.cluster import DockerCluster
from vault_harness.local.engine.docker.layout import NODES_FILE_NAME, SEAL_FILE_NAME
from vault_harness.local.engine.docker.stack import ENV_FILE_NAME
from vault_harness.local.engine.seal import SealKind, cloud_stanza, stanza_path
from vault_harness.local.stack.record import StackRecordFile
from vault_harness.settings import Settings

AWS = {
    "VAULT_AWSKMS_SEAL_KEY_ID": "alias/unseal",
    "AWS_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIA-OF-A-TEST",
    "AWS_SECRET_ACCESS_KEY": "secret-of-a-test",
}
AZURE = {
    "AZURE_TENANT_ID": "46646709-b63e-4747-be42-516edeaf1e14",
    "VAULT_AZUREKEYVAULT_VAULT_NAME": "hc-vault",
    "VAULT_AZUREKEYVAULT_KEY_NAME": "unseal",
    "AZURE_CLIENT_ID": "client-of-a-test",
    "AZURE_CLIENT_SECRET": "azure-secret-of-a-test",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "IDENTITY_", "MSI_")) or name.lower() in {
            "https_proxy",
            "no_proxy",
        }:
            monkeypatch.delenv(name)


class Stack:
    """The provider of a stack, its containers and the calls of compose, without an engine."""

    def __init__(self, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data_dir = data_dir
        self.calls: list[tuple[str, ...]] = []
        self.present: list[Any] = []
        self._monkeypatch = monkeypatch
        ports = {"vault_port": 0, "proxy_port": 0, "toxiproxy_port": 0}
        settings = Settings(engine="docker", data_dir=data_dir, **ports)  # type: ignore[arg-type]
        self.provider = DockerCluster(settings, StackRecordFile(data_dir))
        monkeypatch.setattr(self.provider, "compose", lambda: self._compose)
        monkeypatch.setattr(self.provider, "_containers", lambda _client: self.present)
        monkeypatch.setattr(self.provider, "_images", lambda *_, **__: images())
        for name in ("_refuse_older_volume", "_await_answers", "_lead_to"):
            monkeypatch.setattr(self.provider, name, lambda *_: None)
        here = "vault_harness.local.engine.docker"
        monkeypatch.setattr(f"{here}.stack.user_of", lambda _client: {})
        for module in ("stack", "cluster"):
            monkeypatch.setattr(f"{here}.{module}.connected", lambda **_: self._connected())

    def _connected(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext(
            SimpleNamespace(
                **dict.fromkeys(("volumes", "networks"), SimpleNamespace(list=lambda **_: []))
            )
        )

    def _compose(self, *arguments: str, **_: object) -> str:
        self.calls.append(arguments)
        return ""

    def have(self, kind: SealKind, variables: dict[str, str]) -> None:
        """Start three nodes with a seal from these variables."""
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)
        stanza_path(self.data_dir).parent.mkdir(parents=True, mode=0o700)
        stanza_path(self.data_dir).write_text(json.dumps({kind: cloud_stanza(kind, {})}))
        self.provider.start(nodes=3)
        self.nodes_are("running")

    def nodes_are(self, status: str) -> None:
        names = ("vault", "vault-2", "vault-3")
        self.present = [container(name, status) for name in names]

    @property
    def credentials(self) -> Path:
        return self.data_dir / "seal" / "aws-credentials"

    def told(self) -> dict[str, str]:
        """Return all that compose reads of nodes, except ports, which may change."""
        found = {name: (self.data_dir / name).read_text() for name in OWN}
        (listed,) = [
            line
            for line in (self.data_dir / ENV_FILE_NAME).read_text().splitlines()
            if line.startswith("COMPOSE_FILE=")
        ]
        return {**found, "files": listed}

    def services(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.told()[SEAL_FILE_NAME])["services"]
        return found


OWN = (SEAL_FILE_NAME, NODES_FILE_NAME)


def images() -> dict[str, str]:
    return {"VAULT_IMAGE": "vault:of-a-test", "VAULT_PROGRAM": OPENBAO.program}


def container(name: str, status: str) -> Any:
    return SimpleNamespace(
        name=f"stack-{name}-1",
        status=status,
        labels={"com.docker.compose.service": name},
        attrs={"NetworkSettings": {"Ports": {}}},
        stop=lambda **_: None,
        remove=lambda **_: None,
    )


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    return Stack(tmp_path / "data", monkeypatch)


@pytest.mark.parametrize(
    "other",
    [
        {"AWS_PROFILE": "dev"},
        {"AWS_EC2_METADATA_DISABLED": "true"},
        {"AWS_ROLE_SESSION_NAME": "me"},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/"},
        {"AWS_ACCESS_KEY_ID": "AKIA-OF-ANOTHER", "AWS_SECRET_ACCESS_KEY": "another"},
    ],
)
def test_another_shell_changes_nothing_of_nodes_that_run(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, other: dict[str, str]
) -> None:
    """Compose would replace running nodes."""
    stack.have("awskms", AWS)
    before, keys = stack.told(), stack.credentials.read_text()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, value in other.items():
        monkeypatch.setenv(name, value)

    stack.provider.start()

    assert stack.told() == before
    assert stack.credentials.read_text() == keys


@pytest.mark.parametrize(
    ("kind", "variable"),
    [
        ("azurekeyvault", "AZURE_CLIENT_CERTIFICATE_PATH"),
        ("azurekeyvault", "AZURE_FEDERATED_TOKEN_FILE"),
        ("awskms", "AWS_SHARED_CREDENTIALS_FILE"),
        ("awskms", "AWS_CONFIG_FILE"),
        ("awskms", "AWS_CA_BUNDLE"),
    ],
)
def test_a_file_stays_mounted_where_its_variable_is_not_set(
    stack: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: SealKind,
    variable: str,
) -> None:
    (tmp_path / "file").touch()
    own = {**(AWS if kind == "awskms" else AZURE), variable: str(tmp_path / "file")}
    if variable == "AWS_SHARED_CREDENTIALS_FILE":
        own = {name: value for name, value in own.items() if name not in {*list(AWS)[2:]}}
    stack.have(kind, own)
    before = stack.told()
    assert str(tmp_path / "file") in before[SEAL_FILE_NAME]
    monkeypatch.delenv(variable)

    stack.provider.start()

    assert stack.told() == before


def start_all(stack: Stack) -> None:
    """Run `up`."""
    stack.provider.start()


def start_one(stack: Stack) -> None:
    """Run `node.start`."""
    stack.provider.start_node("vault")


def add_one(stack: Stack) -> None:
    """Run `node.add`."""
    stack.provider.add_node()


@pytest.mark.parametrize("start", [start_all, start_one, add_one])
@pytest.mark.parametrize("value", [None, ""])
def test_a_secret_that_is_not_set_is_asked_for_again(
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    start: Callable[[Stack], None],
    value: str | None,
) -> None:
    stack.have("azurekeyvault", AZURE)
    before, stack.calls = stack.told(), []
    if value is None:
        monkeypatch.delenv("AZURE_CLIENT_SECRET")
    else:
        monkeypatch.setenv("AZURE_CLIENT_SECRET", value)

    with pytest.raises(SettingsError, match="started with AZURE_CLIENT_SECRET, which is not set"):
        start(stack)

    assert (stack.told(), stack.calls) == (before, [])


def test_one_node_alone_is_started_as_all_were(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.have("azurekeyvault", AZURE)
    before, stack.calls = stack.told(), []
    stack.nodes_are("exited")
    stack.provider.start_node("vault")
    assert (stack.told(), stack.calls) == (before, [("up", "-d", "vault")])

    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    with pytest.raises(SettingsError, match="AZURE_CLIENT_SECRET"):
        stack.provider.start_node("vault")
    assert stack.told() == before


@pytest.mark.parametrize("status", ["exited", "restarting"])
def test_a_start_of_all_takes_what_is_set_now(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """The key file stays."""
    stack.have("awskms", AWS)
    stack.nodes_are(status)
    monkeypatch.setattr("vault_harness.local.engine.docker.stack.wake", lambda _container: None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/of-a-test")

    stack.provider.start()

    only = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": None}
    assert [each["environment"] for each in stack.services().values()] == [only] * 3
    assert stack.credentials.exists()


def test_nodes_come_and_go_with_what_the_others_have(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.have("awskms", AWS)
    first = stack.services()["vault"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "dev")

    stack.provider.add_node()
    assert stack.services() == dict.fromkeys(("vault", "vault-2", "vault-3", "vault-4"), first)
    stack.provider.remove_node("vault-3")
    assert stack.services() == dict.fromkeys(("vault", "vault-2", "vault-4"), first)
    assert stack.credentials.exists()


def test_a_refusal_leaves_the_compose_files(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.have("azurekeyvault", AZURE)
    stack.nodes_are("exited")
    before = stack.told()
    monkeypatch.setenv("AZURE_CLIENT_CERTIFICATE_PATH", str(tmp_path / "nothing"))

    with pytest.raises(SettingsError, match="names a file that is not there"):
        stack.provider.start()

    assert stack.told() == before


def test_a_write_that_fails_takes_no_key_from_anybody(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.have("awskms", AWS)
    write = "vault_harness.local.engine.docker.layout.files.write_private"

    def once(path: Path, text: str) -> None:
        path.write_text(text)
        raise OSError("no space left")

    for change in (stack.provider.add_node, lambda: stack.provider.remove_node("vault-3")):
        with monkeypatch.context() as patch:
            patch.setattr(write, once)
            with pytest.raises(OSError, match="no space"):
                change()
        named = {"vault", *json.loads(stack.told()[NODES_FILE_NAME])["services"]}
        assert set(stack.services()) <= named
        assert {"vault", "vault-2"} <= set(stack.services())


def test_a_node_that_was_not_added_is_undone_step_by_step(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.have("awskms", AWS)
    undone: list[str] = []

    def fails(*_: object, **__: object) -> None:
        undone.append("project")
        raise StackError("cannot be written", looked_at="", remedy="")

    def no_compose(*_: str) -> str:
        monkeypatch.setattr(stack.provider, "_write_project", fails)
        raise EngineError("the first error", looked_at="", remedy="")

    def removed(name: str) -> None:
        undone.append(name)
        raise APIError("busy")

    monkeypatch.setattr(stack.provider, "compose", lambda: no_compose)
    monkeypatch.setattr(stack.provider, "_remove_container", removed)
    monkeypatch.setattr(stack.provider, "_lead_to", lambda _layout: undone.append("balancer"))

    with pytest.raises(EngineError, match="the first error"):
        stack.provider.add_node()

    assert undone == ["project", "vault-4", "balancer"]


def test_another_plugin_is_no_plugin(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes would not start with it."""
    program = tmp_path / "openbao-plugin-kms-aws"
    program.write_bytes(b"#!/bin/sh\n")
    program.chmod(0o755)
    stack.have("awskms", AWS)
    stack.nodes_are("exited")
    settings = stack.provider._settings
    with monkeypatch.context() as patch:
        patch.setattr(
            stack.provider, "_settings", settings.model_copy(update={"kms_plugin": program})
        )
        stack.provider.start()
        stack.nodes_are("running")
        stack.provider.start()
        before = stack.told()
    for start in (start_all, start_one, add_one):
        with pytest.raises(SettingsError, match="another HARNESS_KMS_PLUGIN") as caught:
            start(stack)
        assert str(program) in caught.value.looked_at
    assert stack.told() == before


def test_leftovers_of_other_runs_do_not_stop_down(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are swept again afterwards."""
    stack.have("azurekeyvault", AZURE)
    swept: list[int] = []

    def sweep(_client: object) -> None:
        swept.append(len(stack.calls))
        raise APIError("device or resource busy")

    monkeypatch.setattr("vault_harness.local.engine.docker.stack.sweep", sweep)
    stack.calls = []

    ended = stack.provider.stop()

    assert [call[0] for call in stack.calls] == ["down"]
    assert swept == [0, 1]
    assert ended == [f"container {each.name}" for each in stack.present]
