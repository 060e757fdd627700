"""HTTP_PROXY is ignored for servers on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.running import Handler, answering
from vault_harness.local.engine.process.own_program import Relay
from vault_harness.local.engine.provider import RecorderEndpoint
from vault_harness.local.stack.client_path import order_fault
from vault_harness.local.vault.metrics import numbers


class Answers(Handler):
    def answer(self) -> None:
        """Answer with metrics, the state of a relay, or a created object."""
        self.sent()
        metrics = "metrics" in self.path
        body = "vault_core_unsealed 1\n" if metrics else json.dumps({"nodes": {}, "cut": {}})
        self.say(body, status=201 if self.command == "POST" else 200)


@pytest.fixture
def here() -> Iterator[str]:
    with answering(Answers) as url:
        yield url


def order_goes_through(url: str) -> bool:
    """Return whether a recorder takes an order; it raises if not."""
    order_fault(RecorderEndpoint(listen="", api=url), {})
    return True


@pytest.mark.parametrize(
    "ask",
    [
        lambda url: numbers(url).unsealed,
        order_goes_through,
        lambda url: Relay(url).state() == {"nodes": {}, "cut": {}},
    ],
    ids=["metrics", "recorder", "relay"],
)
def test_they_are_asked_directly(
    ask: Callable[[str], object], here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That proxy would answer no request."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert ask(here)
