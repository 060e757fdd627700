"""How late the machine was, and what that grants."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.scenario._heartbeat import (
    LOOK,
    Heartbeat,
    _in_seconds,
    seconds_waited_for_cores,
)
from vault_harness.scenario.history import GRAIN, HOPS, History
from vault_harness.scenario.observations import Crowding, Stall


def test_idle_machine_grants_its_grain(story: Story) -> None:
    """Nothing was late."""
    assert story.history.lateness() == 0.0
    assert story.history.slack() == GRAIN


@pytest.mark.parametrize(
    ("since", "until", "longest"),
    [
        (0.0, None, 0.4),
        (0.0, 9.9, 0.0),
        (10.2, 10.3, 0.3),  # within the first
        (10.31, 11.9, 0.0),
        (11.0, 20.0, 0.4),
    ],
)
def test_lateness_of_a_while(
    story: Story, since: float, until: float | None, longest: float
) -> None:
    """The longest stall that touches it."""
    story.history.stalls += [Stall(10.0, 0.3), Stall(12.0, 0.4)]
    assert story.history.lateness(since, until) == longest


def test_slack_of_one_stall(story: Story) -> None:
    """What it took."""
    story.history.stalls.append(Stall(10.0, 0.3))
    assert story.history.slack(9.0, 11.0) == pytest.approx(GRAIN + 0.3)


def test_slack_of_many_stalls(story: Story) -> None:
    """As often as one request can be held up, and not for as long as all of them together."""
    story.history.stalls += [Stall(float(at), 0.1) for at in range(100)]
    assert story.history.slack(0.0, 100.0) == pytest.approx(GRAIN + HOPS * 0.1)


def test_heartbeat_notes_that_it_was_held_up() -> None:
    """A thread that does not let go of the interpreter is as bad as a busy machine."""
    history = History()

    def hog() -> None:
        until = time.monotonic() + 30.0
        while time.monotonic() < until and not history.stalls:
            sorted(range(3_000_000), key=lambda n: -n)

    with Heartbeat(history):
        thread = threading.Thread(target=hog)
        thread.start()
        thread.join()
    assert history.stalls
    assert history.lateness() > 0.0


@pytest.mark.parametrize(
    ("since", "until", "seconds"),
    [(0.0, 20.0, 3.0), (10.0, 12.0, 1.5), (11.0, 13.0, 1.5), (13.0, 15.0, 0.75), (15.0, 16.0, 0.0)],
)
def test_part_of_a_crowded_while(since: float, until: float, seconds: float) -> None:
    """Threads waited for three of its four seconds, and nobody knows which."""
    assert Crowding(10.0, 14.0, 3.0).within(since, until) == pytest.approx(seconds)


def test_heartbeat_notes_how_crowded_it_was() -> None:
    """The kernel counts for how long some thread waited; the history has it per look."""
    history = History()
    told = itertools.chain([7.0, 7.08], itertools.repeat(7.08))
    until = time.monotonic() + 30.0
    with Heartbeat(history, waited=lambda: next(told)):
        while time.monotonic() < until and not history.crowding:
            time.sleep(0.01)
    (crowded,) = history.crowding
    assert crowded.waited == pytest.approx(0.08)
    assert crowded.until - crowded.at >= LOOK


def test_heartbeat_where_the_kernel_does_not_tell() -> None:
    """Stalls are all that is known there."""
    history = History()
    with Heartbeat(history, waited=lambda: None) as heartbeat:
        heartbeat._thread.join(2 * LOOK)
    assert history.crowding == []


def test_kernel_of_this_machine_tells_seconds() -> None:
    """If it tells them at all they only grow."""
    before = seconds_waited_for_cores()
    if before is None:
        pytest.skip("this kernel does not tell for how long threads wait for a core")
    after = seconds_waited_for_cores()
    assert after is not None
    assert 0.0 <= before <= after


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("some avg10=0.00 avg60=0.12 avg300=3.45 total=4061000\nfull avg10=0.00 total=7\n", 4.061),
        ("full avg10=0.00 avg60=0.00 avg300=0.00 total=4061\n", None),
        ("some avg10=0.00 total=many\n", None),
        ("", None),
    ],
    ids=["whole", "no such line", "no number", "nothing"],
)
def test_pressure_file(text: str, seconds: float | None) -> None:
    """Microseconds of the line that counts any waiting thread."""
    assert _in_seconds(text) == seconds


# Writers that come late


def test_frozen_history_takes_nothing(story: Story) -> None:
    """A caller that is still at it changes nothing that is judged."""
    history = story.history
    running = story.call(1.0, outcome=None)
    open_request = story.sent("read", 1.0, None, ended=None)
    history.freeze()
    history.end_operation(running, "ok", value="v9")
    open_request.status = 200
    history.end_exchange(open_request)
    history.end_operation(history.begin_operation("read"), "ok")
    history.begin_exchange(1, "GET", "p", "read")
    history.mark("late")
    history.note_connection()
    assert [o.outcome for o in history.operations] == [None]
    assert [e.status for e in history.exchanges] == [None]
    assert (history.marks, history.connections) == ([], [])


def test_clocks_agree() -> None:
    """The two clocks of a history are sampled together."""
    assert abs(History().clock_gap()) < 1.0
