from __future__ import annotations

import threading
import time

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.recorder.fault import Signature
from vault_harness.recorder.history import History, between


def test_one_clock() -> None:
    history = History()
    marks = [
        history.mark("first").at,
        history.begin_operation("read").began,
        history.begin_exchange(1, "GET", "p", "read").began,
        history.begin_fault("f", Signature()).began,
        history.note_rotation("p", "v1").at,
        history.now(),
    ]
    assert marks == sorted(marks)
    assert 0.0 <= marks[0] < marks[-1] < 10.0


def test_wall_clock() -> None:
    history = History()
    assert history.wall(time.time()) == pytest.approx(history.now(), abs=0.2)


def test_ends_are_noted() -> None:
    history = History()
    operation = history.begin_operation("read", "p", caller=3)
    exchange = history.begin_exchange(1, "GET", "p", "read")
    fault = history.begin_fault("f", Signature(), {"rate": 1}, optional=True)
    rotation = history.note_rotation("p", "v1")
    ends = [operation.ended, exchange.ended, fault.ended, rotation.done]
    assert ends == [None] * 4
    history.end_operation(operation, "stale", value="v1", message="old")
    history.end_exchange(exchange)
    history.end_fault(fault)
    history.end_rotation(rotation)
    ends = [operation.ended, exchange.ended, fault.ended, rotation.done]
    assert None not in ends
    assert (operation.outcome, operation.value, operation.message) == ("stale", "v1", "old")
    assert (operation.caller, fault.optional, fault.detail) == (3, True, {"rate": 1})


def test_concurrent_writers() -> None:
    """Every number is unique."""
    history = History()

    def write(caller: int) -> None:
        for _ in range(100):
            operation = history.begin_operation("read", caller=caller)
            exchange = history.begin_exchange(history.note_connection(), "GET", "p", "read")
            history.end_exchange(exchange)
            history.end_operation(operation, "ok")
            history.mark("m")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(o.number for o in history.operations) == list(range(1, 2001))
    assert sorted(e.number for e in history.exchanges) == list(range(1, 2001))
    assert sorted(e.connection for e in history.exchanges) == list(range(1, 2001))
    assert (len(history.connections), len(history.marks)) == (2000, 2000)
    assert all(o.ended is not None for o in history.operations)


# Waiting


def test_waiting_for_what_is_so() -> None:
    assert History().wait_for(lambda: True, 0.0)
    assert History().wait_for(lambda: True, -5.0)
    assert not History().wait_for(lambda: False, -5.0)


def test_a_wait_ends_at_its_deadline() -> None:
    history = History()
    began = time.monotonic()
    assert not history.wait_for(lambda: False, 0.2)
    assert 0.2 <= time.monotonic() - began < 5.0


def test_waiting_for_a_change() -> None:
    history = History()
    operation = history.begin_operation("read")
    timer = threading.Timer(0.1, history.end_operation, (operation, "ok"))
    timer.start()
    assert history.wait_for(lambda: operation.good, 30.0)
    assert history.now() < 25.0
    timer.join()


def test_a_condition_is_checked_again_without_a_change() -> None:
    history = History()
    asked: list[float] = []

    def third_time() -> bool:
        asked.append(history.now())
        return len(asked) == 3

    assert history.wait_for(third_time, 30.0)


def test_letting_time_pass() -> None:
    """What is noted wakes nobody; the wait is booked under its name."""
    history = History()
    history.mark("something")
    history.let_pass(0.1, what="time to pass")
    assert 0.1 <= history.now() < 5.0
    assert history.waited["time to pass"] >= 0.1


def test_letting_time_pass_until_it_makes_no_sense() -> None:
    history = History()
    history.let_pass(60.0, unless=lambda: history.now() > 0.1, what="time to pass")
    assert 0.1 < history.now() < 30.0


def test_condition_may_need_other_writers() -> None:
    history = History()

    def another_writes() -> bool:
        thread = threading.Thread(target=history.mark, args=("from elsewhere",))
        thread.start()
        thread.join(10)
        return not thread.is_alive()

    assert history.wait_for(another_writes, 0.0)


def test_condition_that_raises() -> None:
    """It is raised, and the history stays usable."""
    history = History()

    def fails() -> bool:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        history.wait_for(fails, 1.0)
    assert history.wait_for(lambda: bool(history.mark("still works").text), 0.0)


# Looking things up


def test_finding_exchanges(story: Story) -> None:
    story.several("read", 1.0, 2.0, 3.0)
    story.several("login", 2.0, status=400)
    find = story.history.find
    assert [e.began for e in find("read", since=2.0, until=3.0)] == [2.0, 3.0]
    assert [e.kind for e in find(since=2.0, until=2.0)] == ["read", "login"]
    assert [e.kind for e in find("read", "login", where=lambda e: not e.good)] == ["login"]
    assert len(find()) == 4


def test_finding_calls(story: Story) -> None:
    story.calls(1.0, 2.0)
    story.call(3.0, verb="health")
    calls = story.history.calls
    assert [o.began for o in calls("read", since=1.5)] == [2.0]
    assert [o.verb for o in calls()] == ["read", "read", "health"]
    assert calls("write") == []


def test_accepted_logins(story: Story) -> None:
    """Only these made a token."""
    assert story.history.last_token() is None
    story.sent("login", 1.0, token="token-1")
    story.sent("login", 2.0, 400)
    story.sent("login", 3.0, None)
    assert [e.token for e in story.history.logins()] == ["token-1"]
    last = story.history.last_token()
    assert last is not None
    assert last.token == "token-1"


def test_good_and_failed(story: Story) -> None:
    """A stale or unfinished call is neither."""
    words = ["ok", "stale", "unavailable", "hung", None]
    calls = [story.call(1.0, outcome=word) for word in words]  # type: ignore[arg-type] # outcomes
    assert [call.good for call in calls] == [True, False, False, False, False]
    assert [call.failed for call in calls] == [False, False, True, True, False]


def test_between() -> None:
    """Both bounds are included."""
    assert between([1.0, 2.0, 3.0, 4.0], 2.0, 3.0) == 2
