"""Calling a subject: answers become outcomes, values become labels, and no message has a secret."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from vault_harness.errors import SubjectDied, SubjectError
from vault_harness.judge.driver import PATIENCE, Driver, ReadVerb, reading
from vault_harness.judge.subjects import OperationFailed, Reading, SubjectHung, Whole
from vault_harness.recorder.history import History
from vault_harness.recorder.secrets import Secrets

SECRET = "canary-v1-0123456789"


class Puppet:
    def __init__(self, answer: object = SECRET) -> None:
        self.answer = answer
        self.asked: list[tuple[object, ...]] = []

    def _answer(self, *asked: object) -> Any:
        self.asked.append(asked)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        answer = self._answer("read", path, key, timeout)
        return answer if isinstance(answer, Reading) else Reading(answer)

    def read_cached(self, path: str, key: str, *, timeout: float) -> Reading:
        answer = self._answer("read_cached", path, key, timeout)
        return answer if isinstance(answer, Reading) else Reading(answer)

    def read_all(self, path: str, *, timeout: float) -> Whole:
        answer = self._answer("read_all", path, timeout)
        return answer if isinstance(answer, Whole) else Whole(answer)

    def fork(self, path: str, key: str, *, seconds: float, every: float, timeout: float) -> Any:
        return self._answer("fork", path, key, seconds, every, timeout)

    def herd(self, clients: int, *, timeout: float) -> None:
        self._answer("herd", clients, timeout)

    def read_by(self, client: int, path: str, key: str, *, timeout: float) -> Reading:
        return Reading(self._answer("read_by", client, path, key, timeout))

    def write(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        self._answer("write", path, data, timeout)

    def update(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        self._answer("update", path, data, timeout)

    def health(self, *, timeout: float) -> bool:
        return bool(self._answer("health", timeout))

    def close(self, *, timeout: float, beyond: float = 0.0) -> None:
        self._answer("close", timeout, beyond)


class Set:
    def __init__(self) -> None:
        self.puppet, self.history, self.secrets = Puppet(), History(), Secrets()
        self.secrets.add("secret", SECRET, "v1")
        subject: Any = self.puppet
        self.driver = Driver(subject, self.history, self.secrets, deadline=2.0)


@pytest.fixture
def stage() -> Set:
    return Set()


def test_good_read(stage: Set) -> None:
    """The harness waits longer than the client's deadline."""
    operation = stage.driver.read("p", "K", caller=7)
    assert (operation.outcome, operation.value, operation.caller) == ("ok", "v1", 7)
    assert stage.puppet.asked == [("read", "p", "K", 2.0 + PATIENCE)]
    assert SECRET not in repr(stage.history)


def test_stale_read(stage: Set) -> None:
    stage.puppet.answer = Reading(SECRET, stale=True)
    operation = stage.driver.read()
    assert (operation.outcome, operation.value) == ("stale", "v1")


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ({"a": "canary-a-1", "b": "canary-b-1"}, "p:v1"),
        ({"a": "canary-a-1", "b": "canary-b-2"}, "p:v1 beside p:v2"),
        ({"a": "canary-a-1"}, "nothing beside p:v1"),
        ({"a": "canary-a-1", "b": "canary-b-3"}, "p:v1 beside unknown"),
        ({"a": "canary-b-1", "b": "canary-b-1"}, "p:v1 beside p:v1 of b"),
        ({}, "nothing"),
    ],
)
def test_whole_read(stage: Set, values: dict[str, str], label: str) -> None:
    """It has one label if its keys are of one version."""
    for version in (1, 2):
        for key in ("a", "b"):
            stage.secrets.add_value("p", key, f"canary-{key}-{version}", f"p:v{version}")
    stage.puppet.answer = {**values, "other": "canary-other"}
    operation = stage.driver.read_all("p", ("a", "b"), caller=3)
    assert (operation.verb, operation.outcome, operation.value) == ("read_all", "ok", label)
    assert stage.puppet.asked == [("read_all", "p", 2.0 + PATIENCE)]


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ({"a": "canary-a-2"}, "p:v2"),
        ({"a": "canary-a-2", "other": "canary-other"}, "p:v2"),
        ({"a": "canary-a-2", "b": "canary-b-1"}, "p:v1 beside p:v2"),
        ({"a": "canary-a-2", "b": ""}, "p:v2 beside unknown"),
    ],
)
def test_key_that_was_taken_out(stage: Set, values: dict[str, str], label: str) -> None:
    """It shows in the label."""
    stage.secrets.add_value("p", "a", "canary-a-2", "p:v2")
    stage.secrets.add_value("p", "b", "canary-b-1", "p:v1")
    stage.puppet.answer = values
    assert stage.driver.read_all("p", ("a",), without=("b",)).value == label


def test_value_of_another_key(stage: Set) -> None:
    """It has a label of its own, even if it is looked up later."""
    stage.secrets.add_value("p", "a", "canary-a-1", "p:v1")
    stage.puppet.answer = "canary-a-1"
    assert [stage.driver.read("p", key).value for key in ("a", "b")] == ["p:v1", "p:v1 of a"]
    stage.puppet.answer = "canary-late"
    operations = [stage.driver.read("p", key) for key in ("a", "b")]
    stage.secrets.add_value("p", "b", "canary-late", "p:v2")
    stage.driver.look_again()
    assert [operation.value for operation in operations] == ["p:v2 of b", "p:v2"]


@pytest.mark.parametrize("verb", ["read", "read_cached", "read_all"])
def test_each_way_of_reading(stage: Set, verb: ReadVerb) -> None:
    """Without a path the scenario's secret is read."""
    stage.puppet.answer = {"K": SECRET, "SECRET_KEY": SECRET} if verb == "read_all" else SECRET
    for where in (("p", "K"), ()):
        operation = stage.driver.ask(verb, *where, caller=3)
        assert (operation.verb, operation.value, operation.caller) == (verb, "v1", 3)
    assert [asked[:2] for asked in stage.puppet.asked] == [(verb, "p"), (verb, "backend/django")]


def test_stale_whole(stage: Set) -> None:
    stage.puppet.answer = Whole({"a": SECRET}, stale=True)
    assert stage.driver.read_all("p", ("a",)).outcome == "stale"


def test_child(stage: Set) -> None:
    """Failures have no secrets."""
    failure = OperationFailed("unavailable", f"no {SECRET}")
    stage.puppet.answer = [Reading(SECRET), failure, Reading("else"), Reading(SECRET, stale=True)]
    child = stage.driver.fork("p", "K", seconds=8.0, every=0.5)
    assert child.values == ("v1", "unknown", "v1")
    assert child.failures == ("unavailable: no <v1> [contains v1]",)
    assert (child.operation.verb, child.operation.value) == ("fork", "unknown beside v1")
    assert stage.puppet.asked == [("fork", "p", "K", 8.0, 0.5, 8.0 + 2 * (2.0 + PATIENCE))]


def test_child_that_broke_down(stage: Set) -> None:
    stage.puppet.answer = OperationFailed(None, "the child died")
    child = stage.driver.fork("p", "K", seconds=8.0, every=0.5)
    assert (child.values, child.failures) == ((), ())
    assert (child.operation.outcome, child.operation.message) == ("error", "the child died")


def test_a_value_that_was_never_written_is_detected(stage: Set) -> None:
    """It may be most of a secret."""
    stage.puppet.answer = SECRET[:-1]
    operation = stage.driver.read()
    assert (operation.outcome, operation.value) == ("ok", "unknown")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (OperationFailed("unavailable", "m"), "unavailable"),
        (OperationFailed("denied", "m"), "denied"),
        (OperationFailed("missing", "m"), "missing"),
        (OperationFailed("deleted", "m"), "deleted"),
        (OperationFailed("stale", "m"), "unavailable"),
        (OperationFailed(None, "m"), "error"),
        (OperationFailed("nonsense", "m"), "error"),
        (SubjectHung("m"), "hung"),
        (SubjectDied("m"), "died"),
        (SubjectError("m"), "error"),
    ],
)
def test_failures(stage: Set, error: Exception, outcome: str) -> None:
    """None is raised."""
    stage.puppet.answer = error
    for operation in (stage.driver.read(), stage.driver.write("p", {"K": "v"})):
        assert (operation.outcome, operation.message, operation.value) == (outcome, "m", None)
        assert operation.ended is not None


def test_secret_in_a_message(stage: Set) -> None:
    """It is replaced and named, even if the message is cut."""
    stage.puppet.answer = OperationFailed(None, f"{'x' * 400} {SECRET}")
    message = stage.driver.read().message
    assert SECRET not in message
    assert message.endswith("[contains v1]")
    assert len(message) < 350


def test_breach_in_the_middle(stage: Set) -> None:
    """A secret in it is no leak."""
    seen = f'{{"id": 7, "ok": true, "data": "{SECRET}"}}'
    stage.puppet.answer = SubjectError("no value", looked_at=seen, remedy="answer with one")
    message = stage.driver.read().message
    assert message.startswith('no value (what to do: answer with one; looked at: {"id": 7')
    assert (SECRET in message, "contains" in message) == (False, False)


def test_half_of_a_character_in_a_message(stage: Set) -> None:
    """It is written as an escape."""
    stage.puppet.answer = OperationFailed(None, f"cut \ud83d, {SECRET}")
    message = stage.driver.read().message
    assert message == "cut \\ud83d, <v1> [contains v1]"


def test_health(stage: Set) -> None:
    stage.puppet.answer = True
    assert stage.driver.healthy()
    stage.puppet.answer = False
    assert not stage.driver.healthy()
    stage.puppet.answer = SubjectHung("m")
    assert not stage.driver.healthy()
    notes = [(o.outcome, o.message) for o in stage.history.operations]
    assert notes == [("ok", "well"), ("ok", "not well"), ("hung", "m")]


def test_close(stage: Set) -> None:
    assert stage.driver.close(timeout=3.0, beyond=2.0).outcome == "ok"
    stage.puppet.answer = OperationFailed(None, "cannot")
    assert stage.driver.close().outcome == "error"
    assert stage.puppet.asked[0] == ("close", 3.0, 2.0)


# Callers


def test_callers_read_while_the_block_runs(stage: Set) -> None:
    with reading(stage.driver, every=0.01, callers=3):
        assert stage.history.wait_for(
            lambda: {o.caller for o in stage.history.operations} == {1, 2, 3}, 10
        )
    count = len(stage.history.operations)
    assert all(o.ended is not None for o in stage.history.operations)
    assert not stage.history.wait_for(lambda: len(stage.history.operations) > count, 0.1)


def test_callers_of_a_whole_secret(stage: Set) -> None:
    stage.puppet.answer = {"SECRET_KEY": SECRET}
    with reading(stage.driver, every=0.01, verb="read_all"):
        assert stage.history.wait_for(lambda: len(stage.history.operations) > 1, 10)
    assert {(o.verb, o.value) for o in stage.history.operations} == {("read_all", "v1")}


def test_caller_of_a_slow_subject_asks_one_at_a_time(stage: Set) -> None:
    """It does not catch up afterwards."""
    go_on = threading.Event()
    stage.puppet.read = lambda *_, **__: Reading(SECRET) if go_on.wait(10) else Reading("")  # type: ignore[method-assign] # slow
    with reading(stage.driver, every=0.2):
        assert stage.history.wait_for(lambda: len(stage.history.operations) == 1, 10)
        assert not stage.history.wait_for(lambda: len(stage.history.operations) > 1, 0.7)
        go_on.set()
        assert stage.history.wait_for(lambda: len(stage.history.operations) >= 3, 10)
    first, second, third = (o.began for o in stage.history.operations[:3])
    assert third - second >= 0.15
    assert second > first


def test_callers_of_a_dead_subject_stop(stage: Set) -> None:
    stage.puppet.answer = SubjectDied("gone")
    with reading(stage.driver, every=0.01):
        assert not stage.history.wait_for(lambda: len(stage.history.operations) > 1, 0.2)


def test_failure_of_the_harness_is_passed_on(stage: Set) -> None:
    """It is raised."""
    stage.puppet.answer = ZeroDivisionError("in the harness")
    with pytest.raises(ZeroDivisionError), reading(stage.driver, every=0.01):
        assert stage.history.wait_for(lambda: bool(stage.history.operations), 10)


def test_herd(stage: Set) -> None:
    """The first is the client itself; the others are called by number."""
    first, second, third = stage.driver.herd(3, timeout=9.0)
    assert first is stage.driver
    first.read("p", "K")
    assert third.read("p", "K", caller=5).value == "v1"
    second.read("p", "K")
    patience = 2.0 + PATIENCE
    assert stage.puppet.asked == [
        ("herd", 3, 9.0),
        ("read", "p", "K", patience),
        ("read_by", 2, "p", "K", patience),
        ("read_by", 1, "p", "K", patience),
    ]


def test_herd_that_stops_at_once(stage: Set) -> None:
    """One event stops the callers of several blocks."""
    stop = threading.Event()
    with reading(stage.driver, every=0.01, stop=stop), reading(stage.driver, every=0.01, stop=stop):
        assert stage.history.wait_for(
            lambda: {o.caller for o in stage.history.calls("read")} == {1, 2}, 10.0
        )
        stop.set()
        # Neither block has ended, but all callers have stopped.
        assert stage.history.wait_for(
            lambda: not any(t.name in ("caller-1", "caller-2") for t in threading.enumerate()), 10.0
        )
