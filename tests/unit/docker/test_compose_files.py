"""What can be said of the compose files without an engine."""

import json
import re
from pathlib import Path

import pytest

from vault_harness import dialect
from vault_harness.dialect import Dialect
from vault_harness.engine import PROXY_NAME
from vault_harness.engine.docker._balancer import balancer_by_hand
from vault_harness.engine.docker._compose import (
    BALANCER_FILE,
    FILES,
    NODE_FILE,
    NODES_FILE,
    SEAL_FILE,
    SERVICES_FILE,
    env_file_text,
    find_compose,
    project_name,
)
from vault_harness.engine.docker._inside import (
    by_hand,
    by_hand_joining,
    static_seal_by_hand,
)
from vault_harness.errors import ProgramMissing
from vault_harness.images._build import LOCAL_SERVICES
from vault_harness.settings import (
    DEFAULT_HAPROXY_IMAGE,
    DEFAULT_TOXIPROXY_IMAGE,
    DEFAULT_VAULT_IMAGE,
    resources,
)
from vault_harness.stack.example_services import SERVICES

NAMES = (*FILES, SERVICES_FILE, NODE_FILE, BALANCER_FILE, NODES_FILE, SEAL_FILE)
TEXTS = {name: (resources() / name).read_text() for name in NAMES}
ALL = "\n".join(TEXTS.values())


def default_of(variable: str) -> str:
    """The default of a variable in the compose files; they must agree."""
    found: set[str] = set(re.findall(rf"\$\{{{variable}:-([^}}]*)\}}", ALL))
    assert len(found) == 1, (variable, found)
    return found.pop()


def test_ports_are_published_on_loopback_only() -> None:
    """A Vault without TLS is nobody else's to reach."""
    published = re.findall(r"^\s+- \"?([^\s\"]*:\d+)\"?$", ALL, flags=re.MULTILINE)
    ports = [line for line in published if re.search(r":\d+$", line) and "/" not in line]
    assert len(ports) == 3 + 4 + len(SERVICES), "a server, its cluster, the services"
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_are_the_pinned_ones_of_the_settings() -> None:
    """By hand and by `invoke up`, the same images."""
    assert default_of("VAULT_IMAGE") == DEFAULT_VAULT_IMAGE
    assert default_of("TOXIPROXY_IMAGE") == DEFAULT_TOXIPROXY_IMAGE
    assert default_of("HAPROXY_IMAGE") == DEFAULT_HAPROXY_IMAGE
    assert default_of("SERVICES_IMAGE") == LOCAL_SERVICES


@pytest.mark.parametrize(
    "image", [DEFAULT_VAULT_IMAGE, DEFAULT_TOXIPROXY_IMAGE, DEFAULT_HAPROXY_IMAGE]
)
def test_images_are_pinned_to_a_patch_version(image: str) -> None:
    """Two runs on two days are runs of the same server."""
    assert re.search(r":\d+\.\d+\.\d+$", image)


def test_published_service_ports_are_those_of_the_code() -> None:
    """What `services.yml` publishes is what the harness asks."""
    for port, variable in SERVICES.values():
        assert default_of(variable) == str(port)


def test_the_proxy_is_the_one_that_the_stack_looks_for() -> None:
    """Its name, and its upstream by the service's name."""
    for name, upstream in (("toxiproxy", "vault:8200"), ("toxiproxy-ha", "balancer:8200")):
        proxies = json.loads((resources() / "config" / f"{name}.json").read_text())
        assert [(proxy["name"], proxy["upstream"]) for proxy in proxies] == [(PROXY_NAME, upstream)]


def test_no_service_sees_the_data_directory_itself() -> None:
    """It holds the unseal keys; a service sees the directory of its own ids."""
    mounts = re.findall(r"\$\{HARNESS_DATA_DIR:-[^}]*\}(\S*)$", TEXTS[SERVICES_FILE], re.MULTILINE)
    assert sorted(mounts) == sorted(f"/services/{name}" for name in SERVICES)


def test_two_data_directories_are_two_projects(tmp_path: Path) -> None:
    """Two checkouts never share a volume; the same one is found again."""
    assert project_name(tmp_path / "a") != project_name(tmp_path / "b")
    assert project_name(tmp_path / "a") == project_name(tmp_path / "a")


def test_without_compose_the_remedy_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Docker without its plugin, or no docker at all."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramMissing) as caught:
        find_compose()
    assert "HARNESS_ENGINE=process" in caught.value.remedy


@pytest.mark.parametrize("product", [dialect.OPENBAO, dialect.VAULT])
def test_the_configuration_by_hand_is_what_the_tasks_would_write(product: Dialect) -> None:
    """One writer: the files in `compose/config` are what it makes."""
    folder = resources() / "config"
    assert (folder / f"{product.program}.json").read_text() == by_hand(product)
    assert (folder / f"{product.program}-ha.json").read_text() == by_hand_joining(product)
    assert (folder / "haproxy.cfg").read_text() == balancer_by_hand()
    assert (folder / "seal-static.json").read_text() == static_seal_by_hand()


def test_the_key_of_a_seal_is_mounted_where_the_configuration_looks() -> None:
    """As a file of its own, only to be read, and nowhere else in the file."""
    seal = json.loads((resources() / "config" / "seal-static.json").read_text())["seal"]["static"]
    (target,) = re.findall(r"target: (\S+)\n\s+read_only: true", TEXTS[SEAL_FILE])
    assert seal["current_key"] == f"file://{target}"
    assert "environment" not in TEXTS[SEAL_FILE].partition("services:")[2]


def test_what_is_mounted_is_never_made_as_roots() -> None:
    """A folder that the engine makes for a mount would lock its owner out of the data directory."""
    sources = re.findall(r"source: .*\n.*\n.*\n\s+bind: (\S+)", TEXTS[SERVICES_FILE])
    assert sources == ["*bind"] * len(SERVICES)
    assert "create_host_path: false" in TEXTS[SERVICES_FILE]
    assert "create_host_path: false" in TEXTS[SEAL_FILE]


def test_the_file_for_compose_by_hand_takes_any_path() -> None:
    """Spaces and dollars in a path are meant as they stand."""
    text = env_file_text(
        "p", {"HARNESS_NODE_DIR": "/a b/$c"}, [Path("/x/base.yml"), Path("/y.json")]
    )
    assert "COMPOSE_FILE='/x/base.yml:/y.json'\n" in text
    assert "HARNESS_NODE_DIR='/a b/$c'\n" in text
    assert "COMPOSE_PROJECT_NAME='p'\n" in text
