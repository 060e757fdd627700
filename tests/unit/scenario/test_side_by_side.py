"""How many scenarios run at once, before the client's cost is known."""

from __future__ import annotations

import pytest

from vault_harness.engine import _choose
from vault_harness.plugin._suite import side_by_side
from vault_harness.settings import Settings


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container engine that answers and has the images."""
    monkeypatch.delenv("HARNESS_WORKERS", raising=False)
    monkeypatch.setattr(_choose, "docker_state", lambda *_args, **_options: None)


@pytest.mark.usefixtures("docker")
def test_half_of_them_in_containers() -> None:
    """Whether docker was asked for or found."""
    processes = side_by_side(Settings(engine="process"))
    assert side_by_side(Settings(engine="docker")) == processes // 2
    assert side_by_side(Settings(engine="auto")) == processes // 2


@pytest.mark.usefixtures("docker")
def test_all_where_no_container_engine_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` then means processes."""
    monkeypatch.setattr(_choose, "docker_state", lambda *_args, **_options: "nobody answers")
    assert side_by_side(Settings(engine="auto")) == side_by_side(Settings(engine="process"))


@pytest.mark.usefixtures("docker")
def test_a_number_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken as it is, from wherever it came."""
    assert side_by_side(Settings(engine="docker", workers=30)) == 30
    monkeypatch.setenv("HARNESS_WORKERS", "7")
    assert side_by_side(Settings(engine="docker")) == 7
