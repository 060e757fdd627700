"""How soon a client must recover after a fault, and when a fault was over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from vault_harness.errors import HarnessDefect
from vault_harness.judge.running import LONGEST, PROBE, Running
from vault_harness.recorder.fault import Fault, Signature


def fault(length: float | None) -> Fault:
    """Return a fault of this length in seconds, from 10 s on."""
    ended = None if length is None else 10.0 + length
    return Fault("the fault", Signature(), began=10.0, ended=ended)


def bound(length: float, *, cap: float | None = None, ttl: float = 60.0) -> float:
    lab = SimpleNamespace(declared_or_none=lambda _: cap, ttl=ttl)
    return Running.recovery_after(cast("Any", lab), fault(length))


@pytest.mark.parametrize(
    ("length", "seconds"),
    [(0.1, 1.0), (2.0, 3.0), (10.0, 15.0), (40.0, 30.0)],
)
def test_bound_follows_the_length_of_the_fault(length: float, seconds: float) -> None:
    """The bound grows up to half a life."""
    assert bound(length) == seconds + PROBE


def test_declared_pause_is_the_bound() -> None:
    """It is limited by the longest wait of the suite."""
    assert bound(0.1, cap=20.0) == 20.0 + PROBE
    assert bound(40.0, cap=0.5) == 0.5 + PROBE
    assert bound(1.0, cap=3600.0) == LONGEST + PROBE


@pytest.mark.parametrize(("ttl", "seconds"), [(8.0, 4.0), (30.0, 15.0), (180.0, 15.0)])
def test_bound_without_a_fault(ttl: float, seconds: float) -> None:
    """The bound is at most 15 s, or the declared pause."""
    lab = SimpleNamespace(declared=lambda _, default: default, ttl=ttl)
    recovery = cast("Any", vars(Running)["recovery"]).fget
    assert recovery(lab) == seconds + PROBE
    lab.declared = lambda _name, _default: 40.0
    assert recovery(lab) == 40.0 + PROBE


def test_times_of_a_fault() -> None:
    over = fault(5.0)
    assert (over.end, over.length, over.over(2.0)) == (15.0, 5.0, 17.0)


def test_fault_that_lasts_has_no_end() -> None:
    """Asking for it is a defect of the scenario."""
    with pytest.raises(HarnessDefect, match="the fault still lasts, and its end was asked for"):
        fault(None).over(1.0)
