"""What may be late as a client begins: what it loads once, and who waits for that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.faults import Fault
from vault_harness.scenario import Lab, Operation
from vault_harness.scenario._running import Running
from vault_harness.scenario.helpers import (
    await_start,
    callers_if_started,
    start_meanwhile,
    started_again,
    tries_meanwhile,
    works_after_all,
)
from vault_harness.scenario.herd import open_reading
from vault_harness.scenario.observations import Outcome
from vault_harness.scenario.oracles import LOADS, every_call_ends_within, slow_at_first

DEADLINE = 2.0


@pytest.mark.parametrize(
    ("ended", "let_off"),
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
    story: Story, ended: tuple[float, ...], let_off: list[int]
) -> None:
    """Three at the start, with 2 s each."""
    calls = [story.call(0.0, at) for at in ended]
    ready = min(calls, key=lambda call: call.ended or 0.0)
    slow = slow_at_first(calls, DEADLINE, ready=ready)
    assert [calls.index(one) for one in slow] == let_off


def test_call_that_begins_when_all_is_loaded(story: Story) -> None:
    """It is late for another reason."""
    calls = [story.call(0.0, 2.5), story.call(2.6, 5.0)]
    assert slow_at_first(calls, DEADLINE, ready=calls[0]) == calls[:1]


@pytest.mark.parametrize("verb", ["read", "read_cached", "lease"])
def test_first_call_of_an_instance_may_load(story: Story, verb: str) -> None:
    """Of each that was started, in an outage too; not longer than that, and not the next one."""
    for instance in (1, 2):
        _call(story, 10.0 * instance, DEADLINE + LOADS, instance, verb=verb)
    assert story.finds(every_call_ends_within(DEADLINE)) == []
    _call(story, 30.0, DEADLINE + LOADS + 0.2, 3, verb=verb)
    assert story.finds(every_call_ends_within(DEADLINE)) == [
        f"{verb} of backend/django ended only after 4.20 s"
    ]


def test_next_call_of_an_instance_has_its_deadline(story: Story) -> None:
    """Whether the first one was late, good or let off before."""
    _call(story, 10.0, 3.0, 1)
    _call(story, 13.1, 3.0, 1)
    _call(story, 20.0, 0.1, 2)
    _call(story, 20.2, 3.0, 2)
    _call(story, 30.0, 3.0, 3, verb="warm-up")
    _call(story, 33.1, 3.0, 3)
    assert len(story.finds(every_call_ends_within(DEADLINE))) == 3


def test_calls_beside_the_first_of_an_outage(story: Story) -> None:
    """All wait for what is loaded, and then for Vault; who waits in turn has not that reason."""
    for ended in (3.6, 3.62, 3.7):
        _call(story, 10.0, ended, 1)
    assert story.finds(every_call_ends_within(DEADLINE)) == []
    for ended in (2.0, 4.0, 6.0):
        _call(story, 20.0, ended, 2)
    assert story.finds(every_call_ends_within(DEADLINE)) == [
        "read of backend/django ended only after 6.00 s"
    ]


def test_call_that_nobody_waited_for_is_no_warm_up(story: Story) -> None:
    """What hangs has not loaded."""
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
    """As the only one may: its first good read may be late, and those before it fail."""
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
    lab.let_off_at_first = lambda calls: Running.let_off_at_first(cast("Lab", lab), calls)
    found = open_reading(cast("Lab", lab))
    assert (found is not None) == (reads[-1][1] == "ok")
    assert [call.verb for call in made] == verbs


@pytest.mark.parametrize(("runs", "granted"), [(True, 0.0), (False, 7.0 + LOADS)])
def test_who_is_started_again_may_load_again(*, runs: bool, granted: float) -> None:
    """Its start and what its first call loads come to the bound on recovery; nothing if it runs."""
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
    """What failed between the two, or beside, was asked of who was ready; the second warms up."""
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
    lab.let_off_at_first = lambda calls: Running.let_off_at_first(lab, calls)
    Running.start(lab, within=10.0)
    assert {call.verb for call in of_the_first} == {"read"}
    assert [call.verb for call in made] == ["warm-up", "read", "read", "read"]


class SlowStarter:
    """As much of a lab as a start in its midst looks at; a start may take 80 s, reads good 10 s.

    Args:
        takes: Seconds until it has said hello, and tried what it is waited for.
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
    """Who was slow before the scenarios is no faster under a fault."""
    lab = SlowStarter()
    lab.environment = SimpleNamespace(start=start)
    assert start_meanwhile(cast("Lab", lab)).wait(timeout=10.0)
    assert lab.granted == [{"timeout": granted}]


def test_who_starts_slowly_is_waited_for() -> None:
    """For as long as its start is granted, with its first reads."""
    lab = SlowStarter(takes=80.0)
    assert await_start(cast("Lab", lab), lab.opened)
    assert works_after_all(cast("Lab", lab), cast("Fault", None), lab.opened) == 5.0
    assert lab.granted == [90.0, 90.0]


@pytest.mark.parametrize(("takes", "tries"), [(1.0, True), (80.0, True), (99.0, False)])
def test_who_starts_slowly_tries_late(*, takes: float, tries: bool) -> None:
    """Once it has started it has as long for that as anybody."""
    lab = SlowStarter(takes)
    assert tries_meanwhile(cast("Lab", lab), lab.opened, lab.opened.is_set, within=10.0) is tries


def test_a_fault_waits_for_the_first_request_of_a_slow_starter() -> None:
    """It has not asked for anything by then, and would not be exercised."""
    lab = SlowStarter(takes=30.0)
    lab.started = False  # it waits for Vault with its start
    with callers_if_started(cast("Lab", lab), cast("Fault", None), every=0.5, callers=1) as any_of:
        assert lab.granted == [40.0, 4.0]
    assert not any_of


def _call(
    story: Story, began: float, took: float, instance: int, *, verb: str = "read"
) -> Operation:
    """A call in vain of one instance."""
    call = story.call(began, began + took, "unavailable", verb=verb)
    call.instance = instance
    return call
