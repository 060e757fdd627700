"""Static roles: Vault rotates the passwords of lasting users of a PostgreSQL.

The harness logs in with what the subject hands out.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest

from vault_harness.judge.helpers.database import (
    BY_HAND,
    SCHEDULED,
    Password,
    connections,
    first_password,
)
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import (
    Oracle,
    accepted_again,
    credentials_at_most,
    failures_are,
    leased_at,
    no_request_storm,
    none_of,
    not_handed_out,
    refused_uses_at_most,
)
from vault_harness.recorder.history import History

SOON = 5.0
"""Seconds after a rotation. Vault counts whole seconds, and rotates up to 5 s after the `ttl` in
its answer.
"""

QUEUE = 10.0
"""Seconds after a period until a rotation is sure: Vault looks every 5 s."""

ROTATIONS, CONNECTIONS = 2, 5

A_WHILE = 1.0

BOTH = (BY_HAND, SCHEDULED)

LONGEST = 30.0
"""Seconds; a longer max_stale would make a scenario too long."""

A_SECOND = 2
"""Requests a second that a client may send beside those for calls."""


@pytest.mark.scenario("STA-01")
def test_rotated_on_schedule(lab: Lab) -> None:
    """Passwords that Vault rotates on schedule are replaced in time, without any report."""
    lab.start()
    began = lab.history.now()
    passwords = [first_password(lab, SCHEDULED)]
    with connections(lab, SCHEDULED, reports=False):
        for _ in range(ROTATIONS):
            passwords.append(_rotated(lab, SCHEDULED, passwords[-1]))
            lab.watch(SOON + 0.5)  # to see how late it is
    until = lab.history.now()
    _require_rotations(lab, pairwise(passwords))
    calls = len(lab.history.calls("static"))
    lab.judge(
        *_replaced(passwords, SCHEDULED),
        # A `ttl` of 0 means that a rotation is due. The client must still pause.
        credentials_at_most(calls + round(A_SECOND * (until - began)), since=began),
    )


@pytest.mark.scenario("STA-02")
def test_rotated_by_hand(lab: Lab) -> None:
    """Passwords that an operator rotates early are replaced once the pool reports a refusal."""
    lab.start()
    passwords = [first_password(lab, BY_HAND)]
    with connections(lab, BY_HAND):
        passwords += [_rotate(lab) for _ in range(ROTATIONS)]
    _require_rotations(lab, pairwise(passwords))
    lab.judge(*_replaced(passwords, BY_HAND))


@pytest.mark.scenario("STA-03")
def test_rotated_in_an_outage(lab: Lab) -> None:
    """Passwords that are rotated in an outage, by hand and on schedule, are replaced afterwards."""
    lab.start()
    by_hand, scheduled = (first_password(lab, path) for path in BOTH)
    stale_for = min(lab.declared("max_stale", 0.0), LONGEST)
    with (
        connections(lab, BY_HAND, every=0.5),
        connections(lab, SCHEDULED, every=0.5, reports=False),
    ):
        with lab.network.down() as outage:
            with lab.vault.static_role_rotated(BY_HAND):
                lab.until(lambda: bool(_reports(lab.history, by_hand)), within=SOON)
            over = scheduled.since + _period(lab)  # the end of the `ttl` in Vault's answer
            lab.watch(max(0.0, over + max(SOON, stale_for) + 1.0 - lab.history.now()))
            _rotated(lab, SCHEDULED, scheduled)
        within = lab.recovery_after(outage)
        lab.until(
            lambda: all(_accepted(lab.history, path, outage.end) for path in BOTH),
            within=within + 0.5,
        )
    rotations = [(by_hand, BY_HAND), (scheduled, SCHEDULED)]
    _require_rotations(lab, [(old, lab.database.password(path)) for old, path in rotations])
    told = next(iter(_reports(lab.history, by_hand)), lab.history.now())
    if stale_for:
        late = over + max(SOON, stale_for)
        lab.ask(not_handed_out(scheduled.label, path=SCHEDULED, since=late))
    lab.judge(
        # A client that continues with a refused password gets its user locked.
        not_handed_out(by_hand.label, path=BY_HAND, since=told),
        not_handed_out(scheduled.label, path=SCHEDULED, since=over + SOON, marked=False),
        failures_are(
            "unavailable",
            since=outage.began,
            until=outage.end,
            verbs=("static",),
            may_be_empty=True,
        ),
        no_request_storm(since=outage.began, until=outage.end),
        *(accepted_again(since=outage.end, within=within, path=path) for path in BOTH),
    )


@pytest.mark.scenario("STA-04")
def test_rotated_while_a_pool_is_in_use(lab: Lab) -> None:
    """A rotation under a pool of five ends no connection and costs few refused logins."""
    lab.start()
    passwords = [first_password(lab, BY_HAND)]
    with connections(lab, BY_HAND, count=CONNECTIONS, every=A_WHILE) as seen:
        lab.watch(A_WHILE)  # each caller has a connection
        for _ in range(ROTATIONS):
            passwords.append(_rotate(lab))
            lab.watch(A_WHILE)
    lab.require(
        "open connections outlived a rotation",
        lambda _: any(kept >= passwords[1].since for kept in seen.kept),
    )
    lab.judge(
        *_replaced(passwords, BY_HAND),
        none_of("what is open goes on", seen.lost),
        *(refused_uses_at_most(CONNECTIONS, of=old.label) for old in passwords[:-1]),
    )


# What the scenarios share


def _rotated(lab: Lab, path: str, before: Password) -> Password:
    lab.until(
        lambda: lab.database.password(path) != before,
        within=max(0.0, before.since + _period(lab) + QUEUE - lab.history.now()),
    )
    return lab.database.password(path)


def _period(lab: Lab) -> float:
    return lab.entry.rotation_period or 0.0


def _rotate(lab: Lab) -> Password:
    with lab.vault.static_role_rotated(BY_HAND):
        new = lab.database.password(BY_HAND)
        lab.until(lambda: _accepted(lab.history, BY_HAND, new.since), within=SOON + 0.5)
    return new


def _replaced(passwords: list[Password], path: str) -> list[Oracle]:
    asked: list[Oracle] = []
    for old, new in pairwise(passwords):
        asked += [
            not_handed_out(old.label, path=path, since=new.since + SOON),
            accepted_again(since=new.since, within=SOON, path=path),
        ]
    return asked


def _require_rotations(lab: Lab, pairs: Iterable[tuple[Password, Password]]) -> None:
    rotated = all(old != new for old, new in pairs)
    lab.require("the passwords were rotated", lambda _: rotated)


def _accepted(history: History, path: str, since: float) -> bool:
    labels = leased_at(history, path)
    uses = list(history.uses)
    return any(use.accepted and use.began > since and use.credential in labels for use in uses)


def _reports(history: History, password: Password) -> list[float]:
    uses = [use for use in list(history.uses) if use.credential == password.label]
    since = min((use.ended for use in uses if not use.accepted), default=history.now())
    calls = history.calls("static", since=since, where=lambda o: o.path == BY_HAND)
    return [call.began for call in calls if call.ended is not None]
