"""How often a rejected secret-id may be tried again."""

from __future__ import annotations

import itertools

import pytest

from harness.client import _ledger
from harness.client._credentials import Credentials
from harness.client._ledger import MOST_FOR_A_ROLE, WINDOW, Ledger


class Clock:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """What it shows."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The ledger's clock."""
    clock = Clock()
    monkeypatch.setattr(_ledger, "time", clock)
    return clock


def attempts(ledger: Ledger, clock: Clock, ids: Credentials, seconds: float) -> list[float]:
    """When a client that tries as soon as it may does so, and fails."""
    end, times = clock.now + seconds, []
    while clock.now < end:
        wait = ledger.wait(ids)
        if wait > 0:
            clock.now += wait
            continue
        times.append(clock.now)
        ledger.rejected(ids)
        assert ledger.wait(ids) > 0
    return times


def test_the_same_secret_id(clock: Clock) -> None:
    """In no fifteen minutes of a day there are more than four tries, and it is never given up."""
    times = attempts(Ledger(), clock, Credentials("role", "bad"), 86_400.0)

    assert len(times) > 90
    for at in times:
        assert len([t for t in times if at <= t < at + WINDOW]) <= 3


def test_another_secret_id_is_tried_at_once(clock: Clock) -> None:
    """What the old one did does not hold the new one back."""
    ledger = Ledger()
    attempts(ledger, clock, Credentials("role", "bad"), 100.0)

    assert ledger.wait(Credentials("role", "new")) == 0


def test_a_role_is_never_locked_by_one_client(clock: Clock) -> None:
    """However many secret-ids are delivered, a role has fewer failures than lock it."""
    ledger, times = Ledger(), []
    for number in itertools.count():
        ids = Credentials("role", f"bad-{number}")
        wait = ledger.wait(ids)
        if wait > 0:
            break
        ledger.rejected(ids)
        times.append(clock.now)
    assert len(times) == MOST_FOR_A_ROLE
    assert ledger.wait(Credentials("another role", "x")) == 0
    clock.now += WINDOW
    assert ledger.wait(Credentials("role", "x")) == 0


def test_success_forgets(clock: Clock) -> None:
    """After a login that worked the server counts from zero, and so does the client."""
    ledger, ids = Ledger(), Credentials("role", "flaky")
    ledger.rejected(ids)
    ledger.accepted(ids)

    assert ledger.wait(ids) == 0
