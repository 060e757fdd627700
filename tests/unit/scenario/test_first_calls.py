"""What may be late at the start of a client: what it loads once, and who waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.helpers.starts import (
    await_start,
    callers_if_started,
    open_reading,
    start_in_background,
    started_again,
    tries_meanwhile,
    works_after_all,
)
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import LOADS, every_call_ends_within, slow_at_first
from vault_harness.judge.running import Running
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.observations import Operation, Outcome

DEADLINE = 2.0


@pytest.mark.parametrize(
    ("ended", "warm_ups"),
    [
        pytest.param((2.5, 0.3, 0.3), [0], id="the first, beside others"),
        pytest.param((0.3, 2.5, 0.3), [1], id="any of those that began together"),
        pytest.param((3.0, 3.1, 3.2), [0, 1, 2], id="all, which waited for the same"),
        pytest.param((0.3, 2.5, 4.5), [1], id="no second one, as nothing was loaded for all"),
        pytest.param((2.5, 4.0, 6.0), [0, 1], id="nobody who had a deadline more after it"),
        pytest.param((0.3, 0.4, 0.5), [], id="nobody who was in time"),
    ],
)
def test_calls_that_begin_together(
    story: Story, ended: tuple[float, ...], warm_ups: list[int]
) -> None:
    """All may wait for what the first of them loads."""
    calls = [story.call(0.0, at) for at in ended]
    ready = min(calls, key=lambda call: call.ended or 0.0)
    slow = slow_at_first(calls, DEADLINE, ready=ready)
    assert [calls.index(one) for one in slow] == warm_ups


def test_call_that_begins_when_all_is_loaded(story: Story) -> None:
    """It may not be late."""
    calls = [story.call(0.0, 2.5), story.call(2.6, 5.0)]
    assert slow_at_first(calls, DEADLINE, ready=calls[0]) == calls[:1]


@pytest.mark.parametrize("verb", ["read", "read_cached", "lease"])
def test_first_call_of_an_instance_may_load(story: Story, verb: str) -> None:
    """It may in an outage too."""
    for instance in (1, 2):
        _call(story, 10.0 * instance, DEADLINE + LOADS, instance, verb=verb)
    assert story.finds(every_call_ends_within(DEADLINE)) == []
    _call(story, 30.0, DEADLINE + LOADS + 0.2, 3, verb=verb)
    assert story.finds(every_call_ends_within(DEADLINE)) == [
        f"{verb} of backend/django ended only after 4.20 s"
    ]


def test_next_call_of_an_instance_has_its_deadline(story: Story) -> None:
    _call(story, 10.0, 3.0, 1)
    _call(story, 13.1, 3.0, 1)
    _call(story, 20.0, 0.1, 2)
    _call(story, 20.2, 3.0, 2)
    _call(story, 30.0, 3.0, 3, verb="warm-up")
    _call(story, 33.1, 3.0, 3)
    assert len(story.finds(every_call_ends_within(DEADLINE))) == 3


def test_calls_beside_the_first_of_an_outage(story: Story) -> None:
    """They may wait for the loading too, but not for each other."""
    for ended in (3.6, 3.62, 3.7):
        _call(story, 10.0, ended, 1)
    assert story.finds(every_call_ends_within(DEADLINE)) == []
    for ended in (2.0, 4.0, 6.0):
        _call(story, 20.0, ended, 2)
    assert story.finds(every_call_ends_within(DEADLINE)) == [
        "read of backend/django ended only after 6.00 s"
    ]


def test_a_call_that_hangs_is_no_warm_up(story: Story) -> None:
    call = _call(story, 10.0, 3.0, 1)
    call.outcome = "hung"
    assert len(story.finds(every_call_ends_within(DEADLINE))) == 1


@pytest.mark.parametrize(
    ("reads", "verbs"),
    [
        pytest.param([(3.0, "ok")], ["warm-up"], id="late and good"),
        pytest.param([(0.1, "ok")], ["read"], id="in time"),
        pytest.param(
            [(0.1, "unavailable"), (0.1, "ok")], ["warm-up", "read"], id="not ready at once"
        ),
        pytest.param([(0.1, "unavailable"), (3.0, "ok")], ["warm-up"] * 2, id="late in the end"),
        pytest.param([(8.0, "hung")], ["read"], id="hung"),
    ],
)
def test_one_of_a_herd_may_load(
    story: Story, reads: list[tuple[float, Outcome]], verbs: list[str]
) -> None:
    """Reads before the first good one may fail."""
    coming, made = iter(reads), list[Operation]()

    def read() -> Operation:
        took, outcome = next(coming)
        began = 10.0 * (len(made) + 1)
        made.append(story.call(began, began + took, outcome))
        return made[-1]

    one = SimpleNamespace(read=read)
    history = SimpleNamespace(now=lambda: 0.0, let_pass=lambda *_, **__: None)
    lab = SimpleNamespace(
        open=lambda: one, environment=SimpleNamespace(start=30.0), history=history
    )
    lab.deadline = DEADLINE
    lab.mark_warm_up = lambda calls: Running.mark_warm_up(cast("Lab", lab), calls)
    found = open_reading(cast("Lab", lab))
    assert (found is not None) == (reads[-1][1] == "ok")
    assert [call.verb for call in made] == verbs


@pytest.mark.parametrize(("runs", "granted"), [(True, 0.0), (False, 7.0 + LOADS)])
def test_a_restarted_client_may_load_again(*, runs: bool, granted: float) -> None:
    """A new start, and loading, extend the bound on recovery."""
    clock = [0.0]

    def start() -> None:
        clock[0] += 7.0

    lab = SimpleNamespace(
        started=runs,
        client=SimpleNamespace(closed=False),
        history=SimpleNamespace(now=lambda: clock[0]),
        open=start,
    )
    assert started_again(cast("Lab", lab)) == granted


def test_another_start_lets_off_nothing_of_the_first(story: Story) -> None:
    """Only failed reads of the new client become warm-ups."""
    story.history.started -= 20.0
    story.sent("login", 1.0, token="token-1")
    of_the_first = [story.call(10.0, outcome="unavailable")]
    outcomes = iter(("unavailable", "ok", "ok", "ok"))
    made: list[Operation] = []

    def read() -> Operation:
        of_the_first.append(story.call(story.history.now(), outcome="unavailable"))
        made.append(story.call(story.history.now(), outcome=cast("Outcome", next(outcomes))))
        return made[-1]

    lab: Any = SimpleNamespace(
        open=lambda: SimpleNamespace(read=read),
        history=story.history,
        entry=SimpleNamespace(auth="approle"),
        look_at_command_lines=lambda: "",
        deadline=DEADLINE,
    )
    lab.mark_warm_up = lambda calls: Running.mark_warm_up(lab, calls)
    Running.start(lab, within=10.0)
    assert {call.verb for call in of_the_first} == {"read"}
    assert [call.verb for call in made] == ["warm-up", "read", "read", "read"]


class SlowStarter:
    """The part of a lab that a start under a fault needs.

    `takes` is the time in seconds until the client has started and tried its request.
    """

    environment = SimpleNamespace(start=80.0)
    start_under_a_fault = Running.start_under_a_fault
    longest_start = 90.0
    asks_within = 40.0
    deadline = 2.0
    started = True

    def __init__(self, takes: float = 0.0) -> None:
        self.granted: list[object] = []
        self.opened = threading.Event()
        self.client = SimpleNamespace(closed=False)
        self.history = SimpleNamespace(wait_for=self.wait_for, mark=lambda _: None)
        self._takes = takes

    def open(self, **granted: object) -> None:
        self.granted.append(granted)

    def wait_for(self, condition: Callable[[], bool], timeout: float, **_: str) -> bool:
        self.granted.append(timeout)
        if self._takes <= timeout:
            self.opened.set()
        return condition()

    def until(self, condition: Callable[[], bool], *, within: float) -> bool:
        return self.wait_for(condition, within)

    def touched(self, _: object) -> bool:
        return self.opened.is_set()

    def reading(self, **_: float) -> AbstractContextManager[None]:
        return nullcontext()

    def recovery_after(self, _: object) -> float:
        return 5.0

    def until_good_read_by_asking(self, *, within: float) -> None:
        assert within == 5.0


@pytest.mark.parametrize(("start", "granted"), [(30.0, 20.0), (90.0, 60.0)])
def test_a_slow_start_in_the_midst_has_its_time(start: float, granted: float) -> None:
    lab = SlowStarter()
    lab.environment = SimpleNamespace(start=start)
    assert start_in_background(cast("Lab", lab)).wait(timeout=10.0)
    assert lab.granted == [{"timeout": granted}]


def test_a_slow_start_is_waited_for() -> None:
    lab = SlowStarter(takes=80.0)
    assert await_start(cast("Lab", lab), lab.opened)
    assert works_after_all(cast("Lab", lab), cast("Fault", None), lab.opened) == 5.0
    assert lab.granted == [90.0, 90.0]


@pytest.mark.parametrize(("takes", "tries"), [(1.0, True), (80.0, True), (99.0, False)])
def test_a_slow_start_delays_the_first_request(*, takes: float, tries: bool) -> None:
    """The client then has the usual time."""
    lab = SlowStarter(takes)
    assert tries_meanwhile(cast("Lab", lab), lab.opened, lab.opened.is_set, within=10.0) is tries


def test_a_fault_waits_for_the_first_request_of_a_slow_starter() -> None:
    lab = SlowStarter(takes=30.0)
    lab.started = False  # it waits for Vault in its start
    with callers_if_started(cast("Lab", lab), cast("Fault", None), every=0.5, callers=1) as any_of:
        assert lab.granted == [40.0, 4.0]
    assert not any_of


def _call(
    story: Story, began: float, took: float, instance: int, *, verb: str = "read"
) -> Operation:
    call = story.call(began, began + took, "unavailable", verb=verb)
    call.instance = instance
    return call
