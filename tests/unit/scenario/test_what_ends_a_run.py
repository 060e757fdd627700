"""Signals that end a run: as Ctrl-C does, each with its code; what is ignored ends none."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.plugin import _suite
from vault_harness.report.outcome import Outcome

NUMBERS = (signal.SIGTERM, signal.SIGHUP)


def config_of_a_run() -> Any:
    """What a run has, as far as its end is concerned."""
    return SimpleNamespace(stash=pytest.Stash(), add_cleanup=lambda _: None)


@pytest.fixture(autouse=True)
def _by_default() -> Iterator[None]:
    """Nobody hears them, nor ignores them."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, Outcome.TERMINATED), (signal.SIGHUP, Outcome.HUNG_UP)],
)
def test_it_ends_as_by_ctrl_c(number: signal.Signals, code: Outcome) -> None:
    """So that what was begun is undone, and the report is made; the code is the signal's."""
    config = config_of_a_run()
    _suite._end_by_signals(config)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert _suite._ended(config) is code


def test_another_one_at_once_ends_no_tidying_up() -> None:
    """A session that is closed sends SIGTERM and SIGHUP: what the first began is not cut short."""
    config = config_of_a_run()
    _suite._end_by_signals(config)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    assert _suite._ended(config) is Outcome.TERMINATED


def test_what_is_ignored_stays_ignored() -> None:
    """Under `nohup` a terminal may go away."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _suite._end_by_signals(config_of_a_run())
    os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
