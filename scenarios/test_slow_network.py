"""A slow network: late, very late, narrow, and stalled for a while."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from vault_harness.scenario import Finding, Lab
from vault_harness.scenario.helpers import allow_writes, version_of
from vault_harness.scenario.oracles import (
    failures_are,
    logins_at_most,
    no_failed_read,
    no_request_storm,
    none_of,
    recovers_within,
    renews_within,
    same_token,
)

LEDGER = "backend/ledger"
BIG = 12_000
"""Bytes of a secret that takes three deadlines of two seconds at two kilobytes a second."""


@pytest.mark.scenario("NET-05")
def test_stall_that_heals(lab: Lab) -> None:
    """Answers are held for a while and then delivered on the same connections, a write's too."""
    writes = _can_write(lab)
    client = lab.start()
    if writes and client.write(LEDGER, {"entry": "first"}).failed:
        lab.note(Finding("a write works", "the first one, before any fault, failed"))
    before = version_of(lab, LEDGER)
    with ExitStack() as callers:
        with lab.network.stalled() as fault:
            if writes:
                client.write(LEDGER, {"entry": "second"})
            callers.enter_context(lab.reading(every=0.5, callers=2))
            lab.watch(1.2 * lab.deadline)
        ended = fault.ended or 0.0
        lab.until_good_read(since=ended, within=lab.recovery)
        lab.watch(0.5)
    written = version_of(lab, LEDGER) - before
    twice = {f"one write made {written} versions"} if written > 1 else set[str]()
    lab.judge(
        none_of("a write is applied at most once", twice, harm=True),
        no_request_storm(since=fault.began, until=ended),
        logins_at_most(0, since=fault.began),
        recovers_within(lab.recovery, since=ended),
    )


def _can_write(lab: Lab) -> bool:
    """Let the subject write where it says that it can; known only once it is started."""
    allow_writes(lab, LEDGER)
    client = lab.open()
    if client is None:
        return False
    client.close(timeout=5.0)
    return "write" in client.subject.capabilities


@pytest.mark.scenario("NET-06")
def test_late_answers_are_answers(lab: Lab) -> None:
    """Each answer comes 0.4 of a deadline late, give or take 0.15, for two lives of a token."""
    lab.start()
    with (
        lab.reading(every=0.5),
        lab.network.slow(latency=0.4 * lab.deadline, jitter=0.15 * lab.deadline) as fault,
    ):
        lab.watch(2 * lab.ttl)
        end = lab.history.now()
    lab.judge(
        no_failed_read(since=fault.began, until=end),
        # A renewal is planned within the life of a token that was late itself.
        renews_within(0.3, 0.95, until=end),
        logins_at_most(0, since=fault.began),
    )


@pytest.mark.scenario("NET-07")
def test_answers_later_than_the_deadline(lab: Lab) -> None:
    """Each answer comes two deadlines late; the calls have ended by then."""
    lab.start()
    with lab.reading(every=0.5, callers=2):
        lab.watch(0.5)
        with lab.network.slow(latency=2 * lab.deadline) as fault:
            lab.watch(2.5 * lab.deadline)
        ended = fault.ended or 0.0
        lab.until_good_read(since=ended, within=lab.recovery)
    lab.judge(
        failures_are("unavailable", since=fault.began, until=ended),
        no_request_storm(since=fault.began, until=ended),
        same_token(since=fault.began),
        recovers_within(lab.recovery, since=ended),
    )


@pytest.mark.scenario("NET-09")
def test_narrow_network(lab: Lab) -> None:
    """Two kilobytes a second: small secrets come through, a big one does not in time."""
    client = lab.start()
    lab.stack.operator.client.secrets.kv.v2.create_or_update_secret(
        "backend/celery", {"BIG": "x" * BIG, "SMALL": "y"}, mount_point="ecommerce"
    )
    with lab.network.narrow(rate=2) as fault:
        late = client.read("backend/celery", "SMALL")
        if not late.failed:
            took = (late.ended or 0.0) - late.began
            text = f"{BIG} bytes at 2 kB/s gave a value after {took:.1f} s"
            lab.note(Finding("a big secret ends in an error", text, late.began, harm=True))
        lab.until_good_read_by_asking(within=lab.recovery + lab.deadline)
    ended = fault.ended or 0.0
    lab.judge(
        failures_are("unavailable", since=fault.began, until=ended),
        same_token(since=fault.began),
        recovers_within(lab.recovery + lab.deadline, since=fault.began),
    )
