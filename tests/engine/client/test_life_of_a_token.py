"""From login to the end of a token: every kind, and every way to lose one."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from resilient_vault_client import VaultClient
from tests.engine.client.lab import Lab, keep_reading, read_until, until
from tests.engine.client.way import http

TTL = 2.0


def failures(seen: list[object]) -> list[object]:
    """What was no value from Vault."""
    return [one for one in seen if getattr(one, "source", None) != "vault"]


def test_renewed_in_the_middle_of_its_life(lab: Lab) -> None:
    """Each renewal comes between half and three quarters of a life, and there is one login."""
    lab.make_role(token_ttl="2s", token_max_ttl="60s")
    client = lab.client()
    seen = read_until(client, lab, lambda: lab.way.count("renew") >= 3, "three renewals")

    assert failures(seen) == []
    assert lab.way.count("login") == 1
    lives = [r.at for r in lab.way.requests if "login" in r.path or "renew" in r.path]
    gaps = [after - before for before, after in pairwise(lives)]
    assert all(0.5 * TTL - 0.1 <= gap <= 0.75 * TTL + 0.5 for gap in gaps)


@pytest.mark.slow
def test_clients_that_start_together_drift_apart(lab: Lab) -> None:
    """Five clients of one second do not renew at one time."""
    lab.make_role(token_ttl="3s")
    environ = lab.environ()
    for _ in range(5):
        assert lab.client(environ).authenticate()
    until(lambda: lab.way.count("renew-self") >= 5, "five renewals")

    times = [r.at for r in lab.way.matching("renew-self")][:5]
    assert max(times) - min(times) > 0.05 * 3


def test_at_max_ttl_another_token_takes_over(lab: Lab) -> None:
    """The new token is there before the old one ends, no read fails, the old one is given back."""
    lab.make_role(token_ttl="2s", token_max_ttl="3s")
    client = lab.client()
    seen = read_until(client, lab, lambda: "token_revoked" in lab.names(), "the hand-over")

    assert failures(seen) == []
    assert lab.way.count("login") == 2
    assert lab.tokens() == 1
    assert "token_lost" not in lab.names()


@pytest.mark.slow
def test_explicit_max_ttl(lab: Lab) -> None:
    """A token with an explicit maximum is replaced in the same way."""
    lab.make_role(token_ttl="2s", token_explicit_max_ttl="2s")
    client = lab.client()
    seen = read_until(client, lab, lambda: lab.way.count("login") == 2, "another login")

    assert failures(seen) == []
    assert "token_lost" not in lab.names()


def test_not_renewable(lab: Lab) -> None:
    """A token whose role does not let it renew is replaced after one try at most."""
    lab.make_role(token_ttl="2s")
    client = lab.client()
    login = client._session().authenticator
    assert client.authenticate()
    token = login.current
    assert token is not None
    token.renewable = False  # as a login with renewable: false gives it, which AppRole never does
    seen = read_until(client, lab, lambda: lab.way.count("login") == 2, "another login")

    assert failures(seen) == []
    assert lab.way.count("renew-self") == 0
    assert "token_lost" not in lab.names()


def test_batch_token_is_never_renewed_or_revoked(lab: Lab) -> None:
    """Vault answers 400 to both, so neither is asked for."""
    lab.make_role(token_ttl="2s", token_type="batch", token_max_ttl="2s")
    client = lab.client()
    seen = read_until(client, lab, lambda: lab.way.count("login") == 2, "another login")
    client.close()

    assert failures(seen) == []
    assert lab.way.count("renew-self") == 0
    assert lab.way.count("revoke-self") == 0


@pytest.mark.slow
def test_periodic_token_lives_on(lab: Lab) -> None:
    """A periodic token is renewed for ever, with one login."""
    lab.make_role(token_period="2s", token_ttl="0s")
    client = lab.client()
    seen = read_until(client, lab, lambda: lab.way.count("renew") == 3, "three renewals")

    assert failures(seen) == []
    assert lab.way.count("login") == 1


def test_token_of_few_uses(lab: Lab) -> None:
    """A token is counted down, replaced when it is used up, and never asked about itself."""
    lab.make_role(token_num_uses=3)
    client = lab.client()
    for _ in range(7):
        assert lab.value == client.get_secret(lab.path, "KEY")

    assert lab.way.count("login") == 3
    assert lab.way.count("lookup-self") == 0
    assert lab.way.count("renew-self") == 0


def test_token_of_few_uses_over_threads(lab: Lab) -> None:
    """Twenty threads share tokens of three uses, and none of them fails."""
    lab.make_role(token_num_uses=3)
    client = lab.client()
    with ThreadPoolExecutor(20) as pool:
        values = list(pool.map(lambda _: client.get_secret(lab.path, "KEY"), range(40)))

    assert [lab.value] * 40 == values
    assert lab.way.count("login") <= 20


def test_revoked_token_costs_one_login(lab: Lab) -> None:
    """The read that meets a dead token succeeds, after one login."""
    client = lab.client()
    client.get_secret(lab.path)
    lab.vault.auth.token.revoke_accessor(lab.accessor(client))

    assert lab.value == client.get_secret(lab.path, "KEY")
    assert lab.way.count("login") == 2
    assert "token_lost" in lab.names()


def test_fifty_readers_cause_one_login(lab: Lab) -> None:
    """However many threads meet the dead token, one of them logs in."""
    client = lab.client()
    client.get_secret(lab.path)
    lab.vault.auth.token.revoke_accessor(lab.accessor(client))
    barrier = threading.Barrier(50)

    def read(_: int) -> object:
        barrier.wait(10)
        return client.get_secret(lab.path, "KEY")

    with ThreadPoolExecutor(50) as pool:
        assert [lab.value] * 50 == list(pool.map(read, range(50)))
    assert lab.way.count("login") == 2
    assert lab.tokens() == 1


def test_fifty_readers_at_the_start_cause_one_login(lab: Lab) -> None:
    """The first login is one for all threads too."""
    client = lab.client()
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda _: client.get_secret(lab.path), range(50)))

    assert lab.way.count("login") == 1


def test_renewal_that_fails_once(lab: Lab) -> None:
    """A 500 to one renewal costs no login: another one comes before the token ends."""
    lab.make_role(token_ttl="3s")
    client = lab.client()
    client.get_secret(lab.path)
    failing = [http(500, '{"errors":["internal error"]}')]
    with lab.way.answering(
        lambda _kind, path: failing.pop() if failing and "renew-self" in path else None
    ):
        until(lambda: "renewed" in lab.names(), "a renewal")

    assert "renewal_failed" in lab.names()
    assert lab.way.count("login") == 1
    assert lab.value == client.get_secret(lab.path, "KEY")


def test_renewal_of_a_dead_token(lab: Lab) -> None:
    """When a renewal finds the token dead a login follows, and not a loop of renewals."""
    lab.make_role(token_ttl="2s")
    client = lab.client()
    client.get_secret(lab.path)
    lab.vault.auth.token.revoke_accessor(lab.accessor(client))
    until(lambda: lab.way.count("login") == 2, "the second login")

    assert lab.way.count("renew-self") == 1
    assert failures(keep_reading(client, lab, 0.3)) == []


def test_no_right_to_renew(lab: Lab) -> None:
    """A role without the default policy cannot renew or look up itself, and works all the same."""
    lab.make_role(token_ttl="2s", token_no_default_policy=True, token_policies=lab.role)
    client = lab.client()
    seen = read_until(client, lab, lambda: lab.way.count("login") == 2, "another login")

    assert failures(seen) == []
    assert lab.way.count("renew-self") <= lab.way.count("login")
    assert "token_lost" not in lab.names()


def test_no_right_to_look_itself_up(lab: Lab) -> None:
    """A dead token of such a role is told from a denied path as well."""
    lab.make_role(token_no_default_policy=True, token_policies=lab.role)
    client = lab.client()
    client.get_secret(lab.path)
    token = client._session().authenticator.current
    assert token is not None
    accessors = lab.vault.auth.token.list_accessors()["data"]["keys"]
    for accessor in accessors:
        meta = lab.vault.auth.token.lookup_accessor(accessor)["data"].get("meta") or {}
        if meta.get("role_name") == lab.role:
            lab.vault.auth.token.revoke_accessor(accessor)

    assert lab.value == client.get_secret(lab.path, "KEY")
    assert lab.way.count("login") == 2


@pytest.mark.slow
def test_role_deleted_while_running(lab: Lab) -> None:
    """Renewals fail with 500 for good: no storm, an alarm, and reads until the token ends."""
    lab.make_role(token_ttl="3s")
    client = lab.client()
    client.get_secret(lab.path)
    started = time.monotonic()
    lab.vault.auth.approle.delete_role(lab.role)
    until(lambda: client.health().renewal_failures >= 2, "a second failure")

    assert not client.health().ok
    assert lab.value == client.get_secret(lab.path, "KEY")
    until(lambda: "login_failed" in lab.names(), "a login that fails")
    seconds = time.monotonic() - started
    assert lab.way.count("renew-self") <= seconds + 3
    assert lab.way.count("login", since=started) <= 2


def test_expired_while_nobody_renewed(lab: Lab) -> None:
    """Without a renewing thread an expired token is replaced without a refused request."""
    lab.make_role(token_ttl="1s")
    client = lab.client(renew=False)
    client.get_secret(lab.path)
    token = client._session().authenticator.current
    assert token is not None
    until(lambda: not token.usable, "its end", 3.0)

    assert lab.value == client.get_secret(lab.path, "KEY")
    assert lab.way.count("login") == 2
    assert lab.way.count("lookup-self") == 0


def test_wall_clock_does_not_matter(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumps an hour changes nothing."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600.0)
    lab.make_role(token_ttl="2s")
    client = lab.client()

    seen = read_until(client, lab, lambda: "renewed" in lab.names(), "a renewal")
    assert failures(seen) == []
    assert lab.way.count("login") == 1


def test_close_gives_the_token_back(lab: Lab) -> None:
    """After close no token of the client lives, and the client is of no use."""
    client: VaultClient = lab.client()
    client.get_secret(lab.path)
    assert lab.tokens() == 1
    client.close()

    assert lab.tokens() == 0
    client.close()
    assert not client.health().ok


@pytest.mark.slow
def test_renewal_over_a_slow_line(lab: Lab) -> None:
    """A renewal whose answer takes a quarter of a life is in time."""
    lab.make_role(token_ttl="3s")
    client = lab.client()
    client.get_secret(lab.path)
    with lab.way.slow(0.8):
        seen = read_until(client, lab, lambda: lab.names().count("renewed") == 2, "two renewals")

    assert failures(seen) == []
    assert lab.way.count("login") == 1
    assert "token_lost" not in lab.names()


def test_token_is_usable_while_its_renewal_is_under_way(lab: Lab) -> None:
    """Vault may have renewed it already, so that its end here is not its end there."""
    lab.make_role(token_ttl="1s")
    client = lab.client(renew=False)
    client.authenticate()
    token = client._session().authenticator.current
    assert token is not None
    token.renewing = True
    until(lambda: token.remaining == 0, "its end", 3.0)
    assert token.usable
    token.renewing = False
    assert not token.usable
