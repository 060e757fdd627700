from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError

from vault_harness.errors import CapabilityMissing, EngineError, ProgramMissing
from vault_harness.local.engine.docker import cluster
from vault_harness.local.engine.docker.cluster import DockerCluster
from vault_harness.local.engine.provider import Endpoints, KnownServers, NodeEndpoint
from vault_harness.local.images.build import LOCAL_VAULT, recipes
from vault_harness.local.programs import find_vault
from vault_harness.local.stack.record import StackRecordFile
from vault_harness.settings import Settings

NAMES = ("vault", "vault-2", "vault-3")


class Container:
    def __init__(self, project: str, name: str, address: str) -> None:
        self.id, self.name = f"id of {name}", name
        self.labels = {"com.docker.compose.service": name}
        self.routes: set[str] = set()
        self.answers: tuple[int, bytes] | None = None
        self.attrs: dict[str, Any] = {
            "Image": "image of a node",
            "State": {"Running": True, "StartedAt": "first"},
            "NetworkSettings": {"Networks": {f"{project}_vault": {"IPAddress": address}}},
        }

    def changed(self, command: list[str]) -> tuple[int, bytes]:
        """Change a route as `ip` does."""
        if self.answers is not None:
            return self.answers
        word, verb, kind, address = command
        assert (word, kind) == ("route", "unreachable")
        if verb == "replace":
            self.routes.add(address)
        elif address not in self.routes:
            return 2, b"RTNETLINK answers: No such process\n"
        else:
            self.routes.remove(address)
        return 0, b""

    def start_again(self, address: str) -> None:
        """Restart the container with a new network, which has no routes."""
        self.routes.clear()
        self.attrs["State"]["StartedAt"] += " and again"
        (network,) = self.attrs["NetworkSettings"]["Networks"].values()
        network["IPAddress"] = address


@pytest.fixture
def provider(tmp_path: Path) -> DockerCluster:
    memory = StackRecordFile(tmp_path)
    nodes = tuple(
        NodeEndpoint(name=name, address="", proxy="", proxy_listen="", upstream="")
        for name in NAMES
    )
    memory.save(KnownServers(endpoints=Endpoints(nodes=nodes, toxiproxy="", balancer=nodes[0])))
    for name in NAMES:
        folder = tmp_path / "vault" if name == "vault" else tmp_path / "nodes" / name
        folder.mkdir(parents=True)
    return DockerCluster(Settings(engine="docker", data_dir=tmp_path), memory)


@pytest.fixture
def found(
    provider: DockerCluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Container]]:
    made = {
        name: Container(provider.project, name, f"172.18.0.{number}")
        for number, name in enumerate(NAMES, 2)
    }

    class Helper:
        """A container in the network of another container."""

        def __init__(self, image: str, command: list[str], **given: Any) -> None:
            assert image == "image of a node"
            assert (given["entrypoint"], given["cap_add"]) == (["ip"], ["NET_ADMIN"])
            (self._node,) = [
                each for each in made.values() if given["network_mode"] == f"container:{each.id}"
            ]
            self._command = command
            left.append(self)

        def start(self) -> None:
            self._code, self._said = self._node.changed(self._command)
            if b"executable file not found" in self._said:
                raise APIError(self._said.decode())

        def wait(self, *, timeout: float) -> dict[str, int]:
            assert timeout > 0
            return {"StatusCode": self._code}

        def logs(self) -> bytes:
            return self._said

        def remove(self, *, force: bool, v: bool) -> None:
            assert force
            assert v
            left.remove(self)

    left: list[Helper] = []
    client = SimpleNamespace(containers=SimpleNamespace(create=Helper))
    monkeypatch.setattr(cluster, "connected", lambda **_: contextlib.nullcontext(client))
    monkeypatch.setattr(provider, "_containers", lambda _: list(made.values()))
    yield made
    assert left == []


def test_there_and_back(provider: DockerCluster, found: dict[str, Container]) -> None:
    provider.cut_node("vault-2")
    provider.cut_node("vault-2")
    assert found["vault-2"].routes == {"172.18.0.2/32", "172.18.0.4/32"}
    assert provider.cut_nodes() == ["vault-2"]
    assert provider.join_node("vault-2") is True
    assert provider.join_node("vault-2") is False
    assert [name for name in NAMES if found[name].routes] == []
    assert provider.cut_nodes() == []


def test_it_ends_with_the_container(provider: DockerCluster, found: dict[str, Container]) -> None:
    provider.cut_node("vault-2")
    found["vault-2"].start_again("172.18.0.3")
    assert provider.cut_nodes() == []
    assert provider.join_node("vault-2") is False


def test_another_one_comes_back_at_another_address(
    provider: DockerCluster, found: dict[str, Container]
) -> None:
    """It is cut off there too."""
    provider.cut_node("vault-2")
    found["vault-3"].start_again("172.18.0.9")
    provider._cut_again()
    assert found["vault-2"].routes == {"172.18.0.2/32", "172.18.0.4/32", "172.18.0.9/32"}
    assert found["vault-3"].routes == set()
    provider.join_node("vault-2")
    assert found["vault-2"].routes == set()


def test_a_half_done_cut_is_shown_and_can_be_joined(
    provider: DockerCluster, found: dict[str, Container]
) -> None:
    found["vault-2"].answers = (1, b"somebody pulled the plug")
    with pytest.raises(EngineError, match="could not be changed") as caught:
        provider.cut_node("vault-2")
    assert "somebody pulled the plug" in caught.value.looked_at
    found["vault-2"].answers = None
    assert provider.cut_nodes() == ["vault-2"]
    assert provider.join_node("vault-2") is True
    assert provider.cut_nodes() == []


def test_an_image_without_the_program(provider: DockerCluster, found: dict[str, Container]) -> None:
    found["vault-2"].answers = (127, b'exec: "ip": executable file not found in $PATH: unknown')
    with pytest.raises(CapabilityMissing, match="no program that changes its routes") as caught:
        provider.cut_node("vault-2")
    assert "build one with invoke images" in caught.value.remedy
    assert provider.cut_nodes() == []


def test_one_direction_alone(provider: DockerCluster, found: dict[str, Container]) -> None:
    """A route has no direction."""
    with pytest.raises(CapabilityMissing, match="in only one direction"):
        provider.cut_node("vault-2", hears=True)
    assert found["vault-2"].routes == set()


def test_the_local_image_has_the_program() -> None:
    if not (shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin") and shutil.which("ldd")):
        pytest.skip("this machine has no ip")
    try:
        find_vault(Settings())
    except ProgramMissing as error:
        pytest.skip(error.cause)
    (recipe,) = [one for one in recipes(Settings()) if one.tag == LOCAL_VAULT]
    assert recipe.rootfs.files["/bin/ip"].name == "ip"
    assert any(Path(target).name.startswith("libmnl") for target in recipe.rootfs.files)
