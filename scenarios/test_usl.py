"""Auto-unseal: another service holds Vault's key, and may be away."""

from __future__ import annotations

import pytest

from vault_harness.judge.helpers.starts import lockout
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import no_connection_storm, no_request_storm, none_of, same_token

GIVES_UP = 30.0
"""Seconds for a server without its key holder to end; it takes about ten."""


@pytest.mark.scenario("USL-01")
def test_restart_while_the_key_holder_is_away(lab: Lab) -> None:
    """A killed server that cannot unseal at first costs no login, and reads work again."""
    lab.start()

    def serves() -> bool:
        return lab.stack.operator.health(timeout=1.0) == 200

    with lab.reading(every=0.5):
        lab.watch(0.5)
        with lab.process.server_killed_under_supervision(lab.stack.node, serves=serves) as killed:
            fault, supervisor = killed
            with lab.holder.away():
                lab.history.wait_for(lambda: supervisor.ends > 0, GIVES_UP)
                lab.hold(fault, 1.0)
        lab.recovers(after=fault)
        locked = lockout(lab)
    lab.require(
        "a start without the key",
        lambda _: f"{supervisor.ends} ended for want of it" if supervisor.ends else "",
    )
    lab.judge(
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=fault.end),
        # A dead server answers nothing; only connections count.
        no_connection_storm(since=fault.began, until=fault.end),
        none_of("no role is locked", locked),
    )
