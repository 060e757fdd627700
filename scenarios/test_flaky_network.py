"""A flaky network: resets now and then, links that flap, connections that died, answers lost."""

from __future__ import annotations

import pytest

from vault_harness.faults import flapping
from vault_harness.scenario import Finding, Lab, NotExercised
from vault_harness.scenario.helpers import allow_writes, dead_connections, footprint, version_of
from vault_harness.scenario.oracles import (
    at_most,
    failed_reads_at_most,
    logins_at_most,
    no_request_storm,
    none_of,
    recovers_within,
    same_token,
)

LEDGER = "backend/ledger"

READS, TOXICITY, FAILURES = 28, 0.4, 4
"""Of 28 reads over connections of which 0.4 are reset, a client that tries once fails 11 or so, and
more than 4 in 997 runs of 1,000. One that tries four times fails so many in 7 runs of 10,000.
"""

SPARE = 6
"""What a client may hold more of after a fault than before, without leaking."""


@pytest.mark.scenario("NET-04")
def test_dead_idle_connections(lab: Lab) -> None:
    """Connections that the subject keeps are forgotten by the network; new ones work."""
    lab.start()
    with lab.reading(every=0.4, callers=3):
        lab.watch(1.0)
    lab.watch(0.3)
    with dead_connections(lab) as fault, lab.reading(every=0.4, callers=3):
        lab.until_good_read(since=fault.began, within=lab.recovery)
        lab.watch(1.5 * lab.deadline)
        end = lab.history.now()
    lab.judge(
        recovers_within(lab.deadline + lab.recovery, since=fault.began),
        # Each caller may find out once that its connection is dead.
        failed_reads_at_most(3, since=fault.began, until=end),
        same_token(since=fault.began),
    )


@pytest.mark.scenario("NET-11")
def test_resets_now_and_then(lab: Lab) -> None:
    """Two of five new connections are reset, and none lasts for more than one read."""
    client = lab.start()
    with lab.network.resets(toxicity=TOXICITY) as fault:
        for _ in range(READS):
            lab.network.drop_connections()
            if client.read().outcome == "died":
                break
        end = lab.history.now()
    lab.judge(
        failed_reads_at_most(FAILURES, since=fault.began, until=end),
        same_token(since=fault.began),
        recovers_within(lab.recovery, since=fault.ended or 0.0),
    )


@pytest.mark.scenario("NET-13")
def test_lost_answer_to_a_write(lab: Lab) -> None:
    """Vault applies a write, and the answer is lost with its connection."""
    allow_writes(lab, LEDGER)
    client = lab.start()
    first = client.write(LEDGER, {"entry": "first"})
    if first.failed:
        raise NotExercised(f"no write before any fault: {first.outcome}: {first.message}")
    before = version_of(lab, LEDGER)
    with lab.network.black_hole(closes_after=0.3) as fault:
        client.write(LEDGER, {"entry": "second"})
    client.read()
    lab.watch(0.5)
    written = version_of(lab, LEDGER) - before
    if not written:
        raise NotExercised("the write never reached Vault, so its answer was not lost")
    twice = {f"one write made {written} versions"} if written > 1 else set[str]()
    lab.judge(
        none_of("a write is applied at most once", twice, harm=True),
        same_token(since=fault.began),
    )


@pytest.mark.scenario("NET-15")
def test_flapping_link(lab: Lab) -> None:
    """The link is down for 0.7 s and up for 0.7 s, again and again, under two callers."""
    lab.start()
    with lab.reading(every=0.4, callers=2):
        lab.watch(0.5)
    before = footprint(lab)
    began = lab.history.now()
    with lab.reading(every=0.4, callers=2):
        with (
            lab.condition("link flaps", unanswered=True),
            flapping(lab.network.down, on=0.7, off=0.7) as turns,
        ):
            lab.watch(7.0)
        for turn in turns:
            turn.optional = True  # a client that waits may sleep through one of them
        ended = lab.history.now()
        lab.until_good_read(since=ended, within=lab.recovery)
    good = lab.history.calls("read", since=began, until=ended, where=lambda o: o.good)
    # Whose pauses grow may have bad luck with each probe; what got through must be of use.
    through = lab.history.find("read", since=began, until=ended, where=lambda e: e.good)
    if through and not good:
        text = f"no read was good, although Vault answered {len(through)}"
        lab.note(Finding("reads work while the link is up", text, began))
    lab.history.wait_for(lambda: not before.growth(footprint(lab), spare=SPARE), 3.0)
    after = footprint(lab)
    lab.judge(
        none_of("a flapping link leaves nothing behind", before.growth(after, spare=SPARE)),
        at_most(1, lab.tokens_alive(), "tokens alive"),
        logins_at_most(0, since=began),
        no_request_storm(since=began, until=ended),
        recovers_within(lab.recovery, since=ended),
    )
