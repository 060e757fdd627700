import time
from pathlib import Path

import pytest

from vault_harness.errors import EngineUnavailable, ImageMissing
from vault_harness.local.engine.choice import choose, open_engine
from vault_harness.local.engine.docker.engine import DockerStatus, docker_state, inspect_docker
from vault_harness.local.engine.docker_client import connect
from vault_harness.settings import Settings

ABSENT = "vault-harness.invalid/absent:1"


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")


@pytest.mark.usefixtures("no_engine")
def test_no_engine_is_said_in_one_line() -> None:
    state = inspect_docker(Settings())
    assert (state.status, state.usable) == (DockerStatus.NO_ENGINE, False)
    assert "does not answer" in state.line
    assert "\n" not in state.line


@pytest.mark.usefixtures("no_engine")
def test_without_engine_docker_refuses_with_a_remedy() -> None:
    with pytest.raises(EngineUnavailable) as caught:
        connect()
    assert "HARNESS_ENGINE=process" in caught.value.remedy


@pytest.mark.usefixtures("no_engine")
def test_auto_falls_back_to_processes() -> None:
    assert choose(Settings(engine="auto"), lasting=True)[0] == "process"


@pytest.mark.docker
def test_engine_without_the_images_names_them(settings: Settings) -> None:
    state = inspect_docker(Settings(vault_image=ABSENT), ask_registry=False)
    assert DockerStatus.NO_IMAGES is state.status
    assert state.missing == (ABSENT,)
    assert ABSENT in state.line
    assert "invoke images" in state.line


@pytest.mark.docker
def test_engine_without_images_falls_back_too(settings: Settings) -> None:
    assert choose(Settings(engine="auto", vault_image=ABSENT), lasting=True)[0] == "process"


@pytest.mark.docker
def test_an_image_that_was_chosen_is_never_exchanged(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises((ImageMissing, EngineUnavailable)) as caught:
        open_engine(Settings(engine="docker", vault_image=ABSENT), directory=tmp_path)
    assert ABSENT in str(caught.value)


@pytest.mark.docker
def test_engine_with_images_is_ready(settings: Settings) -> None:
    state = inspect_docker(settings)
    assert DockerStatus.READY is state.status
    assert state.vault is not None
    assert state.toxiproxy is not None
    assert state.vault.name in state.line
    assert docker_state(settings) is None


@pytest.mark.docker
def test_looking_is_quick(settings: Settings) -> None:
    """Every task with ``auto`` makes this check."""
    begin = time.monotonic()
    inspect_docker(settings)
    assert time.monotonic() - begin < 5
