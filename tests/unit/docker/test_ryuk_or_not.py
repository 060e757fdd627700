"""testcontainers pulls Ryuk before anything else; where that fails it must not be asked for."""

from types import SimpleNamespace

import pytest
from docker.errors import ImageNotFound
from testcontainers.core.config import testcontainers_config

from vault_harness.engine.docker._engine import _use_ryuk_if_present


class Images:
    """An engine's images."""

    def __init__(self, *present: str) -> None:
        self.present = present

    def get(self, name: str) -> object:
        """The image, or the SDK's error."""
        if name not in self.present:
            raise ImageNotFound(name)
        return object()


@pytest.fixture(autouse=True)
def nobody_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after the import of testcontainers."""
    monkeypatch.setattr(testcontainers_config, "_ryuk_disabled", False)


def test_absent_it_is_done_without() -> None:
    """The watcher of the run does its work."""
    _use_ryuk_if_present(SimpleNamespace(images=Images()))
    assert testcontainers_config.ryuk_disabled


def test_present_it_is_used() -> None:
    """It also outlives a watcher that is killed."""
    _use_ryuk_if_present(SimpleNamespace(images=Images(testcontainers_config.ryuk_image)))
    assert not testcontainers_config.ryuk_disabled
