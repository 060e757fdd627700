from __future__ import annotations

import itertools
import time

import pytest

from vault_harness import waiting
from vault_harness.errors import DeadlineExceeded
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.waiting import Awaited, in_words, rest, telling_waits, wait_until


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The messages of a user without patience."""
    monkeypatch.setattr(waiting, "PATIENT_SECONDS", 0.05)
    return []


def test_one_wait_is_announced_once(told: list[str]) -> None:
    looks = itertools.count()
    with telling_waits(told.append):
        wait_until(lambda: next(looks) > 20, "the moon", timeout=30, interval=0.01)
    assert told == ["waiting for the moon, 30 s at most"]


def test_a_short_wait_is_not_announced(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENT_SECONDS", 60.0)
    looks = itertools.count()
    with telling_waits(told.append):
        wait_until(lambda: next(looks) > 5, "the moon", timeout=30, interval=0.01)
    assert told == []


def test_a_time_that_was_promised(told: list[str]) -> None:
    """An old Redis password stays for a while."""
    with telling_waits(told.append):
        rest(0.02, "nobody")
        began = time.monotonic()
        rest(0.2, "clients to read the new one")
    assert time.monotonic() - began >= 0.2
    assert told == ["waiting for clients to read the new one, 0.2 s at most"]


def test_without_a_listener_the_state_is_not_asked_for(told: list[str]) -> None:
    def state() -> str:
        told.append("asked")
        return "rising"

    awaited, deadline = Awaited("the moon"), time.monotonic() + 0.2
    while time.monotonic() < deadline:
        awaited.still(state)
    assert told == []
    with telling_waits(told.append):
        awaited.still(state)
    assert told == ["asked", "waiting for the moon: rising"]


def test_nodes_that_do_not_serve_are_named(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "health_of_all", lambda _: [200, 503])
    nodes = [VaultAdmin("http://127.0.0.1:1"), VaultAdmin("http://127.0.0.1:2")]
    with telling_waits(told.append), pytest.raises(DeadlineExceeded):
        cluster.wait_for_all(nodes, timeout=0.3)
    for node in nodes:
        node.close()
    (line,) = told
    assert line.startswith("waiting for all nodes to serve, 0.3 s at most: ")
    assert line.endswith(": http://127.0.0.1:1 is active; http://127.0.0.1:2 is sealed")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(29.9901, "30 s"), (30, "30 s"), (1.26, "1.3 s"), (0.2504, "0.25 s"), (600.04, "600 s")],
)
def test_times_are_rounded_for_people(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
