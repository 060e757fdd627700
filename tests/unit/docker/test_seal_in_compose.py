"""How a Vault in a container gets what it unseals itself with, without an engine."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vault_harness.dialect import OPENBAO
from vault_harness.engine import (
    Engine,
    EngineName,
    KnownServers,
    NodeSpec,
    SealingProvider,
    SealKind,
    open_provider,
    stanza_path,
    static_key_path,
)
from vault_harness.engine.docker import DockerCluster, DockerEngine
from vault_harness.engine.docker._inside import configuration
from vault_harness.engine.docker._layout import (
    HOLDER_FILE_NAME,
    NODES_FILE_NAME,
    SEAL_FILE_NAME,
    Layout,
    compose_files,
    holder_text,
    services_of,
)
from vault_harness.engine.docker._seal_files import mounts, seal_files, seen_inside
from vault_harness.errors import CapabilityMissing
from vault_harness.settings import Settings, resources
from vault_harness.stack import SealDrill, let_copy_reach_key
from vault_harness.stack._sealing import prepare
from vault_harness.stack.record import StackRecordFile

TRANSIT = {
    "transit": {"address": "http://holder:8200", "token": "file:///d/seal/holder-token"},
}
STATIC = {"static": {"current_key_id": "stack", "current_key": "file:///d/seal/static.key"}}


class Containers:
    """An engine by its name alone."""

    name = "docker"
    dialect = OPENBAO
    choice = "docker"


@pytest.fixture
def provider(tmp_path: Path) -> DockerCluster:
    """Of a data directory without anything; no engine is asked."""
    settings = Settings(engine="docker", data_dir=tmp_path)
    return DockerCluster(settings, StackRecordFile(tmp_path))


def service(text: str, name: str) -> dict[str, Any]:
    """One service of a compose file in JSON."""
    found: dict[str, Any] = json.loads(text)["services"][name]
    return found


def test_a_server_inside_finds_its_files_at_places_of_its_own() -> None:
    """Each file by what it is for, whatever folder it is in here; all else stays as it is."""
    assert seal_files(STATIC) == {Path("/d/seal/static.key"): "/vault/seal/static/current_key"}
    assert seen_inside(TRANSIT) == {
        "transit": {"address": "http://holder:8200", "token": "file:///vault/seal/transit/token"}
    }


def test_while_a_seal_is_exchanged_it_finds_the_files_of_both() -> None:
    """The old one is needed to go over."""
    both = {"static": {**STATIC["static"], "disabled": "true"}, **TRANSIT}
    assert sorted(seal_files(both).values()) == [
        "/vault/seal/static/current_key",
        "/vault/seal/transit/token",
    ]


def test_what_is_in_its_own_directory_needs_no_mount() -> None:
    """A relative name is looked for where the server runs, which is mounted anyway."""
    seal = {"transit": {"token": "file://holder-token"}}
    assert seal_files(seal) == {}
    assert seen_inside(seal) == seal


def test_a_stanza_is_left_as_it_was() -> None:
    """The one on disk is the other engine's too."""
    before = json.dumps(STATIC)
    seen_inside(STATIC)
    assert json.dumps(STATIC) == before


def test_mounts_are_read_only_and_never_made() -> None:
    """A folder that the engine makes in the place of a missing key would hide that."""
    (mount,) = mounts({Path("/$HOME/static.key"): "/vault/seal/static/current_key"})
    assert (mount["type"], mount["read_only"]) == ("bind", True)
    assert mount["source"] == "/$$HOME/static.key"
    assert mount["bind"]["create_host_path"] is False


def test_every_node_has_the_same_key(tmp_path: Path) -> None:
    """And the file that says so holds none."""
    members = ("vault", "vault-2", "vault-3")
    layout = Layout(data_dir=tmp_path, members=members, balanced=True, ports={})
    text = layout.seal_text(STATIC)
    assert {name: service(text, name)["volumes"] for name in members} == dict.fromkeys(
        members, mounts(seal_files(STATIC))
    )


def test_the_configuration_names_files_only(tmp_path: Path) -> None:
    """It is what the process engine writes, with the places inside."""
    spec = NodeSpec(name="vault", directory=tmp_path, storage="raft", extra={"seal": STATIC})
    written = configuration(spec, OPENBAO, address="", host="vault")
    assert written["seal"] == seen_inside(STATIC)


def test_the_holder_is_reached_from_this_machine_alone(tmp_path: Path) -> None:
    """In plain HTTP, whatever the other one speaks, and with a folder of its own."""
    found = service(holder_text(tmp_path, 5000), "holder")
    assert found["ports"] == ["127.0.0.1:5000:8200"]
    assert found["volumes"] == [f"{tmp_path}/holder:/vault/node:z"]
    assert found["environment"]["VAULT_API_ADDR"] == "http://127.0.0.1:5000"
    assert found["environment"]["VAULT_ADDR"] == "http://127.0.0.1:8200"
    assert found["environment"]["VAULT_CACERT"] == ""


def test_compose_is_told_of_what_is_there(tmp_path: Path) -> None:
    """Files of the data directory last, since they add to the others."""
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


def test_the_holder_is_told_of_beside_the_nodes() -> None:
    """Where there is one."""
    assert services_of(("vault",), balanced=False, holder=True) == ("vault", "holder", "toxiproxy")


def test_a_stack_without_the_holder_lacks_nothing_that_clients_need(
    provider: DockerCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told of where it should be, and is no node."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    StackRecordFile(tmp_path).save(KnownServers(engine="docker", seal="transit"))
    (holder,) = [state for state in provider.describe() if state.name == "holder"]
    assert (holder.running, holder.node, holder.aside) == (False, False, True)
    assert "holder" in provider.log_names()


def test_it_has_the_shape(provider: DockerCluster) -> None:
    """What stacks ask of an engine whose Vault unseals itself."""
    assert isinstance(provider, SealingProvider)


def test_a_static_key_needs_no_engine(provider: DockerCluster, tmp_path: Path) -> None:
    """The stanza is the process engine's, so that either goes on with the other's Vault."""
    prepare("static", provider, tmp_path)
    key = static_key_path(tmp_path)
    assert key.stat().st_mode & 0o777 == 0o600
    stanza = json.loads(stanza_path(tmp_path).read_text())
    assert stanza["static"]["current_key"] == f"file://{key}"
    assert key.read_text() not in stanza_path(tmp_path).read_text()


def exercise(target: SealKind, directory: Path) -> SealDrill:
    """A drill in containers."""
    engine: Engine = Containers()  # type: ignore[assignment] # only its name is asked
    return SealDrill(engine=engine, target=target, directory=directory)


def test_a_drill_in_containers_knows_the_keys_that_are_here(tmp_path: Path) -> None:
    """To the other seal and back; a cloud's too."""
    exercise("static", tmp_path).check("shamir")
    exercise("transit", tmp_path).check("static")
    exercise("awskms", tmp_path).check("shamir")


@pytest.mark.parametrize(("runs", "copies"), [("docker", "process"), ("process", "docker")])
def test_a_copy_that_does_not_reach_its_holder_is_refused_before_it_is_made(
    tmp_path: Path, runs: EngineName, copies: EngineName
) -> None:
    """It would end after ten seconds, and say that a name is unknown."""
    settings = Settings(data_dir=tmp_path)
    provider = open_provider(settings, StackRecordFile(tmp_path), name=runs)
    engine = cast("Engine", SimpleNamespace(name=copies))
    let_copy_reach_key(engine, provider, STATIC)
    with pytest.raises(CapabilityMissing, match="does not reach the Vault that holds") as caught:
        let_copy_reach_key(engine, provider, TRANSIT)
    assert caught.value.remedy == f"HARNESS_ENGINE={runs} for this too"


def test_a_copy_of_processes_reaches_its_holder(tmp_path: Path) -> None:
    """Both are on loopback: nothing has to be done."""
    provider = open_provider(Settings(data_dir=tmp_path), StackRecordFile(tmp_path), name="process")
    let_copy_reach_key(cast("Engine", SimpleNamespace(name="process")), provider, TRANSIT)


def test_a_copy_in_a_container_is_on_the_network_of_the_holder(
    provider: DockerCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name that Compose gives it."""
    joined: list[str] = []
    engine = DockerEngine.__new__(DockerEngine)
    monkeypatch.setattr(engine, "join_network", joined.append, raising=False)
    let_copy_reach_key(engine, provider, TRANSIT)
    assert joined == [f"{provider.project}_vault"]
    assert "\n  vault:\n" in (resources() / "base.yml").read_text().partition("networks:")[2]
