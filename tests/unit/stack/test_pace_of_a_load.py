"""Writers and readers of a cluster are quick around an accident, and leave the machine be else."""

from __future__ import annotations

import time

from tests.engine.accidents.ledger import Ledger
from tests.engine.accidents.load import HURRIED, HURRY, PACE, Load


def test_hurried_for_a_while() -> None:
    """From the beginning of each accident, and of the load; again before it is over."""
    load = Load(Ledger(), {})
    assert load.pace() == HURRIED < PACE

    load.started = time.monotonic() - 100
    assert load.pace() == PACE
    load.hurry()
    assert load.pace() == HURRIED

    load.started -= HURRY
    assert load.pace() == PACE
