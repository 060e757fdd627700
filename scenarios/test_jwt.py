"""JWTs: a platform's own way in, whose file is replaced and whose key changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vault_harness.faults import Fault
from vault_harness.scenario import Exchange, History, Lab
from vault_harness.scenario.oracles import (
    bad_logins_at_most,
    failures_are,
    no_failed_read,
    no_request_storm,
    recovers_within,
    replaced_before_the_end,
    requests_at_most,
)

REFUSED = {"statuses": frozenset({400, 403}), "kinds": frozenset({"login"})}
"""The marks of a login that Vault does not take."""


@pytest.mark.scenario("JWT-01")
def test_rotated_jwt_is_used(lab: Lab) -> None:
    """The issuer changes its key and delivers a JWT in time, by a link; the next is late."""
    lab.start()
    with lab.reading(every=0.25):
        lab.jwt.rotate()
        lab.deliver_jwt(lab.jwt.issue())
        lab.watch(0.5)  # a login that took the old one a moment ago may still be on its way
        with lab.condition("JWT's key withdrawn", **REFUSED) as replaced:
            replaced.optional = True  # a client that has the new JWT by then never meets it
            lab.jwt.trust_newest()
            lab.logs_in_again(since=replaced.began, within=lab.ttl)
            in_time = lab.history.now()
        # By now: the next login is for a JWT that comes late.
        lab.note(*replaced_before_the_end(until=in_time)(lab.history))
        lab.jwt.rotate()
        lab.jwt.trust_newest()
        with lab.condition("JWT's key withdrawn, the next JWT late", **REFUSED) as late:
            lab.history.wait_for(lambda: lab.touched(late), 1.5 * lab.ttl)
            lab.watch(2.5)
            lab.jwt_file.write_text("")  # who writes in place empties the file first
            lab.history.mark("the JWT file is emptied")
            lab.watch(1.5)
            lab.deliver_jwt(lab.jwt.issue())
        # It has waited since the first refusal, not since the key was withdrawn.
        met = next((e.began for e in _refused(lab.history, late)), late.began)
        bound = lab.recovery_after(replace(late, began=met))
        lab.until_good_read(since=late.end, within=bound)
    lab.judge(
        no_failed_read(until=in_time),
        bad_logins_at_most(0, since=replaced.began, until=in_time),
        recovers_within(bound, since=late.end),
        # As in a storm: one peak, and one a second.
        requests_at_most(5 + int(late.end - met), "login", since=met, until=late.end),
        no_request_storm(since=met, until=late.end),
        # Nobody knows meanwhile whether a secret is there: who takes it for gone deletes more.
        failures_are("denied", "unavailable", since=met, until=late.end, may_be_empty=True),
    )


def _refused(history: History, since: Fault) -> list[Exchange]:
    """Logins that were refused since then."""
    return history.find("login", since=since.began, where=lambda e: not e.good)
