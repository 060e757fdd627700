"""The network: gone, silent, dripping, cut."""

from __future__ import annotations

import pytest

from vault_harness.scenario import Finding, Lab, NotExercised
from vault_harness.scenario.helpers import vault_gone
from vault_harness.scenario.oracles import (
    logins_at_most,
    logs_in_again,
    no_connection_storm,
    no_request_storm,
    recovers_within,
    renews_again,
    requests_at_most,
    same_token,
)


@pytest.mark.scenario("NET-01")
def test_short_outage_costs_no_login(lab: Lab) -> None:
    """Connections are refused for 0.4 of the token's life, under reads."""
    lab.start()
    with lab.reading(every=0.25):
        lab.watch(0.5)
        with lab.network.down() as fault:
            lab.hold(fault, 0.4 * lab.ttl)
        lab.until_good_read(since=fault.ended or 0.0, within=lab.recovery)
    lab.judge(
        recovers_within(lab.recovery, since=fault.ended or 0.0),
        same_token(since=fault.began),
    )


@pytest.mark.scenario("NET-02")
def test_long_outage_costs_one_login(lab: Lab) -> None:
    """Connections are refused for one and a half lives of the token, under reads."""
    lab.start()
    with lab.reading(every=0.25):
        lab.watch(0.5)
        with lab.network.down() as fault:
            lab.hold(fault, 1.5 * lab.ttl)
        lab.until_good_read(since=fault.ended or 0.0, within=lab.recovery)
        end = lab.history.now()
    lab.judge(
        recovers_within(lab.recovery, since=fault.ended or 0.0),
        logs_in_again(since=fault.began, within=lab.recovery + (fault.ended or 0.0) - fault.began),
        logins_at_most(1, since=fault.began, until=end),
    )


@pytest.mark.scenario("NET-03")
def test_black_hole(lab: Lab) -> None:
    """Answers vanish, then requests; connections stay open, under three callers."""
    # Vault ends a connection that it was asked to close once it has answered, so for a client that
    # keeps none open only lost requests are silence.
    lab.start()
    with lab.reading(every=0.5, callers=3):
        lab.watch(0.5)
        with lab.network.black_hole(stream="downstream") as answers:
            lab.watch(2.5 * lab.deadline)
        lab.until_good_read(since=answers.ended or 0.0, within=lab.recovery)
        with lab.network.black_hole(stream="upstream") as requests:
            lab.watch(2.5 * lab.deadline)
        lab.until_good_read(since=requests.ended or 0.0, within=lab.recovery)
    lab.judge(
        recovers_within(lab.recovery, since=answers.ended or 0.0),
        recovers_within(lab.recovery, since=requests.ended or 0.0),
        no_request_storm(since=answers.began, until=answers.ended or 0.0),
        no_connection_storm(since=requests.began, until=requests.ended or 0.0),
        logins_at_most(0, since=answers.began),
    )


@pytest.mark.scenario("NET-08")
def test_dripping_answer(lab: Lab) -> None:
    """A byte every 0.4 s: each wait for a byte is short, the whole answer would take minutes."""
    lab.start()
    with lab.reading(every=0.5, callers=2):
        with lab.network.drip(pause=0.4) as fault:
            lab.watch(2.5 * lab.deadline)
        lab.until_good_read(since=fault.ended or 0.0, within=lab.recovery)
    lab.judge(
        recovers_within(lab.recovery, since=fault.ended or 0.0),
        no_request_storm(since=fault.began, until=fault.ended or 0.0),
    )


@pytest.mark.scenario("NET-10")
def test_truncated_answer(lab: Lab) -> None:
    """Connections end in the middle of the headers, then in the middle of the body."""
    client = lab.start()
    for after in (100, 400):
        with lab.network.truncated(after=after) as fault:
            for _ in range(2):
                read = client.read()
                if read.good and read.began > fault.began + lab.refresh:
                    lab.note(
                        Finding(
                            "a truncated answer is an error",
                            f"a read gave {read.value}",
                            read.began,
                        )
                    )
                lab.watch(0.3)
        lab.judge_later(requests_at_most(2 * 4, "read", since=fault.began, until=fault.ended))
        lab.until_good_read_by_asking(within=lab.recovery)
    lab.judge(recovers_within(lab.recovery, since=lab.history.faults[-1].ended or 0.0))


@pytest.mark.scenario("NET-12")
def test_lost_answer_to_a_renewal(lab: Lab) -> None:
    """Connections are reset until a renewal was tried; its answer is lost."""
    lab.start()
    born = lab.history.logins()[-1]
    ends = (born.ended or born.began) + lab.ttl
    lab.watch(0.2 * lab.ttl)
    with lab.network.resets() as fault:
        tried = lab.history.wait_for(
            lambda: any(e.ended is not None for e in lab.history.find("renew", since=fault.began)),
            0.7 * lab.ttl,
        )
        # Vault has answered; the answer is still to be lost. A real Toxiproxy does not tell when.
        lab.history.wait_for(lambda: lab.touched(fault), 0.5)
    if not tried:
        raise NotExercised(
            "no renewal was tried while its answer would be lost, up to 0.9 of the token's life"
        )
    ended = fault.ended or 0.0
    lab.history.wait_for(
        lambda: bool(lab.history.find("renew", since=ended)), ends - lab.history.now()
    )
    lab.judge(renews_again(since=ended, before=ends), same_token(since=fault.began))


@pytest.mark.scenario("NET-18")
def test_vault_gone_behind_its_proxy(lab: Lab) -> None:
    """Connections are accepted and end at once for half of the token's life, under reads."""
    lab.start()
    with lab.reading(every=0.25):
        lab.watch(0.5)
        with vault_gone(lab) as fault:
            lab.watch(0.5 * lab.ttl)
        ended = fault.ended or 0.0
        lab.until_good_read(since=ended, within=lab.recovery)
    lab.judge(
        no_connection_storm(since=fault.began, until=ended),
        recovers_within(lab.recovery, since=ended),
        same_token(since=fault.began),
    )
