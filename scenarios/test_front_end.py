"""What stands in front of Vault: load balancers with pages of their own, standbys, redirects."""

from __future__ import annotations

import pytest

from vault_harness.scenario import Finding, Lab, Stub
from vault_harness.scenario.helpers import instead_of_vault, other_host
from vault_harness.scenario.oracles import (
    failures_are,
    no_request_storm,
    recovers_within,
    requests_a_call_at_most,
    same_token,
)

PAGE = b"""<!DOCTYPE html>
<html><head><title>%d</title></head><body><h1>The service is not there</h1></body></html>
"""

LAGS = b'{"errors":["required index state not present"]}'


def _page(status: int) -> Stub:
    return Stub(status=status, body=PAGE % status, headers={"Content-Type": "text/html"})


@pytest.mark.scenario("SRV-08")
def test_page_of_a_load_balancer(lab: Lab) -> None:
    """502, 503, 504 and then 200, each with an HTML page, to everything that is asked."""
    lab.start()
    with lab.reading(every=0.4):
        for status in (502, 503, 504, 200):
            with instead_of_vault(lab, f"HTML page with {status}", _page(status)) as fault:
                lab.watch(1.2)
            ended = fault.ended or 0.0
            lab.judge_later(
                # A page with 200 is nobody's refusal; how that failure is called is left open.
                failures_are(
                    "unavailable",
                    since=fault.began,
                    until=ended,
                    unsorted=status == 200 or not lab.tells_outcomes,
                ),
                no_request_storm(since=fault.began, until=ended),
            )
            lab.until_good_read(since=ended, within=lab.recovery)
            lab.judge_later(recovers_within(lab.recovery, since=ended))
    lab.judge(same_token(since=lab.history.faults[0].began))


@pytest.mark.scenario("SRV-09")
def test_lagging_standby_is_asked_again(lab: Lab) -> None:
    """A standby that lags answers 412 once; then one that never catches up."""
    client = lab.start()
    once = Stub(status=412, body=LAGS, kinds=frozenset({"read"}), times=1)
    with instead_of_vault(lab, "412 once", once):
        read = client.read()
        if not read.good:
            text = f"a read ended {read.outcome}: {read.message}"
            lab.note(Finding("a 412 is tried again within the call", text, read.began))
    lab.watch(0.5)
    ever = Stub(status=412, body=LAGS, kinds=frozenset({"read"}))
    with instead_of_vault(lab, "412 for ever", ever) as fault:
        for _ in range(2):
            client.read()
            lab.watch(0.5)
    ended = fault.ended or 0.0
    lab.until_good_read_by_asking(within=lab.recovery)
    lab.judge(
        requests_a_call_at_most(6, "read", since=fault.began, until=ended),
        failures_are("unavailable", since=fault.began, until=ended),
        same_token(since=fault.began),
        recovers_within(lab.recovery, since=ended),
    )


@pytest.mark.scenario("HA-05")
def test_redirect_to_another_host(lab: Lab) -> None:
    """Everything is answered 307 to a host that was never configured, past the token's life."""
    lab.start()
    with other_host(lab) as other, lab.reading(every=0.4):
        with instead_of_vault(lab, "redirect to another host", *other.redirects()) as fault:
            lab.watch(1.5 * lab.ttl)
        ended = fault.ended or 0.0
        lab.until_good_read(since=ended, within=lab.recovery)
        lab.note(*other.findings())
    lab.judge(
        no_request_storm(since=fault.began, until=ended),
        recovers_within(lab.recovery, since=ended),
    )
