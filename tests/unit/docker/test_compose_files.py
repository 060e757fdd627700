import json
import re
import runpy
from fnmatch import fnmatch
from pathlib import Path

import pytest

from vault_harness.errors import ProgramMissing
from vault_harness.local import dialect, policy
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.docker.balancer import balancer_by_hand
from vault_harness.local.engine.docker.compose import (
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
from vault_harness.local.engine.docker.inside import by_hand, by_hand_joining, static_seal_by_hand
from vault_harness.local.engine.provider import PROXY_NAME
from vault_harness.local.images.build import LOCAL_SERVICES
from vault_harness.local.stack.example_services import SERVICES
from vault_harness.local.vault.approle import credential_files
from vault_harness.settings import (
    DEFAULT_HAPROXY_IMAGE,
    DEFAULT_TOXIPROXY_IMAGE,
    DEFAULT_VAULT_IMAGE,
    resources,
)

NAMES = (*FILES, SERVICES_FILE, NODE_FILE, BALANCER_FILE, NODES_FILE, SEAL_FILE)
TEXTS = {name: (resources() / name).read_text() for name in NAMES}
ALL = "\n".join(TEXTS.values())


def default_of(variable: str) -> str:
    """Return the default of a variable, on which all compose files must agree."""
    found: set[str] = set(re.findall(rf"\$\{{{variable}:-([^}}]*)\}}", ALL))
    assert len(found) == 1, (variable, found)
    return found.pop()


def test_ports_are_published_on_loopback_only() -> None:
    """This Vault has no TLS."""
    published = re.findall(r"^\s+- \"?([^\s\"]*:\d+)\"?$", ALL, flags=re.MULTILINE)
    ports = [line for line in published if re.search(r":\d+$", line) and "/" not in line]
    assert len(ports) == 3 + 4 + len(SERVICES), "a server, its cluster, the services"
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_images_are_the_pinned_ones_of_the_settings() -> None:
    assert default_of("VAULT_IMAGE") == DEFAULT_VAULT_IMAGE
    assert default_of("TOXIPROXY_IMAGE") == DEFAULT_TOXIPROXY_IMAGE
    assert default_of("HAPROXY_IMAGE") == DEFAULT_HAPROXY_IMAGE
    assert default_of("SERVICES_IMAGE") == LOCAL_SERVICES


@pytest.mark.parametrize(
    "image", [DEFAULT_VAULT_IMAGE, DEFAULT_TOXIPROXY_IMAGE, DEFAULT_HAPROXY_IMAGE]
)
def test_images_are_pinned_to_a_patch_version(image: str) -> None:
    """Two runs then use the same server."""
    assert re.search(r":\d+\.\d+\.\d+$", image)


def test_published_service_ports_are_those_of_the_code() -> None:
    for port, variable in SERVICES.values():
        assert default_of(variable) == str(port)


def test_the_proxy_is_the_one_that_the_stack_looks_for() -> None:
    for name, upstream in (("toxiproxy", "vault:8200"), ("toxiproxy-ha", "balancer:8200")):
        proxies = json.loads((resources() / "config" / f"{name}.json").read_text())
        assert [(proxy["name"], proxy["upstream"]) for proxy in proxies] == [(PROXY_NAME, upstream)]


def test_no_service_sees_the_data_directory_itself() -> None:
    """A service sees only its own ids, not the unseal keys."""
    mounts = re.findall(r"\$\{HARNESS_DATA_DIR:-[^}]*\}(\S*)$", TEXTS[SERVICES_FILE], re.MULTILINE)
    assert sorted(mounts) == sorted(f"/services/{name}" for name in SERVICES)


def test_each_service_logs_in_as_its_own_role() -> None:
    blocks = re.split(
        r"^  (\w+):\n", TEXTS[SERVICES_FILE].partition("\nservices:\n")[2], flags=re.MULTILINE
    )
    anchors = {
        name: re.findall(r"<<: \[\*vault, \*(\S+)\]", text)
        for name, text in zip(blocks[1::2], blocks[2::2], strict=True)
    }
    services = Blueprint.default().services
    assert anchors == {name: [services[name]] for name in SERVICES}
    for role in {services[name] for name in SERVICES}:
        anchor = TEXTS[SERVICES_FILE].partition(f"x-{role}: &{role}\n")[2].partition("\n\n")[0]
        files = re.findall(r"/run/vault/(\S+)", anchor)
        assert files == [file.name for file in credential_files(role, Path())]


def test_each_service_may_read_its_secret() -> None:
    blueprint = Blueprint.default()
    program = runpy.run_path(str(resources() / "services" / "service.py"))
    assert re.findall(r"SERVICE: (\w+)", TEXTS[SERVICES_FILE]) == list(SERVICES)
    assert list(program["SECRETS"]) == list(SERVICES)
    for name, (path, key) in program["SECRETS"].items():
        assert key in blueprint.secrets["ecommerce"][path]
        (granted,) = blueprint.approles[blueprint.services[name]].policies
        rules = policy.parse(blueprint.policies[granted].rules)
        wanted = f"ecommerce/data/{path}"
        assert any(fnmatch(wanted, rule.path) and "read" in rule.capabilities for rule in rules)


def test_two_data_directories_are_two_projects(tmp_path: Path) -> None:
    assert project_name(tmp_path / "a") != project_name(tmp_path / "b")
    assert project_name(tmp_path / "a") == project_name(tmp_path / "a")


def test_without_compose_the_remedy_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramMissing) as caught:
        find_compose()
    assert "HARNESS_ENGINE=process" in caught.value.remedy


@pytest.mark.parametrize("product", [dialect.OPENBAO, dialect.VAULT])
def test_the_configuration_by_hand_is_what_the_tasks_would_write(product: Dialect) -> None:
    folder = resources() / "config"
    assert (folder / f"{product.program}.json").read_text() == by_hand(product)
    assert (folder / f"{product.program}-ha.json").read_text() == by_hand_joining(product)
    assert (folder / "haproxy.cfg").read_text() == balancer_by_hand()
    assert (folder / "seal-static.json").read_text() == static_seal_by_hand()


def test_the_key_of_a_seal_is_mounted_where_the_configuration_looks() -> None:
    """It is in no other place."""
    seal = json.loads((resources() / "config" / "seal-static.json").read_text())["seal"]["static"]
    (target,) = re.findall(r"target: (\S+)\n\s+read_only: true", TEXTS[SEAL_FILE])
    assert seal["current_key"] == f"file://{target}"
    assert "environment" not in TEXTS[SEAL_FILE].partition("services:")[2]


def test_mounts_never_create_a_folder() -> None:
    """It would belong to root and lock its owner out."""
    sources = re.findall(r"- <<: (\S+)\n\s+source: ", TEXTS[SERVICES_FILE])
    assert sources == ["*ids"] * len(SERVICES)
    assert (
        "create_host_path: false" in TEXTS[SERVICES_FILE].partition("&ids")[2].partition("\n\n")[0]
    )
    assert "create_host_path: false" in TEXTS[SEAL_FILE]


def test_the_file_for_compose_by_hand_takes_any_path() -> None:
    text = env_file_text(
        "p", {"HARNESS_NODE_DIR": "/a b/$c"}, [Path("/x/base.yml"), Path("/y.json")]
    )
    assert "COMPOSE_FILE='/x/base.yml:/y.json'\n" in text
    assert "HARNESS_NODE_DIR='/a b/$c'\n" in text
    assert "COMPOSE_PROJECT_NAME='p'\n" in text
