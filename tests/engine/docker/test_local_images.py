import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pytest

from vault_harness.errors import EngineError, ProgramMissing
from vault_harness.local.engine.docker.state import DockerStatus, inspect_docker
from vault_harness.local.engine.docker_client import connected
from vault_harness.local.images.build import (
    LOCAL_BALANCER,
    LOCAL_PYTHON,
    LOCAL_SERVICES,
    LOCAL_TOXIPROXY,
    LOCAL_VAULT,
    BuiltImage,
    build_images,
)
from vault_harness.local.programs import find_balancer
from vault_harness.settings import Settings

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("images")]


def has_haproxy() -> bool:
    try:
        find_balancer()
    except ProgramMissing:
        return False
    return True


BALANCER = [LOCAL_BALANCER] if has_haproxy() else []
LOCAL = [LOCAL_PYTHON, LOCAL_VAULT, LOCAL_TOXIPROXY, *BALANCER, LOCAL_SERVICES]


def build(settings: Settings) -> list[BuiltImage]:
    with connected(timeout=300) as client:
        return build_images(client, settings)


@pytest.fixture(scope="module")
def built(settings: Settings) -> Settings:
    build(settings)
    return settings


def said_by(image: str, *command: str, entrypoint: str | None = None) -> str:
    with connected() as client:
        output: bytes = client.containers.run(
            image, list(command), entrypoint=entrypoint, network_mode="none", remove=True
        )
    return output.decode()


def test_an_unchanged_image_is_not_built_again(built: Settings) -> None:
    """So the task may run before every run."""
    assert [one.tag for one in build(built)] == LOCAL
    assert {one.action for one in build(built)} == {"unchanged"}


def test_with_them_the_engine_is_ready(built: Settings) -> None:
    state = inspect_docker(built, ask_registry=False)
    assert state.status is DockerStatus.READY
    assert state.vault is not None
    assert state.vault.dialect.product == "openbao"


def test_other_code_than_the_checkouts_is_said(
    built: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "outdated" not in inspect_docker(built).line
    monkeypatch.setattr(
        "vault_harness.local.engine.docker.state.own_code", lambda _flavour: "edited"
    )
    state = inspect_docker(built)
    assert "outdated" in state.line
    assert not state.usable


def test_vault_answers_to_both_names(built: Settings) -> None:
    """As in the images of HashiCorp and OpenBao."""
    assert said_by(LOCAL_VAULT, "version").startswith(("OpenBao", "Vault"))
    assert said_by(LOCAL_VAULT, "version", entrypoint="/bin/bao") == said_by(LOCAL_VAULT, "version")


def test_toxiproxy_takes_the_flags_of_the_real_one(built: Settings) -> None:
    assert "2.12.0" in said_by(LOCAL_TOXIPROXY, "-version")


def test_haproxy_is_found_by_its_name(built: Settings) -> None:
    if not BALANCER:
        pytest.skip("no haproxy on this machine")
    assert "HAProxy" in said_by(LOCAL_BALANCER, "-v", entrypoint="haproxy")


def test_services_have_the_client_and_not_the_harness(built: Settings) -> None:
    program = (
        "import importlib.util as i, resilient_vault_client; print(i.find_spec('vault_harness'))"
    )
    said = said_by(LOCAL_SERVICES, "-c", program, entrypoint="/usr/local/bin/python3")
    assert said.strip() == "None"


def test_nothing_in_them_is_setuid_or_a_secret(built: Settings) -> None:
    with connected() as client:
        for image in LOCAL:
            container = client.containers.create(image, ["nothing"])
            try:
                listing = subprocess.run(
                    ["tar", "-tv"],
                    input=b"".join(cast("Iterable[bytes]", container.export())),
                    capture_output=True,
                    timeout=120,
                    check=True,
                ).stdout.decode()
            finally:
                container.remove()
            modes = [line.split()[0] for line in listing.splitlines()]
            assert not [mode for mode in modes if "s" in mode[1:]], image
            assert "init.json" not in listing
            assert "secret-id" not in listing


def test_a_missing_binary_is_named(built: Settings, tmp_path: Path) -> None:
    wanted = built.model_copy(update={"vault_binary": tmp_path / "nothing"})
    with pytest.raises(ProgramMissing, match="nothing"):
        build(wanted)


def test_packages_are_found_by_any_python(built: Settings) -> None:
    """Debian's Python finds the packages of pip, because their folder is named."""
    program = ("-S", "-m", "vault_harness.local.toxiproxy", "-version")
    assert "2.12.0" in said_by(LOCAL_TOXIPROXY, *program, entrypoint="/usr/local/bin/python3")
    client = ("-S", "-c", "import resilient_vault_client as c; print(c.__name__)")
    said = said_by(LOCAL_SERVICES, *client, entrypoint="/usr/local/bin/python3")
    assert said.strip() == "resilient_vault_client"


def test_an_image_that_cannot_start_is_not_called_built(built: Settings, tmp_path: Path) -> None:
    """Each image runs once before it counts as built."""
    broken = tmp_path / "bao"
    broken.write_text("#!/bin/nothing-of-the-kind\n")
    broken.chmod(0o755)
    wanted = built.model_copy(update={"vault_binary": broken})
    with pytest.raises(EngineError, match="could not be built"):
        build(wanted)


def test_a_persons_own_name_for_an_image_is_kept(built: Settings) -> None:
    """A build removes only images that have no name left."""
    with connected(timeout=300) as client:
        before = client.images.get(LOCAL_VAULT)
        before.tag("somebodys-own", tag="kept")
        try:
            build_images(client, built, rebuild=True)
            assert client.images.get("somebodys-own:kept").id == before.id
        finally:
            client.images.remove("somebodys-own:kept")
