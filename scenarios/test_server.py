"""A sick server: paused, rate-limited, and unable to write its audit log."""

from __future__ import annotations

import pytest

from vault_harness.scenario import Lab
from vault_harness.scenario.oracles import (
    failures_are,
    logins_at_most,
    no_request_storm,
    obeys_retry_after,
    recovers_within,
    same_token,
    says_of_its_health,
)


@pytest.mark.scenario("SRV-01")
def test_blocked_audit_log(lab: Lab) -> None:
    """The audit log is a full pipe: every request hangs, and sys/health says 200 all the while."""
    client = lab.start()
    asks = "health" in client.subject.capabilities
    with lab.reading(every=0.5, callers=2):
        lab.watch(0.5)
        with lab.vault.audit_blocked() as fault:
            lab.watch(1.5 * lab.deadline)
            if asks:
                client.healthy()
            told = lab.history.now()
            lab.watch(0.5 * lab.deadline)
        ended = fault.ended or 0.0
        lab.until_good_read(since=ended, within=lab.recovery)
    lab.judge(
        says_of_its_health(well=False, since=fault.began, until=told),
        recovers_within(lab.recovery, since=ended),
        no_request_storm(since=fault.began, until=ended),
        same_token(since=fault.began),
    )


@pytest.mark.scenario("SRV-02")
def test_unwritable_audit_log(lab: Lab) -> None:
    """The audit log cannot be opened: 500 for everything, logins too, behind a green sys/health."""
    lab.start()
    with lab.reading(every=0.4):
        with lab.vault.audit_unwritable() as fault:
            lab.watch(3.0)
        ended = fault.ended or 0.0
        lab.until_good_read(since=ended, within=lab.recovery)
    lab.judge(
        failures_are("unavailable", since=fault.began, until=ended),
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=ended),
        recovers_within(lab.recovery, since=ended),
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


@pytest.mark.scenario("SRV-06")
def test_bare_429_is_no_reason_to_hurry(lab: Lab) -> None:
    """A quota answers 429 without Retry-After; callers come back every 0.4 s whatever they hear."""
    lab.start()
    with lab.reading(every=0.4):
        with lab.vault.rate_limited("ecommerce/", rate=1, interval=4.0, headers=False) as fault:
            lab.watch(5.0)
        ended = fault.ended or 0.0
        lab.until_good_read(since=ended, within=lab.recovery)
    lab.judge(
        failures_are("unavailable", since=fault.began, until=ended),
        logins_at_most(0, since=fault.began),
        no_request_storm(since=fault.began, until=ended),
        recovers_within(lab.recovery, since=ended),
    )
