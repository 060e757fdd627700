"""Token files: an agent keeps a token alive and replaces it."""

from __future__ import annotations

import pytest

from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import no_request_storm, none_of, recovers_within, requests_at_most
from vault_harness.judge.verdict import Finding
from vault_harness.recorder.history import SLACK
from vault_harness.recorder.observations import Exchange


@pytest.mark.scenario("TKF-01")
def test_replaced_token_is_used(lab: Lab) -> None:
    """A token that an agent replaces, early or late, is used soon; the client never revokes it."""
    client = lab.start()
    bound = min(0.1 * lab.ttl, 5.0)
    with lab.reading(every=0.5):
        lab.watch(0.5)
        old = lab.credentials.agent_token
        lab.credentials.deliver_token(lab.credentials.new_agent_token())
        with lab.vault.token_revoked(old) as first:
            first.optional = True  # a client may read the file for each request
            dead = lab.history.now()  # at the latest: the fault is noted before Vault is asked
            lab.until_good_read(since=dead, within=bound)
            lab.watch(0.5)
        with lab.vault.token_revoked(lab.credentials.agent_token) as lost:
            lost.optional = True  # a client that reads the file once still has the first token
            lab.hold(lost, 1.8)
            # As an agent that writes in place.
            lab.credentials.token_file.write_text("")
            lab.history.mark("the token file is emptied")
            lab.watch(1.2)
            # As another agent that restarts.
            lab.credentials.token_file.unlink()
            lab.history.mark("the token file is gone")
            lab.watch(0.6)
        lab.require("a token that was refused", lambda _: any(map(lab.touched, (first, lost))))
        # For a token that never ends, Vault reports a life of 0 seconds.
        lab.credentials.deliver_token(lab.credentials.new_agent_token(endless=True), ends="\n")
        delivered = lab.history.now()
        back = lab.recovery_after(lost)
        lab.until_good_read(since=delivered, within=back)
        lab.watch(0.5)
        _uses_what_was_delivered(lab, since=delivered, within=back + lab.refresh)
        lab.watch(A_LOOP)
    client.close(timeout=5.0)
    alive = lab.tokens.lives(lab.credentials.agent_token)
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
"""Seconds in which a loop of checks of a token of life 0 shows."""

LATE_BY_FAR = 0.5
"""Seconds beyond a bound, to see how late a client is."""

FOR_THE_END = 10.0
"""Seconds that the last token must still live when that is checked."""


def _uses_what_was_delivered(lab: Lab, *, since: float, within: float) -> None:
    """Wait for a good request with the delivered token; make a finding if none comes.

    A value from memory is good with any token, so good reads prove nothing.
    """

    def uses() -> list[Exchange]:
        asked = lab.history.find(since=since, where=lambda e: e.good)
        return [
            each
            for each in asked
            if lab.recorder.accessor(each.token) == lab.credentials.agent_token
        ]

    # The token must outlive the client, or its end would look like a revocation.
    looked = lab.ttl - FOR_THE_END
    end = since + min(within + LATE_BY_FAR, looked)
    lab.until(lambda: bool(uses()), within=max(0.0, end - lab.history.now()))
    first = next(iter(uses()), None)
    if first is None and within > looked:
        lab.require("a request while the token that was delivered last lives", lambda _: False)
        return
    at = first.began if first else lab.history.now()
    over = at - since - within - SLACK
    if first is None or over > 0:
        seen = f"the first came after {at - since:.2f} s" if first else "none came"
        lab.note(
            Finding(
                f"a good request with the token that was delivered last within {within:.3g} s",
                seen,
                since,
                missed=over if first else None,
                until=since + within,
            )
        )
