"""Standbys: redirects."""

from __future__ import annotations

import pytest

from vault_harness.scenario import Lab, NotClaimed
from vault_harness.scenario.helpers import instead_of_vault, other_host
from vault_harness.scenario.oracles import no_request_storm


@pytest.mark.scenario("HA-05")
def test_redirect_to_another_host(lab: Lab) -> None:
    """Everything is answered 307 to a host that was never configured, past the token's life."""
    lab.start()
    if lab.can("redirects"):
        raise NotClaimed("it follows redirects to any host, as it says (`redirects`)")
    with other_host(lab) as other, lab.reading(every=0.5):
        with instead_of_vault(lab, "redirect to another host", *other.redirects()) as fault:
            lab.hold(fault, 1.2 * lab.ttl)
        lab.recovers(after=fault)
        lab.note(*other.findings())
    lab.judge(no_request_storm(since=fault.began, until=fault.end))
