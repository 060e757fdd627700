from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from vault_harness.judge.cases.case import Case, NobodyThere
from vault_harness.judge.run import Result
from vault_harness.waiting import wait_until

DONE = cast("Result", object())
SOON = 20.0


class Scenario:
    """A scenario that asks these things once `go` is set."""

    def __init__(self, *asks: dict[str, Any]) -> None:
        self.asks = asks
        self.answers: list[Any] = []
        self.go = threading.Event()
        self.case: Case | None = None

    def __call__(self) -> Result:
        assert self.go.wait(SOON)
        assert self.case is not None
        self.case.configure({"VAULT_ADDR": "http://vault.test"})
        for ask in self.asks:
            try:
                self.answers.append(self.case.ask(ask))
            except NobodyThere:
                self.answers.append("nobody")
        return DONE


@pytest.fixture
def begin() -> Callable[..., tuple[Case, Scenario]]:
    def make(*asks: dict[str, Any], idle: float = SOON) -> tuple[Case, Scenario]:
        scenario = Scenario(*asks)
        case = Case("one", "TOK-11", scenario, idle=idle)
        scenario.case = case
        scenario.go.set()
        return case, scenario

    return make


Begin = Callable[..., tuple[Case, Scenario]]


def test_an_operation_is_fetched_and_answered(begin: Begin) -> None:
    """The answer goes back with the scenario's own id."""
    case, scenario = begin({"id": 7, "op": "read"})
    assert case.await_start(SOON)
    assert case.environ == {"VAULT_ADDR": "http://vault.test"}
    operation = case.next(SOON)
    assert operation is not None
    assert operation["op"] == "read"
    assert case.answer({"id": operation["id"], "ok": True, "value": "v"})
    assert case.await_result(SOON) is DONE
    assert scenario.answers == [{"id": 7, "ok": True, "value": "v"}]
    assert case.next(SOON) is None


def test_a_second_environment_is_an_operation(begin: Begin) -> None:
    """A restarted client gets its next environment as an operation."""
    case, _ = begin({"op": "hello"})
    assert case.await_start(SOON)
    hello = case.next(SOON)
    second = threading.Thread(target=case.configure, args=({"VAULT_ADDR": "http://other.test"},))
    second.start()
    operation = case.next(SOON)
    assert hello is not None
    assert operation is not None
    assert operation["op"] == "configure"
    assert operation["environ"] == {"VAULT_ADDR": "http://other.test"}
    assert case.answer({"id": operation["id"], "ok": True})
    second.join(SOON)
    assert not second.is_alive()
    assert case.end(SOON)


def test_an_answer_counts_once(begin: Begin) -> None:
    case, _ = begin({"op": "read"}, {"op": "read"})
    operation = case.next(SOON)
    assert operation is not None
    assert not case.answer({"id": operation["id"] + 100, "ok": True})
    assert not case.answer({"ok": True})
    assert case.answer({"id": operation["id"], "ok": True})
    assert case.next(SOON) is not None
    assert not case.answer({"id": operation["id"], "ok": True})
    assert case.end(SOON)


def test_an_ended_case_answers_nothing_more(begin: Begin) -> None:
    case, scenario = begin({"op": "read"}, {"op": "read"})
    assert case.next(SOON) is not None
    assert case.end(SOON)
    assert scenario.answers == ["nobody", "nobody"]
    assert case.over


def test_a_runner_that_has_gone_is_not_waited_for(begin: Begin) -> None:
    case, scenario = begin({"op": "read"}, idle=0.2)
    wait_until(lambda: case.over, "the scenario's end", timeout=SOON)
    assert scenario.answers == ["nobody"]


def test_an_operation_that_was_given_up_is_not_handed_out(begin: Begin) -> None:
    case, scenario = begin({"op": "read"}, idle=0.2)
    wait_until(lambda: case.over, "the scenario's end", timeout=SOON)
    assert scenario.answers == ["nobody"]
    assert case.next(SOON) is None


def test_a_case_that_is_ended_is_not_asked_in_a_loop() -> None:
    """While its servers stop, its runner is not told to ask again."""
    released = threading.Event()
    said: list[bool] = []

    def runs() -> Result:
        assert released.wait(SOON)
        return DONE

    def noted() -> bool:
        said.append(case.over)
        return False

    case = Case("one", "TOK-11", runs)
    case.give_up()
    runner = threading.Thread(target=case.next, args=(SOON, noted))
    runner.start()
    runner.join(0.2)
    released.set()
    runner.join(SOON)
    assert said == [True]


def test_no_verdict_before_its_time(begin: Begin) -> None:
    case, _ = begin({"op": "read"})
    assert case.await_result(0.05) is None
    assert case.end(SOON)
    assert case.await_result(SOON) is DONE
