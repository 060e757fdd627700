"""A Vault that was put back to an earlier state, under clients that know the later one."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from vault_harness.scenario import Lab
from vault_harness.scenario.driver import reading
from vault_harness.scenario.helpers import every_way
from vault_harness.scenario.oracles import logins_at_most


@pytest.mark.scenario("RST-01")
def test_older_snapshot_is_restored(lab: Lab) -> None:
    """The token was made after the snapshot, and so was the version that was read last."""
    snapshot = lab.vault.snapshot()
    client = lab.start()
    with ExitStack() as callers:
        for way in every_way(lab):
            callers.enter_context(reading(client, every=0.25, verb=way))
        lab.put("v2")
        lab.must_have(versions=2)
        lab.until(lambda: _read(lab, "v2"), within=lab.refresh + lab.deadline)
        with (
            lab.changing("v1", path=lab.entry.path, key=lab.entry.key),
            lab.vault.restored(snapshot) as fault,
        ):
            pass  # it is in force at once, and for good
        lab.recovers(after=fault)
        lab.watch(lab.refresh + 1.0)
        end = lab.history.now()
    lab.judge(
        logins_at_most(
            1, since=fault.began, until=end, accepted=True, due=0.3, in_vain=lab.deadline
        )
    )


def _read(lab: Lab, label: str) -> bool:
    """Whether a caller has been given the value of that label, and one the whole secret with it."""
    wanted = ("read", "read_all") if lab.can("read_all") else ("read",)
    return all(any(o.value == label for o in lab.history.calls(way)) for way in wanted)
