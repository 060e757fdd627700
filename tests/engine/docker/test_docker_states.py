"""Three states of a machine, told apart and said plainly."""

import time
from pathlib import Path

import pytest

from vault_harness.engine import choose, open_engine
from vault_harness.engine.docker._client import connect
from vault_harness.engine.docker._engine import DockerStatus, docker_state, inspect_docker
from vault_harness.errors import EngineUnavailable, ImageMissing
from vault_harness.settings import Settings

ABSENT = "vault-harness.invalid/absent:1"


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine whose engine does not answer."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")


@pytest.mark.usefixtures("no_engine")
def test_no_engine_is_said_in_one_line() -> None:
    """Nobody answers at the socket, and the state says so."""
    state = inspect_docker(Settings())
    assert (state.status, state.usable) == (DockerStatus.NO_ENGINE, False)
    assert "does not answer" in state.line
    assert "\n" not in state.line


@pytest.mark.usefixtures("no_engine")
def test_without_engine_docker_refuses_with_a_remedy() -> None:
    """Who asks for docker and has none is told what to do."""
    with pytest.raises(EngineUnavailable) as caught:
        connect()
    assert "HARNESS_ENGINE=process" in caught.value.remedy


@pytest.mark.usefixtures("no_engine")
def test_auto_falls_back_to_processes_and_says_why() -> None:
    """One line names the reason."""
    name, why = choose(Settings(engine="auto"))
    assert name == "process"
    assert "does not answer" in why


@pytest.mark.docker
def test_engine_without_the_images_names_them(settings: Settings) -> None:
    """The missing images are named, and how to get them."""
    state = inspect_docker(Settings(vault_image=ABSENT), ask_registry=False)
    assert DockerStatus.NO_IMAGES is state.status
    assert state.missing == (ABSENT,)
    assert ABSENT in state.line
    assert "invoke images" in state.line


@pytest.mark.docker
def test_engine_without_images_falls_back_too(settings: Settings) -> None:
    """An engine that answers is not enough for ``auto``."""
    name, why = choose(Settings(engine="auto", vault_image=ABSENT))
    assert name == "process"
    assert ABSENT in why


@pytest.mark.docker
def test_an_image_that_was_chosen_is_never_exchanged(settings: Settings, tmp_path: Path) -> None:
    """A local image stands in for the default one, but not for somebody's choice."""
    with pytest.raises((ImageMissing, EngineUnavailable)) as caught:
        open_engine(Settings(engine="docker", vault_image=ABSENT), directory=tmp_path)
    assert ABSENT in str(caught.value)


@pytest.mark.docker
def test_engine_with_images_is_ready(settings: Settings) -> None:
    """Nothing stands in the way, and both images are named."""
    state = inspect_docker(settings)
    assert DockerStatus.READY is state.status
    assert state.vault is not None
    assert state.toxiproxy is not None
    assert state.vault.name in state.line
    assert docker_state(settings) is None


@pytest.mark.docker
def test_looking_is_quick(settings: Settings) -> None:
    """Every task of an ``auto`` machine looks, so a look must not be felt."""
    begin = time.monotonic()
    inspect_docker(settings)
    assert time.monotonic() - begin < 5
