"""Token files: an agent beside the application keeps a token alive, and replaces it."""

from __future__ import annotations

import pytest

from vault_harness.scenario import Exchange, Finding, Lab
from vault_harness.scenario.oracles import (
    no_request_storm,
    none_of,
    recovers_within,
    requests_at_most,
)


@pytest.mark.scenario("TKF-01")
def test_replaced_token_is_used(lab: Lab) -> None:
    """An agent replaces the token and revokes the old one; the next comes late, and has no end."""
    client = lab.start()
    bound = min(0.1 * lab.ttl, 5.0)
    with lab.reading(every=0.5):
        lab.watch(0.5)
        old = lab.agent_token
        lab.deliver_token(lab.new_agent_token())
        with lab.vault.token_revoked(old) as first:
            first.optional = True  # who reads the file for each request never sends that one again
            dead = lab.history.now()  # for sure: it was noted before Vault was asked
            lab.until_good_read(since=dead, within=bound)
            lab.watch(0.5)
        with lab.vault.token_revoked(lab.agent_token) as lost:
            lost.optional = True  # who reads the file once lives on with the first
            lab.hold(lost, 1.8)
            # An agent that writes in place empties its file first.
            lab.token_file.write_text("")
            lab.history.mark("the token file is emptied")
            lab.watch(1.2)
            # Another one takes it away before it puts the next there, as one that is started anew.
            lab.token_file.unlink()
            lab.history.mark("the token file is gone")
            lab.watch(0.6)
        lab.require("a token that was refused", lambda _: any(map(lab.touched, (first, lost))))
        # Vault says of one that never ends that it has 0 seconds left to live.
        lab.deliver_token(lab.new_agent_token(endless=True), ends="\n")
        delivered = lab.history.now()
        back = lab.recovery_after(lost)
        lab.until_good_read(since=delivered, within=back)
        lab.watch(0.5)
        _uses_what_was_delivered(lab, since=delivered, within=back + lab.refresh)
        lab.watch(A_LOOP)
    client.close(timeout=5.0)
    alive = lab.token_lives(lab.agent_token)
    lab.judge(
        recovers_within(bound, since=dead, begun=True),
        recovers_within(back, since=delivered),
        no_request_storm(since=lost.began, until=delivered),
        requests_at_most(0, "login", "renew", "revoke", since=0.0),
        none_of(
            "the agent's token is left alone, which others may use too",
            set() if alive else {"it was revoked at the end"},
            harm=True,
        ),
        steady=False,
    )


A_LOOP = 1.5
"""Seconds in which a loop shows that looks at a token again as soon as part of no time is over."""

LATE_BY_FAR = 0.5
"""Seconds past a bound in which it is seen by how much a client is late."""

FOR_THE_END = 10.0
"""Seconds of the last token's life that are left when it is seen whether the client revoked it."""


def _uses_what_was_delivered(lab: Lab, *, since: float, within: float) -> None:
    """Wait for a request that is answered well with the token in the file, or find fault.

    A value from memory is good with any token, so that a good read does not tell.
    """

    def uses() -> list[Exchange]:
        asked = lab.history.find(since=since, where=lambda e: e.good)
        return [each for each in asked if lab.recorder.accessor(each.token) == lab.agent_token]

    # It has a life of its own, which nobody may make longer: who asks later cannot use it. And it
    # has to live when the client has ended, or its own end would look like a revocation.
    looked = lab.ttl - FOR_THE_END
    end = since + min(within + LATE_BY_FAR, looked)
    lab.until(lambda: bool(uses()), within=max(0.0, end - lab.history.now()))
    first = next(iter(uses()), None)
    if first is None and within > looked:
        lab.require("a request while the token that was delivered last lives", lambda _: False)
        return
    at = first.began if first else lab.history.now()
    over = at - since - within - lab.history.slack(since, at)
    if first is None or over > 0:
        seen = f"the first came after {at - since:.2f} s" if first else "none came"
        lab.note(
            Finding(
                f"a good request with the token that was delivered last within {within:.3g} s",
                seen,
                since,
                missed=over if first else None,
                until=since + within,
                lacks=first is None,
            )
        )
