"""A sick server: paused, and rate-limited."""

from __future__ import annotations

import pytest

from harness.scenario import Lab
from harness.scenario.oracles import (
    logins_at_most,
    no_request_storm,
    obeys_retry_after,
    recovers_within,
)


@pytest.mark.scenario("SRV-04")
def test_paused_server(lab: Lab) -> None:
    """The server's process stands still: connections are accepted, nothing is answered."""
    lab.start()
    with lab.reading(every=0.5, callers=3):
        lab.watch(0.5)
        with lab.process.server_paused(lab.stack.node) as fault:
            lab.watch(3 * lab.deadline)
        lab.until_good_read(since=fault.ended or 0.0, within=lab.recovery)
    lab.judge(
        recovers_within(lab.recovery, since=fault.ended or 0.0),
        no_request_storm(since=fault.began, until=fault.ended or 0.0),
    )


@pytest.mark.scenario("SRV-05")
def test_retry_after_is_obeyed(lab: Lab) -> None:
    """A quota answers 429 with Retry-After to a caller that asks again and again."""
    client = lab.start()
    with lab.vault.rate_limited("ecommerce/", rate=2, interval=3.0) as fault:
        while lab.history.now() < fault.began + 5.0:
            call = client.read()
            if call.failed:
                # The caller obeys too: what is judged is the client's patience within a call.
                lab.watch(1.0)
    lab.judge(
        obeys_retry_after(since=fault.began, until=fault.ended or 0.0),
        logins_at_most(0, since=fault.began),
        no_request_storm(since=fault.began, until=fault.ended or 0.0),
    )
