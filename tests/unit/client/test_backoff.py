from __future__ import annotations

import pytest

from resilient_vault_client._deadline import Backoff


@pytest.mark.parametrize("ttl", [8.0, 20.0, 3600.0])
def test_a_renewal_that_is_due_last_is_not_put_off_past_the_end(ttl: float) -> None:
    """A pause that begins just before 0.75 of a life ends in time for an answer."""
    backoff = Backoff(3600.0)
    backoff.learn(ttl)
    pause = None
    for _ in range(50):
        pause = backoff.next(pause)
        assert 0.75 * ttl + pause <= 0.96 * ttl
