"""Kinds of token: batch, periodic, use-limited, ended early, and one that may not renew itself."""

from __future__ import annotations

import pytest

from vault_harness.scenario import Lab
from vault_harness.scenario.oracles import (
    at_most,
    logins_at_most,
    logs_in_again,
    no_failed_read,
    no_refused_read,
    renewals_at_most,
    renews_within,
    requests_at_most,
)


@pytest.mark.scenario("TOK-05")
def test_explicit_max_ttl_is_met_by_a_login_in_time(lab: Lab) -> None:
    """Two and a half explicit max TTLs pass under reads; a renewal beyond one is capped."""
    lab.start()
    with lab.reading(every=0.25):
        lab.watch(2.5 * 2 * lab.ttl)
        alive = lab.tokens_alive()
    lab.judge(
        no_failed_read(),
        no_refused_read(),
        logins_at_most(6),
        at_most(2, alive, "tokens alive at once"),
    )


@pytest.mark.scenario("TOK-07")
def test_batch_token_is_replaced(lab: Lab) -> None:
    """Two and a half lives of batch tokens pass under reads, and the subject is ended."""
    client = lab.start()
    first = lab.history.logins()[0]
    with lab.reading(every=0.25):
        lab.watch(2.5 * lab.ttl)
    client.close(timeout=5.0)
    lab.judge(
        no_failed_read(),
        no_refused_read(),
        renewals_at_most(1, since=0.0),
        requests_at_most(0, "revoke", since=0.0),
        logs_in_again(since=first.began + 0.2 * lab.ttl, within=0.8 * lab.ttl),
        logins_at_most(8),
        steady=False,
    )


@pytest.mark.scenario("TOK-08")
def test_periodic_token_is_renewed(lab: Lab) -> None:
    """Four periods pass under reads, more than a max TTL that does not count for such a token."""
    lab.start()
    with lab.reading(every=0.4):
        lab.watch(4 * lab.ttl)
        end = lab.history.now()
    lab.judge(renews_within(0.3, 0.9, until=end), logins_at_most(1), no_failed_read())


@pytest.mark.scenario("TOK-10")
def test_token_of_few_uses_is_used_up(lab: Lab) -> None:
    """Each token is good for six requests; callers read on and on."""
    lab.start()
    with lab.reading(every=0.25):
        lab.watch(5.0)
    reads = len(lab.history.calls("read"))
    tokens = len(lab.history.logins())
    lab.judge(
        no_failed_read(),
        # Six uses: some of them may go into a look at itself, a renewal or a revocation.
        logins_at_most(2 + reads // 3),
        logs_in_again(since=lab.history.logins()[0].began + 0.01, within=5.0),
        requests_at_most(tokens, "lookup", since=0.0),
    )


@pytest.mark.scenario("TOK-14")
def test_token_that_may_not_renew_itself_is_replaced(lab: Lab) -> None:
    """Without the policy ``default`` a renewal is denied, while the token is good for all else."""
    lab.start()
    with (
        lab.reading(every=0.25),
        lab.condition("renewal denied", statuses=frozenset({403}), kinds=frozenset({"renew"})),
    ):
        lab.watch(2.5 * lab.ttl)
    lives = lab.history.logins()
    lab.judge(
        no_failed_read(),
        renewals_at_most(4 * len(lives), since=0.0),
        logs_in_again(since=lives[0].began + 0.2 * lab.ttl, within=0.8 * lab.ttl),
        logins_at_most(8),
    )
