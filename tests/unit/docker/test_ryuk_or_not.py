"""testcontainers pulls Ryuk before anything else; where that fails it must not be asked for."""

from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import ImageNotFound
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import Reaper

from vault_harness.engine.docker._reaper import start_ryuk_if_present


class Images:
    """An engine's images."""

    def __init__(self, *present: str) -> None:
        self.present = present

    def get(self, name: str) -> object:
        """The image, or the SDK's error."""
        if name not in self.present:
            raise ImageNotFound(name)
        return object()


def engine_with(*images: str) -> Any:
    """A client of an engine that has these images."""
    return SimpleNamespace(images=Images(*images))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was started instead of Ryuk, as after the import of testcontainers."""
    started: list[str] = []
    monkeypatch.setattr(testcontainers_config, "_ryuk_disabled", False)
    monkeypatch.setattr(Reaper, "get_instance", lambda: started.append("ryuk"))
    return started


def test_absent_it_is_done_without(asked: list[str]) -> None:
    """The watcher of the run does its work."""
    assert not start_ryuk_if_present(engine_with())
    assert asked == []


def test_it_stays_on_for_everybody_else(asked: list[str]) -> None:
    """Containers that somebody else starts in this process are his business."""
    start_ryuk_if_present(engine_with())
    assert not testcontainers_config.ryuk_disabled


def test_present_it_is_used(asked: list[str]) -> None:
    """It also outlives a watcher that is killed."""
    assert start_ryuk_if_present(engine_with(testcontainers_config.ryuk_image))
    assert asked == ["ryuk"]


def test_switched_off_it_is_not_used(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By whoever set TESTCONTAINERS_RYUK_DISABLED."""
    monkeypatch.setattr(testcontainers_config, "_ryuk_disabled", True)
    assert not start_ryuk_if_present(engine_with(testcontainers_config.ryuk_image))
