import contextlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vault_harness.errors import CapabilityMissing, EngineError
from vault_harness.local.dialect import OPENBAO
from vault_harness.local.engine.docker import cluster
from vault_harness.local.engine.docker import engine as engine_module
from vault_harness.local.engine.docker.cluster import DockerCluster
from vault_harness.local.engine.docker.container import Order
from vault_harness.local.engine.docker.engine import DockerEngine
from vault_harness.local.engine.docker.inside import configuration, mounts, seal_files, seen_inside
from vault_harness.local.engine.docker.layout import (
    HOLDER_FILE_NAME,
    NODES_FILE_NAME,
    SEAL_FILE_NAME,
    Layout,
    compose_files,
    holder_text,
    services_of,
)
from vault_harness.local.engine.provider import KnownServers
from vault_harness.local.engine.seal import (
    SealKind,
    seal_stanza,
    stanza_path,
    static_key_path,
    with_cloud_seal,
)
from vault_harness.local.engine.shape import Engine, EngineName, NodeSpec
from vault_harness.local.stack.choice import open_provider
from vault_harness.local.stack.opening import Opening
from vault_harness.local.stack.record import StackRecordFile
from vault_harness.local.stack.seal_migration import SealMigrations
from vault_harness.local.stack.sealing import prepare, put_key_aside, write_stanza
from vault_harness.operator.backup.seal_drill import SealDrill, let_copy_reach_key, needs_world
from vault_harness.settings import Settings

TRANSIT = {
    "transit": {"address": "http://holder:8200", "token": "file:///d/seal/holder-token"},
}
STATIC = {"static": {"current_key_id": "stack", "current_key": "file:///d/seal/static.key"}}


class Containers:
    """Stands for the docker engine."""

    name = "docker"
    dialect = OPENBAO
    choice = "docker"


@pytest.fixture
def provider(tmp_path: Path) -> DockerCluster:
    """No engine is asked."""
    settings = Settings(engine="docker", data_dir=tmp_path)
    return DockerCluster(settings, StackRecordFile(tmp_path))


def service(text: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)["services"][name]
    return found


def test_a_server_inside_finds_its_files_at_places_of_its_own() -> None:
    """Other settings stay as they are."""
    assert seal_files(STATIC) == {Path("/d/seal/static.key"): "/vault/seal/static/current_key"}
    assert seen_inside(TRANSIT) == {
        "transit": {"address": "http://holder:8200", "token": "file:///vault/seal/transit/token"}
    }


def test_while_a_seal_is_exchanged_it_finds_the_files_of_both() -> None:
    both = {"static": {**STATIC["static"], "disabled": "true"}, **TRANSIT}
    assert sorted(seal_files(both).values()) == [
        "/vault/seal/static/current_key",
        "/vault/seal/transit/token",
    ]


def test_what_is_in_its_own_directory_needs_no_mount() -> None:
    """The node's directory is mounted anyway."""
    seal = {"transit": {"token": "file://holder-token"}}
    assert seal_files(seal) == {}
    assert seen_inside(seal) == seal


def test_a_stanza_is_left_as_it_was() -> None:
    """The process engine uses it too."""
    before = json.dumps(STATIC)
    seen_inside(STATIC)
    assert json.dumps(STATIC) == before


def test_mounts_are_read_only_and_never_made() -> None:
    """A missing key is an error instead of a new folder."""
    (mount,) = mounts({Path("/$HOME/static.key"): "/vault/seal/static/current_key"})
    assert (mount["type"], mount["read_only"]) == ("bind", True)
    assert mount["source"] == "/$$HOME/static.key"
    assert mount["bind"]["create_host_path"] is False


def test_every_node_has_the_same_key(tmp_path: Path) -> None:
    """The compose file does not contain it."""
    members = ("vault", "vault-2", "vault-3")
    layout = Layout(data_dir=tmp_path, members=members, balanced=True, ports={})
    text = layout.seal_text(STATIC)
    assert {name: service(text, name)["volumes"] for name in members} == dict.fromkeys(
        members, mounts(seal_files(STATIC))
    )


def test_the_configuration_names_files_only(tmp_path: Path) -> None:
    spec = NodeSpec(name="vault", directory=tmp_path, storage="raft", extra={"seal": STATIC})
    written = configuration(spec, OPENBAO, address="", host="vault")
    assert written["seal"] == seen_inside(STATIC)


def test_the_holder_is_reached_from_this_machine_alone(tmp_path: Path) -> None:
    found = service(holder_text(tmp_path, 5000), "holder")
    assert found["ports"] == ["127.0.0.1:5000:8200"]
    assert found["volumes"] == [f"{tmp_path}/holder:/vault/node:z"]
    assert found["environment"]["VAULT_API_ADDR"] == "http://127.0.0.1:5000"
    assert found["environment"]["VAULT_ADDR"] == "http://127.0.0.1:8200"
    assert found["environment"]["VAULT_CACERT"] == ""


def test_compose_files_of_the_data_directory_come_last(tmp_path: Path) -> None:
    """They extend the others."""
    for name in (SEAL_FILE_NAME, HOLDER_FILE_NAME):
        (tmp_path / name).write_text("")
    names = [path.name for path in compose_files(tmp_path)]
    assert names == [
        *("base.yml", "vault.yml", "toxiproxy.yml"),
        *(HOLDER_FILE_NAME, SEAL_FILE_NAME),
    ]
    (tmp_path / NODES_FILE_NAME).write_text("")
    names = [path.name for path in compose_files(tmp_path)]
    assert names[3:] == ["ha.yml", NODES_FILE_NAME, HOLDER_FILE_NAME, SEAL_FILE_NAME]


def test_the_holder_is_a_service() -> None:
    assert services_of(("vault",), balanced=False, holder=True) == ("vault", "holder", "toxiproxy")


def test_a_stack_without_the_holder_lacks_nothing_that_clients_need(
    provider: DockerCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder is listed as not running."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    StackRecordFile(tmp_path).save(KnownServers(engine="docker", seal="transit"))
    (holder,) = [state for state in provider.describe() if state.name == "holder"]
    assert (holder.running, holder.node, holder.aside) == (False, False, True)
    assert "holder" in provider.log_names()


def test_a_static_key_needs_no_engine(provider: DockerCluster, tmp_path: Path) -> None:
    """Both engines share its stanza."""
    prepare("static", provider, tmp_path)
    key = static_key_path(tmp_path)
    assert key.stat().st_mode & 0o777 == 0o600
    stanza = json.loads(stanza_path(tmp_path).read_text())
    assert stanza["static"]["current_key"] == f"file://{key}"
    assert key.read_text() not in stanza_path(tmp_path).read_text()


def exercise(target: SealKind, directory: Path) -> SealDrill:
    engine: Engine = Containers()  # type: ignore[assignment] # only its name is asked
    return SealDrill(engine=engine, target=target, directory=directory)


def test_a_drill_in_containers_knows_the_keys_that_are_here(tmp_path: Path) -> None:
    """A cloud's keys are accepted too."""
    exercise("static", tmp_path).check("shamir")
    exercise("transit", tmp_path).check("static")
    exercise("awskms", tmp_path).check("shamir")


@pytest.mark.parametrize(("runs", "copies"), [("docker", "process"), ("process", "docker")])
def test_a_copy_that_does_not_reach_its_holder_is_refused_before_it_is_made(
    tmp_path: Path, runs: EngineName, copies: EngineName
) -> None:
    settings = Settings(data_dir=tmp_path)
    provider = open_provider(settings, StackRecordFile(tmp_path), name=runs)
    engine = cast("Engine", SimpleNamespace(name=copies))
    let_copy_reach_key(engine, provider, STATIC)
    with pytest.raises(CapabilityMissing, match="does not reach the Vault that holds") as caught:
        let_copy_reach_key(engine, provider, TRANSIT)
    assert caught.value.remedy == f"HARNESS_ENGINE={runs} for this too"


def test_a_copy_of_processes_reaches_its_holder(tmp_path: Path) -> None:
    """The holder is on loopback."""
    provider = open_provider(Settings(data_dir=tmp_path), StackRecordFile(tmp_path), name="process")
    let_copy_reach_key(cast("Engine", SimpleNamespace(name="process")), provider, TRANSIT)


def test_a_copy_in_a_container_is_visited_by_the_holder(
    provider: DockerCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the holder joins the copy's network, under the name that compose gives it."""
    present: list[Any] = []
    admitted: list[tuple[str, str]] = []
    engine = DockerEngine.__new__(DockerEngine)
    engine.network = cast(
        "Any", SimpleNamespace(admit=lambda one, *, name: admitted.append((one, name)))
    )
    monkeypatch.setattr(provider, "_containers", lambda _: present)
    monkeypatch.setattr(cluster, "connected", contextlib.nullcontext)

    with pytest.raises(EngineError, match="holds the key has no container"):
        let_copy_reach_key(engine, provider, TRANSIT)
    for name in ("vault", "holder", "toxiproxy"):
        labels = {"com.docker.compose.service": name}
        present.append(SimpleNamespace(id=f"the {name}", labels=labels))
    let_copy_reach_key(engine, provider, TRANSIT)
    assert admitted == [("the holder", "holder")]


def test_only_a_copy_that_asks_a_cloud_reaches_more_than_its_network() -> None:
    """The cloud's seal may be the old one or the new one."""
    assert not needs_world({}, [])
    assert not needs_world(STATIC, ["transit"])
    assert needs_world(AWSKMS)
    assert needs_world(STATIC, ["azurekeyvault"])


AWSKMS = {"awskms": {"kms_key_id": "alias/unseal", "region": "eu-central-1"}}


class Asking(DockerEngine):
    """An engine that makes no container, and tells what it would get."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[Order] = []
        self.closed = 0
        self.settings = Settings()
        self._directory = directory
        self._access_keys = None
        self._client = cast("Any", None)
        self._user = "0:0"
        self.vault_image = cast("Any", SimpleNamespace(name="vault:of-a-test", dialect=OPENBAO))
        self.network = cast("Any", SimpleNamespace(name="", is_local=True))
        self.run = cast("Any", SimpleNamespace(labels=lambda **_: {}))
        monkeypatch.setattr(engine_module, "Container", lambda _, order: self.made.append(order))

    def close(self) -> None:
        self.closed += 1

    def asks_with(self, data_dir: Path) -> bool:
        """Whether a new node gets a stack's access keys."""
        spec = NodeSpec(name="copy", directory=data_dir / "copy", extra={"seal": AWSKMS})
        self._vault_container("copy", with_cloud_seal(spec, self.settings), 1)
        inside = "/vault/seal/cloud/AWS_SHARED_CREDENTIALS_FILE"
        made = self.made[-1]
        named = made.environment.get("AWS_SHARED_CREDENTIALS_FILE")
        mounted = dict(made.files)
        return (named, mounted) == (inside, {data_dir / "seal" / "aws-credentials": inside})


@pytest.fixture
def no_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep access keys of an earlier start, and unset the environment's."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    (tmp_path / "seal").mkdir()
    (tmp_path / "seal" / "aws-credentials").write_text("[default]\n")


@pytest.mark.usefixtures("no_cloud")
def test_a_copy_asks_its_cloud_with_what_the_stack_keeps(
    provider: DockerCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so in this engine and for this seal only."""
    engine = Asking(tmp_path / "engine", monkeypatch)
    let_copy_reach_key(engine, provider, STATIC)
    assert not engine.asks_with(tmp_path)
    let_copy_reach_key(engine, provider, AWSKMS)
    assert engine.asks_with(tmp_path)
    assert not (tmp_path / "engine").exists()
    let_copy_reach_key(cast("Engine", SimpleNamespace(name="process")), provider, AWSKMS)


@pytest.mark.usefixtures("no_cloud")
def test_a_check_asks_the_cloud_with_what_the_stack_keeps(
    provider: DockerCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment has no access keys."""
    made: list[Asking] = []

    class Made(Asking):
        def __init__(self, _settings: Settings, *, directory: Path) -> None:
            super().__init__(directory, monkeypatch)
            made.append(self)

    asked: list[bool] = []
    monkeypatch.setattr(cluster, "DockerEngine", Made)
    monkeypatch.setattr(cluster, "check_seal", lambda *_: asked.append(made[0].asks_with(tmp_path)))

    provider.check_seal(AWSKMS)

    assert (asked, made[0].closed) == ([True], 1)


@pytest.mark.parametrize(("source", "left"), [("awskms", False), ("azurekeyvault", True)])
def test_access_keys_end_with_the_seal_that_they_are_for(
    tmp_path: Path, source: SealKind, left: bool
) -> None:
    path = tmp_path / "seal" / "aws-credentials"
    path.parent.mkdir()
    path.touch()
    assert put_key_aside(source, tmp_path) is None
    assert path.exists() is left


def test_a_migration_asks_both_clouds_before_vault_is_ended(
    provider: DockerCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old seal is needed too."""
    asked: list[SealKind] = []
    monkeypatch.setattr(
        "vault_harness.local.stack.sealing.check_cloud", lambda kind, *_: asked.append(kind)
    )
    migrations = SealMigrations(tmp_path, Opening(tmp_path))
    migrations.check_possible("awskms", "shamir", provider)
    migrations.check_possible("awskms", "azurekeyvault", provider)
    migrations.check_possible("shamir", "azurekeyvault", provider)
    migrations.check_possible("awskms", "awskms", provider)
    assert asked == ["awskms", "awskms", "azurekeyvault", "azurekeyvault", "awskms"]


@pytest.mark.usefixtures("no_cloud")
def test_another_region_of_a_shell_is_not_that_of_the_key(
    provider: DockerCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a start of all nodes takes the region of the environment."""
    write_stanza(tmp_path, AWSKMS)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    prepare("awskms", provider, tmp_path)
    assert seal_stanza(tmp_path) == AWSKMS
    prepare("awskms", provider, tmp_path, full_start=True)
    assert seal_stanza(tmp_path)["awskms"] == {**AWSKMS["awskms"], "region": "us-east-1"}
