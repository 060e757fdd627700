"""A person who waits for long is told for what, once; who waits for a moment is told nothing."""

from __future__ import annotations

import itertools
import time

import pytest

from vault_harness import waiting
from vault_harness.errors import DeadlineExceeded
from vault_harness.vault import Operator, cluster
from vault_harness.waiting import Awaited, rest, telling_waits, wait_until


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is told, by who has no patience."""
    monkeypatch.setattr(waiting, "PATIENT_SECONDS", 0.05)
    return []


def test_one_wait_is_told_once(told: list[str]) -> None:
    """With how long it takes at most, and then it is quiet again."""
    looks = itertools.count()
    with telling_waits(told.append):
        wait_until(lambda: next(looks) > 20, "the moon", timeout=30, interval=0.01)
    assert told == ["waiting for the moon, 30 s at most"]


def test_a_short_one_is_not_told(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Most are over before anybody wonders."""
    monkeypatch.setattr(waiting, "PATIENT_SECONDS", 60.0)
    looks = itertools.count()
    with telling_waits(told.append):
        wait_until(lambda: next(looks) > 5, "the moon", timeout=30, interval=0.01)
    assert told == []


def test_a_time_that_was_promised(told: list[str]) -> None:
    """The old password of a Redis goes on for seconds, of which nothing else is to be seen."""
    with telling_waits(told.append):
        rest(0.02, "nobody")
        began = time.monotonic()
        rest(0.2, "clients to read the new one")
    assert time.monotonic() - began >= 0.2
    assert told == ["waiting for clients to read the new one, 0.2 s at most"]


def test_nothing_is_looked_for_where_nobody_listens(told: list[str]) -> None:
    """How things are is asked for where it is told, and nowhere else."""

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
    """Whoever waits for a cluster sees at once which node it hangs on."""
    monkeypatch.setattr(cluster, "health_of_all", lambda _: [200, 503])
    nodes = [Operator("http://127.0.0.1:1"), Operator("http://127.0.0.1:2")]
    with telling_waits(told.append), pytest.raises(DeadlineExceeded):
        cluster.wait_for_all(nodes, timeout=0.3)
    for node in nodes:
        node.close()
    (line,) = told
    assert line.startswith("waiting for all nodes to serve, 0.3 s at most: ")
    assert line.endswith(": http://127.0.0.1:1 is active; http://127.0.0.1:2 is sealed")
