"""A renewal that fails, and the next one too: what a scenario does beside a fault of its own."""

from __future__ import annotations

from vault_harness.scenario.lab import Lab

GROWS, LEFT = 3, 1.5
"""How many times the pause after one failed renewal that after a second may be, and how many
seconds are left then before the token's end: only where there is room for both does a second fail.
"""


def fails_again(lab: Lab, ends: float, *, failed: float, status: int) -> None:
    """Have the next renewal fail too, if it comes so soon that there is time for another one.

    Args:
        lab: The scenario.
        ends: When the token does.
        failed: When the renewal that has failed was sent.
        status: What the next one is answered; it is told to come again in a second.
    """
    soon = (ends - LEFT + GROWS * failed) / (1 + GROWS)
    headers = {"Content-Type": "application/json", "Retry-After": "1"}
    with lab.http.fail("renew", first=1, status=status, headers=headers) as fault:
        fault.optional = True  # who comes later has been asked enough
        lab.history.wait_for(lambda: lab.touched(fault), soon - lab.history.now())
