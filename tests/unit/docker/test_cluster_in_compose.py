import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vault_harness.certificates import TlsFiles
from vault_harness.errors import ProgramMissing
from vault_harness.local.engine.docker.balancer import alive_path, configuration
from vault_harness.local.engine.docker.layout import (
    NODES_FILE_NAME,
    Layout,
    choose_ports,
    compose_files,
    services_of,
)
from vault_harness.local.engine.provider import KnownServers
from vault_harness.local.images.build import LOCAL_BALANCER, recipes
from vault_harness.local.programs import find_balancer
from vault_harness.settings import Settings, resources

THREE = ("vault", "vault-2", "vault-3")


def layout(data_dir: Path, members: tuple[str, ...] = THREE, *, tls: bool = False) -> Layout:
    """Return a cluster on ports that count up from 5000."""
    places = [(name, 8200) for name in members]
    places += [("balancer", 8200), ("balancer", 8205), ("toxiproxy", 8474), ("toxiproxy", 8201)]
    return Layout(
        data_dir=data_dir,
        members=members,
        balanced=True,
        ports={place: 5000 + number for number, place in enumerate(places)},
        tls=TlsFiles.within(data_dir / "tls") if tls else None,
    )


def services(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)["services"]
    return found


def test_each_node_but_the_first_is_a_service_of_its_own(tmp_path: Path) -> None:
    found = services(layout(tmp_path).nodes_text())
    assert list(found) == ["vault-2", "vault-3"]
    assert found["vault-2"]["ports"] == ["127.0.0.1:5001:8200"]
    assert found["vault-2"]["volumes"] == [f"{tmp_path}/nodes/vault-2:/vault/node:z"]
    assert found["vault-3"]["ports"] == ["127.0.0.1:5002:8200"]


def test_extends_names_an_existing_file(tmp_path: Path) -> None:
    """It is in another folder, so its path is full."""
    extended = services(layout(tmp_path).nodes_text())["vault-2"]["extends"]
    assert Path(extended["file"]) == resources() / "node.yml"
    assert f"\n  {extended['service']}:\n" in Path(extended["file"]).read_text()


def test_a_dollar_in_a_path_is_no_variable(tmp_path: Path) -> None:
    """Compose would read a variable."""
    found = services(layout(tmp_path / "$HOME").nodes_text())
    assert "/$$HOME/nodes/vault-2:" in found["vault-2"]["volumes"][0]


def test_clients_have_one_address_and_nodes_their_names(tmp_path: Path) -> None:
    """Toxiproxy leads to the balancer."""
    endpoints = layout(tmp_path).endpoints()
    assert endpoints.vault == "http://127.0.0.1:5003"
    assert [target.upstream for target in endpoints.targets] == ["balancer:8200"]
    assert [node.cluster for node in endpoints.nodes] == [f"{name}:8201" for name in THREE]
    assert {node.proxy for node in endpoints.nodes} == {""}


def test_over_tls_every_address_says_so(tmp_path: Path) -> None:
    """Toxiproxy and the balancer's own probe stay plain HTTP."""
    probes = layout(tmp_path, tls=True).probes()
    schemes = {name: url.partition(":")[0] for name, url in probes.items()}
    assert schemes == {
        **dict.fromkeys(THREE, "https"),
        "balancer": "http",
        "toxiproxy": "http",
    }


def test_the_variables_are_those_of_the_files(tmp_path: Path) -> None:
    names = ("vault.yml", "node.yml", "toxiproxy.yml", "ha.yml", "services.yml")
    text = "".join((resources() / name).read_text() for name in names)
    for variable in layout(tmp_path).variables():
        assert f"${{{variable}" in text, variable


def test_the_files_of_a_cluster_follow_its_nodes(tmp_path: Path) -> None:
    single = [path.name for path in compose_files(tmp_path)]
    assert single == ["base.yml", "vault.yml", "toxiproxy.yml"]
    (tmp_path / NODES_FILE_NAME).write_text("")
    assert [path.name for path in compose_files(tmp_path)] == [*single, "ha.yml", NODES_FILE_NAME]


def settings(data_dir: Path) -> Settings:
    return Settings(
        engine="docker", data_dir=data_dir, vault_port=0, proxy_port=0, toxiproxy_port=0
    )


def test_ports_of_last_time_are_kept(tmp_path: Path) -> None:
    """The balancer's probe gets another one."""
    first = choose_ports(settings(tmp_path), KnownServers(), [], THREE, balanced=True)
    assert len(set(first.values())) == len(first)
    before = Layout(data_dir=tmp_path, members=THREE, balanced=True, ports=first)
    known = KnownServers(endpoints=before.endpoints())
    again = choose_ports(settings(tmp_path), known, [], (*THREE, "vault-4"), balanced=True)
    kept = {place for place, port in first.items() if again[place] == port}
    assert kept >= set(first) - {("balancer", 8205)}
    assert len(set(again.values())) == len(again)


def test_the_balancer_takes_over_the_address_of_a_single_server(tmp_path: Path) -> None:
    """Clients notice nothing."""
    first = choose_ports(settings(tmp_path), KnownServers(), [], ("vault",), balanced=False)
    single = Layout(data_dir=tmp_path, members=("vault",), balanced=False, ports=first)
    known = KnownServers(endpoints=single.endpoints())
    three = choose_ports(settings(tmp_path), known, [], THREE, balanced=True)
    assert three["balancer", 8200] == first["vault", 8200] != three["vault", 8200]
    assert three["toxiproxy", 8201] == first["toxiproxy", 8201]


def test_it_says_so_only_with_these_nodes(tmp_path: Path) -> None:
    """The probe's path tells when a new configuration is loaded."""
    tls = TlsFiles.within(tmp_path)
    assert alive_path(THREE, None) != alive_path(THREE[:2], None)
    assert alive_path(THREE, None) != alive_path(THREE, tls)
    assert f"monitor-uri {alive_path(THREE, tls)}\n" in configuration(THREE, tls)


@pytest.mark.parametrize("tls", [False, True])
def test_haproxy_takes_the_configuration(tmp_path: Path, tls: bool) -> None:
    """It does so even if no node can be resolved."""
    try:
        program = find_balancer()
    except ProgramMissing as error:
        pytest.skip(error.cause)
    file = tmp_path / "haproxy.cfg"
    file.write_text(configuration(THREE, TlsFiles.within(tmp_path) if tls else None))
    answer = subprocess.run(
        [program, "-c", "-f", file], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr


def test_the_image_has_haproxy_and_its_libraries() -> None:
    """HAProxy is at the official image's path."""
    try:
        program = find_balancer()
    except ProgramMissing as error:
        pytest.skip(error.cause)
    (recipe,) = [one for one in recipes(Settings()) if one.tag == LOCAL_BALANCER]
    assert recipe.rootfs.files["/usr/local/sbin/haproxy"] == program.resolve()
    if shutil.which("ldd"):
        assert any(Path(target).name.startswith("libssl") for target in recipe.rootfs.files)


def test_without_haproxy_the_other_images_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise ProgramMissing("no haproxy", looked_at="PATH", remedy="install it")

    monkeypatch.setattr("vault_harness.local.images.build.find_balancer", missing)
    tags = [one.tag for one in recipes(Settings())]
    assert LOCAL_BALANCER not in tags
    assert len(tags) == 4


def test_services_are_listed_from_vault_to_clients() -> None:
    assert services_of(("vault",), balanced=False) == ("vault", "toxiproxy")
    assert services_of(THREE, balanced=True) == (*THREE, "balancer", "toxiproxy")
