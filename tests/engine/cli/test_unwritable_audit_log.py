from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.slow
def test_the_cause_is_named(checkout: Any) -> None:
    """No task waits for a leader or asks for other nodes."""
    log = checkout.data_dir / "vault" / "audit.log"
    checkout.run("restart", "--leave-sealed")
    log.unlink()
    log.mkdir()
    told = checkout.run("unseal", code=None)
    assert "no node can lead" in told
    assert "audit.log" in told
    assert "audit.log" in checkout.run("doctor", code=1)
    assert "audit.log" in checkout.run("seed", code=None)
    log.rmdir()
    checkout.run("up")
