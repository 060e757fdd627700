from __future__ import annotations

import logging

import pytest

from resilient_vault_client import VaultSealed
from resilient_vault_client.events import (
    Event,
    Notifier,
    Recovered,
    RenewalFailed,
    Renewed,
    ServedStale,
)


def test_names() -> None:
    """The spelling is that of a metric."""
    assert Renewed(ttl=1.0, capped=False).name == "renewed"
    event = RenewalFailed(error=VaultSealed("sealed"), remaining=1.25, retry_in=0.5)
    assert event.name == "renewal_failed"
    assert "VaultSealed('sealed')" in str(event)


def test_callback_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    def callback(event: Event) -> None:
        raise ValueError("a canary")

    Notifier(callback).notify(Renewed(ttl=1.0, capped=False))

    assert "ValueError" in caplog.text
    assert "canary" not in caplog.text


def test_frequent_events_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """An outage logs one warning per path."""
    caplog.set_level(logging.WARNING)
    heard: list[Event] = []
    notifier = Notifier(heard.append)
    event = ServedStale(path="a/b", age=1.0, error=VaultSealed("sealed"))
    for _ in range(5):
        notifier.notify(event)
    assert caplog.text.count("served_stale") == 1
    assert len(heard) == 5
    notifier.notify(Recovered(seconds=1.0))
    notifier.notify(event)
    assert caplog.text.count("served_stale") == 2
