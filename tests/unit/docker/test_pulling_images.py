import logging
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import ImageMissing
from vault_harness.local.engine.docker.state import _pull


class Registry:
    """An engine that pulls or is refused, and records the requests."""

    def __init__(self, *events: dict[str, str]) -> None:
        self.events = events
        self.asked: list[tuple[str, str]] = []
        self.api = SimpleNamespace(pull=self._pull)
        self.images = SimpleNamespace(get=lambda _name: SimpleNamespace(labels={}, attrs={}))

    def _pull(self, repository: str, tag: str, **_: object) -> tuple[dict[str, str], ...]:
        self.asked.append((repository, tag))
        return self.events


def client(*events: dict[str, str]) -> Any:
    return Registry(*events)


def test_each_step_of_a_layer_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """The engine repeats steps."""
    busy = {"status": "Downloading", "id": "a1", "progress": "[=>  ]"}
    engine = client(busy, busy, {"status": "Pull complete", "id": "a1"})
    with caplog.at_level(logging.WARNING):
        image = _pull(engine, "hashicorp/vault:1.20.4")
    assert image.name == "hashicorp/vault:1.20.4"
    assert engine.asked == [("hashicorp/vault", "1.20.4")]
    assert [record.getMessage() for record in caplog.records] == [
        "pulling the image hashicorp/vault:1.20.4 ...",
        "hashicorp/vault:1.20.4: a1 pull complete",
    ]


def test_without_a_tag_it_is_the_latest_and_not_all() -> None:
    engine = client()
    _pull(engine, "registry:5000/vault")
    assert engine.asked == [("registry:5000/vault", "latest")]


def test_what_the_registry_says_is_in_the_error() -> None:
    """They come as an event."""
    with pytest.raises(ImageMissing) as caught:
        _pull(client({"error": "toomanyrequests: slow down"}), "hashicorp/vault:1")
    assert "slow down" in caught.value.looked_at
