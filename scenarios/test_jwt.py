"""JWTs: a platform's token is the login; its file and its key change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import (
    bad_logins_at_most,
    failures_are,
    no_failed_read,
    no_request_storm,
    quiet,
    recovers_within,
    replaced_before_the_end,
    requests_at_most,
)
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.history import History
from vault_harness.recorder.observations import Exchange

REFUSED = {"statuses": frozenset({400, 403}), "kinds": frozenset({"login"})}


@pytest.mark.scenario("JWT-01")
def test_rotated_jwt_is_used(lab: Lab) -> None:
    """A JWT that is replaced in time costs no read, and a late JWT costs no storm."""
    lab.start()
    with lab.reading(every=0.25):
        lab.credentials.jwt.rotate()
        lab.credentials.deliver_jwt(lab.credentials.jwt.issue())
        lab.watch(0.5)  # for a login with the old JWT
        with lab.condition("JWT's key withdrawn", **REFUSED) as replaced:
            replaced.optional = True  # a client that has the new JWT never meets it
            lab.credentials.jwt.trust_newest()
            lab.logs_in_again(since=replaced.began, within=lab.ttl)
            in_time = lab.history.now()
        # Now, because the next login has to wait for its JWT.
        lab.note(*replaced_before_the_end(until=in_time)(lab.history))
        lab.credentials.jwt.rotate()
        lab.credentials.jwt.trust_newest()
        with lab.condition("JWT's key withdrawn, the next JWT late", **REFUSED) as late:
            lab.history.wait_for(lambda: lab.touched(late), 1.5 * lab.ttl)
            lab.watch(2.5)
            lab.credentials.jwt_file.write_text("")  # as a program that writes in place
            lab.history.mark("the JWT file is emptied")
            lab.watch(1.5)
            lab.credentials.deliver_jwt(lab.credentials.jwt.issue())
        # The client waits since the first refusal, not since the key was withdrawn.
        met = next((e.began for e in _refused(lab.history, late)), late.began)
        bound = lab.recovery_after(replace(late, began=met))
        lab.until_good_read(since=late.end, within=bound)
    lab.judge(
        no_failed_read(until=in_time),
        bad_logins_at_most(0, since=replaced.began, until=in_time),
        recovers_within(bound, since=late.end),
        requests_at_most(quiet(late.end - met), "login", since=met, until=late.end),
        no_request_storm(since=met, until=late.end),
        # A client that reports a secret as gone may make an application react to that.
        failures_are("denied", "unavailable", since=met, until=late.end, may_be_empty=True),
    )


def _refused(history: History, since: Fault) -> list[Exchange]:
    return history.find("login", since=since.began, where=lambda e: not e.good)
