from __future__ import annotations

import json
from typing import Any

import pytest

from vault_harness.errors import SettingsError
from vault_harness.judge.faults import Order

FAIL = Order(act="fail", targets=("login",), first=2)


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (FAIL, "login answered 503, the first 2"),
        (
            Order(act="delay", targets=("renew", "read"), by=1.5, nth=3),
            "answer to renew or read 1.5 s late, number 3 alone",
        ),
        (Order(act="lose answer", targets=("any",)), "answer to any lost, all"),
        (
            Order(act="fail", targets=("read",), status=500, path="*/celery", every=3),
            "read answered 500 of */celery, one of every 3",
        ),
    ],
)
def test_it_says_what_it_is(order: Order, text: str) -> None:
    """The text fits a line of `status`."""
    assert str(order) == text


def test_another_process_hears_the_same() -> None:
    """An order survives JSON."""
    assert Order.from_json(json.loads(json.dumps(FAIL.to_json()))) == FAIL


@pytest.mark.parametrize(
    "odd",
    [
        {"targets": ("nobody",)},
        {"targets": ()},
        {"targets": ("health", "read")},
        {"first": 1, "nth": 2},
        {"first": 0},
        {"status": 42},
        {"act": "delay", "by": 0.0},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(odd: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as refused:
        Order(**{"act": "fail", "targets": ("login",), **odd})
    assert refused.value.looked_at == "the command line"
    assert refused.value.remedy.startswith("give ")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Order(act="fail", targets=("login",), nth=7, status=500), True),
        (Order(act="lose answer", targets=("login",)), False),
        (Order(act="fail", targets=("login", "read")), False),
        (Order(act="fail", targets=("login",), path="auth/*"), False),
    ],
)
def test_what_is_about_the_same(other: Order, same: bool) -> None:
    """A later one replaces it."""
    assert (other.subject == FAIL.subject) is same


def test_it_is_over_with_its_last_turn() -> None:
    acting = FAIL.begun()
    taken = [acting.takes(kind, "p") for kind in ("login", "read", "login")]
    assert (taken, acting.over) == ([True, False, True], True)
    assert (acting.takes("login", "p"), acting.seen, acting.taken) == (False, 3, 2)


@pytest.mark.parametrize("which", [{"every": 2}, {}], ids=["every", "all"])
def test_what_goes_on_is_never_over(which: dict[str, int]) -> None:
    acting = Order(act="lose answer", targets=("any",), **which).begun()  # type: ignore[arg-type]
    for _ in range(9):
        acting.takes("read", "p")
    assert not acting.over
