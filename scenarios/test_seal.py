"""The seal: short, longer than the token, and from the start."""

from __future__ import annotations

import threading

import pytest

from harness.scenario import Lab
from harness.scenario.oracles import (
    logins_at_most,
    logs_in_again,
    no_request_storm,
    recovers_within,
    same_token,
)


@pytest.mark.scenario("SEA-01")
def test_short_seal_costs_no_login(lab: Lab) -> None:
    """Sealed for 0.3 of the token's life, under reads."""
    lab.start()
    with lab.reading(every=0.25):
        lab.watch(0.5)
        with lab.vault.sealed() as fault:
            lab.watch(0.3 * lab.ttl)
        lab.until_good_read(since=fault.ended or 0.0, within=lab.recovery)
    lab.judge(
        recovers_within(lab.recovery, since=fault.ended or 0.0),
        same_token(since=fault.began),
        no_request_storm(since=fault.began, until=fault.ended or 0.0),
    )


@pytest.mark.scenario("SEA-02")
def test_long_seal_costs_one_login(lab: Lab) -> None:
    """Sealed for one and a half lives of the token, under reads."""
    lab.start()
    with lab.reading(every=0.25):
        lab.watch(0.5)
        with lab.vault.sealed() as fault:
            lab.watch(1.5 * lab.ttl)
        lab.until_good_read(since=fault.ended or 0.0, within=lab.recovery)
        end = lab.history.now()
    lab.judge(
        recovers_within(lab.recovery, since=fault.ended or 0.0),
        logs_in_again(since=fault.began, within=lab.recovery + (fault.ended or 0.0) - fault.began),
        logins_at_most(1, since=fault.began, until=end, accepted=True),
        no_request_storm(since=fault.began, until=fault.ended or 0.0),
    )


@pytest.mark.scenario("SEA-03")
def test_start_against_a_sealed_vault(lab: Lab) -> None:
    """Vault is sealed before the subject starts; it may wait or refuse to start, but not storm."""
    opened = threading.Event()

    def start() -> None:
        if (client := lab.open(timeout=20.0)) is not None:
            client.read()
        opened.set()

    with lab.vault.sealed() as fault:
        threading.Thread(target=start, name="start", daemon=True).start()
        lab.watch(4.0)
    opened.wait(timeout=20.0)
    if not lab.started:
        lab.open()  # it refused to start: its supervisor tries again
    lab.until_good_read_by_asking(within=lab.recovery)
    lab.judge(
        recovers_within(lab.recovery, since=fault.ended or 0.0),
        no_request_storm(since=fault.began, until=fault.ended or 0.0),
    )
