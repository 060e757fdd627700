"""Ryuk of testcontainers is used only if its image is here."""

from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import ImageNotFound
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import Reaper

from vault_harness.local.engine.docker.reaper import start_ryuk_if_present


class Images:
    def __init__(self, *present: str) -> None:
        self.present = present

    def get(self, name: str) -> object:
        if name not in self.present:
            raise ImageNotFound(name)
        return object()


def engine_with(*images: str) -> Any:
    return SimpleNamespace(images=Images(*images))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    started: list[str] = []
    monkeypatch.setattr(testcontainers_config, "_ryuk_disabled", False)
    monkeypatch.setattr(Reaper, "get_instance", lambda: started.append("ryuk"))
    return started


def test_absent_it_is_done_without(asked: list[str]) -> None:
    """The run's watcher does its work."""
    assert not start_ryuk_if_present(engine_with())
    assert asked == []


def test_it_stays_on_for_everybody_else(asked: list[str]) -> None:
    start_ryuk_if_present(engine_with())
    assert not testcontainers_config.ryuk_disabled


def test_present_it_is_used(asked: list[str]) -> None:
    """It outlives a killed watcher."""
    assert start_ryuk_if_present(engine_with(testcontainers_config.ryuk_image))
    assert asked == ["ryuk"]


def test_switched_off_it_is_not_used(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """TESTCONTAINERS_RYUK_DISABLED is respected."""
    monkeypatch.setattr(testcontainers_config, "_ryuk_disabled", True)
    assert not start_ryuk_if_present(engine_with(testcontainers_config.ryuk_image))
