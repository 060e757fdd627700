from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.judge.plugin import suite
from vault_harness.judge.report.outcome import Outcome

NUMBERS = (signal.SIGTERM, signal.SIGHUP)


def config_of_a_run() -> Any:
    """Return the part of a configuration that the end of a run needs."""
    return SimpleNamespace(stash=pytest.Stash(), add_cleanup=lambda _: None)


@pytest.fixture(autouse=True)
def _by_default() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_DFL) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, Outcome.TERMINATED), (signal.SIGHUP, Outcome.HUNG_UP)],
)
def test_it_ends_as_by_ctrl_c(number: signal.Signals, code: Outcome) -> None:
    """The code is that of the signal."""
    config = config_of_a_run()
    suite._end_by_signals(config)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert suite._ended(config) is code


def test_another_one_at_once_ends_no_tidying_up() -> None:
    config = config_of_a_run()
    suite._end_by_signals(config)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)
    assert suite._ended(config) is Outcome.TERMINATED


def test_what_is_ignored_stays_ignored() -> None:
    """`nohup` ignores SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    suite._end_by_signals(config_of_a_run())
    os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
