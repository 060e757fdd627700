"""`watch` on a real stack: what it says is what is so."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.mark.slow
def test_what_is_broken_is_seen(checkout: Any) -> None:
    """A toxic, then a seal; and the table for people has the same."""
    seen = json.loads(checkout.run("watch", "--once", "--json"))
    assert (seen["sealed"], seen["leader"], seen["toxics"]) == (False, True, [])
    assert seen["tokens"] is not None
    assert seen["events"]
    checkout.run("break.latency")
    assert len(json.loads(checkout.run("watch", "--json"))["toxics"]) >= 1
    checkout.run("heal")
    checkout.run("seal")
    seen = json.loads(checkout.run("watch", "--json"))
    assert (seen["state"], seen["sealed"], seen["leader"]) == ("sealed", True, False)
    assert "sealed" in checkout.run("watch", "--once")
    checkout.run("unseal")
