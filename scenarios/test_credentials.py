"""Credentials: secret-ids that are rotated, destroyed, and delivered late."""

from __future__ import annotations

import pytest

from harness.scenario import Finding, Lab
from harness.scenario.lab import ROLE
from harness.scenario.oracles import (
    bad_logins_at_most,
    logs_in_again,
    no_failed_read,
    none_of,
    recovers_within,
)
from harness.vault import approle

TRIES = 4
"""One less than the failures that lock an AppRole for everybody for 15 minutes."""


@pytest.mark.scenario("SID-01")
def test_rotated_secret_id_is_used(lab: Lab) -> None:
    """A new secret-id replaces the file, the old one is destroyed, and two tokens pass."""
    lab.start()
    old = lab.secret_id
    with lab.reading(every=0.2):
        lab.new_secret_id()
        with lab.vault.secret_id_destroyed(ROLE, old.accessor, optional=True) as fault:
            lab.watch(2.5 * lab.ttl)
    lab.judge(
        no_failed_read(),
        bad_logins_at_most(0, since=fault.began),
        logs_in_again(since=fault.began, within=lab.ttl),
    )


@pytest.mark.scenario("SID-02")
def test_destroyed_secret_id_is_not_hammered(lab: Lab) -> None:
    """The secret-id is destroyed, no new one comes, the token ends, and callers go on calling."""
    client = lab.start()
    with lab.reading(every=0.2), lab.vault.secret_id_destroyed(ROLE, lab.secret_id.accessor):
        lab.watch(8 * lab.ttl)
        locked = _locked(lab)
        if "health" in client.subject.capabilities and client.healthy():
            lab.note(
                Finding(
                    "health tells the truth", "it says well, without any token", lab.history.now()
                )
            )
    lab.judge(
        bad_logins_at_most(TRIES),
        none_of("the role is not locked for everybody", locked, harm=True),
        steady=False,
    )


@pytest.mark.scenario("SID-03")
def test_late_secret_id_is_used(lab: Lab) -> None:
    """As SID-02, but a new secret-id is delivered after the first refusals."""
    lab.start()
    with lab.reading(every=0.2):
        with lab.vault.secret_id_destroyed(ROLE, lab.secret_id.accessor) as fault:
            lab.history.wait_for(
                lambda: bool(
                    lab.history.find("login", since=fault.began, where=lambda e: e.status == 400)
                ),
                3 * lab.ttl,
            )
            lab.watch(1.5 * lab.ttl)
            lab.new_secret_id()
        delivered = lab.history.now()
        lab.until_good_read(since=delivered, within=lab.recovery)
        locked = _locked(lab)
    lab.judge(
        recovers_within(lab.recovery, since=delivered),
        bad_logins_at_most(TRIES),
        none_of("the role is not locked for everybody", locked, harm=True),
    )


def _locked(lab: Lab) -> set[str]:
    locked = approle.locked(lab.stack.operator)
    return {f"{ROLE} is in sys/locked-users" for found in locked if found.role_id == lab.role_id}
