from __future__ import annotations

import time

from tests.engine.accidents.ledger import Ledger
from tests.engine.accidents.load import HURRIED, HURRY, PACE, Load


def test_the_load_hurries_after_start_and_accidents() -> None:
    load = Load(Ledger(), {})
    assert load.pace() == HURRIED < PACE

    load.started = time.monotonic() - 100
    assert load.pace() == PACE
    load.hurry()
    assert load.pace() == HURRIED

    load.started -= HURRY
    assert load.pace() == PACE
