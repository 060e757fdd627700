from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from resilient_vault_client import VaultClient
from tests.engine.client.lab import Lab, keep_reading, read_until, until
from tests.engine.client.route import http

TTL = 2.0


def failures(seen: list[object]) -> list[object]:
    return [one for one in seen if getattr(one, "source", None) != "vault"]


def test_renewed_in_the_middle_of_its_life(lab: Lab) -> None:
    """Each renewal comes between half and three quarters of a life."""
    lab.make_role(token_ttl="2s", token_max_ttl="60s")
    client = lab.client()
    seen = read_until(client, lab, lambda: lab.route.count("renew") >= 3, "three renewals")

    assert failures(seen) == []
    assert lab.route.count("login") == 1
    lives = [r.at for r in lab.route.requests if "login" in r.path or "renew" in r.path]
    gaps = [after - before for before, after in pairwise(lives)]
    assert all(0.5 * TTL - 0.1 <= gap <= 0.75 * TTL + 0.5 for gap in gaps)


@pytest.mark.slow
def test_clients_that_start_together_drift_apart(lab: Lab) -> None:
    lab.make_role(token_ttl="3s")
    environ = lab.environ()
    for _ in range(5):
        assert lab.client(environ).authenticate()
    until(lambda: lab.route.count("renew-self") >= 5, "five renewals")

    times = [r.at for r in lab.route.matching("renew-self")][:5]
    assert max(times) - min(times) > 0.05 * 3


def test_at_max_ttl_another_token_takes_over(lab: Lab) -> None:
    lab.make_role(token_ttl="2s", token_max_ttl="3s")
    client = lab.client()
    seen = read_until(client, lab, lambda: "token_revoked" in lab.names(), "the hand-over")

    assert failures(seen) == []
    assert lab.route.count("login") == 2
    assert lab.tokens() == 1
    assert "token_lost" not in lab.names()


@pytest.mark.slow
def test_explicit_max_ttl(lab: Lab) -> None:
    lab.make_role(token_ttl="2s", token_explicit_max_ttl="2s")
    client = lab.client()
    seen = read_until(client, lab, lambda: lab.route.count("login") == 2, "another login")

    assert failures(seen) == []
    assert "token_lost" not in lab.names()


def test_not_renewable(lab: Lab) -> None:
    """A token without the right to renew is replaced after at most one try."""
    lab.make_role(token_ttl="2s")
    client = lab.client()
    login = client._session().authenticator
    assert client.authenticate()
    token = login.current
    assert token is not None
    token.renewable = False  # AppRole never gives renewable: false itself
    seen = read_until(client, lab, lambda: lab.route.count("login") == 2, "another login")

    assert failures(seen) == []
    assert lab.route.count("renew-self") == 0
    assert "token_lost" not in lab.names()


def test_batch_token_is_never_renewed_or_revoked(lab: Lab) -> None:
    """Vault answers 400 to both."""
    lab.make_role(token_ttl="2s", token_type="batch", token_max_ttl="2s")
    client = lab.client()
    seen = read_until(client, lab, lambda: lab.route.count("login") == 2, "another login")
    client.close()

    assert failures(seen) == []
    assert lab.route.count("renew-self") == 0
    assert lab.route.count("revoke-self") == 0


@pytest.mark.slow
def test_periodic_token_lives_on(lab: Lab) -> None:
    lab.make_role(token_period="2s", token_ttl="0s")
    client = lab.client()
    seen = read_until(client, lab, lambda: lab.route.count("renew") == 3, "three renewals")

    assert failures(seen) == []
    assert lab.route.count("login") == 1


def test_token_of_few_uses(lab: Lab) -> None:
    """The uses of a token are counted; it is replaced in time and never looks itself up."""
    lab.make_role(token_num_uses=3)
    client = lab.client()
    for _ in range(7):
        assert lab.value == client.get_secret(lab.path, "KEY")

    assert lab.route.count("login") == 3
    assert lab.route.count("lookup-self") == 0
    assert lab.route.count("renew-self") == 0


def test_token_of_few_uses_over_threads(lab: Lab) -> None:
    lab.make_role(token_num_uses=3)
    client = lab.client()
    with ThreadPoolExecutor(20) as pool:
        values = list(pool.map(lambda _: client.get_secret(lab.path, "KEY"), range(40)))

    assert [lab.value] * 40 == values
    assert lab.route.count("login") <= 20


def test_revoked_token_costs_one_login(lab: Lab) -> None:
    client = lab.client()
    client.get_secret(lab.path)
    lab.vault.auth.token.revoke_accessor(lab.accessor(client))

    assert lab.value == client.get_secret(lab.path, "KEY")
    assert lab.route.count("login") == 2
    assert "token_lost" in lab.names()


def test_fifty_readers_cause_one_login(lab: Lab) -> None:
    client = lab.client()
    client.get_secret(lab.path)
    lab.vault.auth.token.revoke_accessor(lab.accessor(client))
    barrier = threading.Barrier(50)

    def read(_: int) -> object:
        barrier.wait(10)
        return client.get_secret(lab.path, "KEY")

    with ThreadPoolExecutor(50) as pool:
        assert [lab.value] * 50 == list(pool.map(read, range(50)))
    assert lab.route.count("login") == 2
    assert lab.tokens() == 1


def test_fifty_readers_at_the_start_cause_one_login(lab: Lab) -> None:
    client = lab.client()
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda _: client.get_secret(lab.path), range(50)))

    assert lab.route.count("login") == 1


def test_renewal_that_fails_once(lab: Lab) -> None:
    """A single 500 costs no login: the renewal is repeated in time."""
    lab.make_role(token_ttl="3s")
    client = lab.client()
    client.get_secret(lab.path)
    failing = [http(500, '{"errors":["internal error"]}')]
    with lab.route.answering(
        lambda _kind, path: failing.pop() if failing and "renew-self" in path else None
    ):
        until(lambda: "renewed" in lab.names(), "a renewal")

    assert "renewal_failed" in lab.names()
    assert lab.route.count("login") == 1
    assert lab.value == client.get_secret(lab.path, "KEY")


def test_renewal_of_a_dead_token(lab: Lab) -> None:
    lab.make_role(token_ttl="2s")
    client = lab.client()
    client.get_secret(lab.path)
    lab.vault.auth.token.revoke_accessor(lab.accessor(client))
    until(lambda: lab.route.count("login") == 2, "the second login")

    assert lab.route.count("renew-self") == 1
    assert failures(keep_reading(client, lab, 0.3)) == []


def test_no_right_to_renew(lab: Lab) -> None:
    """A role without the default policy can neither renew nor look up itself, and works."""
    lab.make_role(token_ttl="2s", token_no_default_policy=True, token_policies=lab.role)
    client = lab.client()
    seen = read_until(client, lab, lambda: lab.route.count("login") == 2, "another login")

    assert failures(seen) == []
    assert lab.route.count("renew-self") <= lab.route.count("login")
    assert "token_lost" not in lab.names()


def test_no_right_to_look_itself_up(lab: Lab) -> None:
    """Without that right, a dead token is still told from a denied path."""
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
    assert lab.route.count("login") == 2


@pytest.mark.slow
def test_role_deleted_while_running(lab: Lab) -> None:
    """If renewals fail for good there is no storm but an alarm, and reads until the token ends."""
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
    assert lab.route.count("renew-self") <= seconds + 3
    assert lab.route.count("login", since=started) <= 2


def test_an_expired_token_is_replaced_before_a_request(lab: Lab) -> None:
    lab.make_role(token_ttl="1s")
    client = lab.client(renew=False)
    client.get_secret(lab.path)
    token = client._session().authenticator.current
    assert token is not None
    until(lambda: not token.usable, "its end", 3.0)

    assert lab.value == client.get_secret(lab.path, "KEY")
    assert lab.route.count("login") == 2
    assert lab.route.count("lookup-self") == 0


def test_wall_clock_does_not_matter(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600.0)
    lab.make_role(token_ttl="2s")
    client = lab.client()

    seen = read_until(client, lab, lambda: "renewed" in lab.names(), "a renewal")
    assert failures(seen) == []
    assert lab.route.count("login") == 1


def test_close_gives_the_token_back(lab: Lab) -> None:
    client: VaultClient = lab.client()
    client.get_secret(lab.path)
    assert lab.tokens() == 1
    client.close()

    assert lab.tokens() == 0
    client.close()
    assert not client.health().ok


@pytest.mark.slow
def test_renewal_over_a_slow_line(lab: Lab) -> None:
    lab.make_role(token_ttl="3s")
    client = lab.client()
    client.get_secret(lab.path)
    with lab.route.slow(0.8):
        seen = read_until(client, lab, lambda: lab.names().count("renewed") == 2, "two renewals")

    assert failures(seen) == []
    assert lab.route.count("login") == 1
    assert "token_lost" not in lab.names()


def test_token_is_usable_while_its_renewal_is_under_way(lab: Lab) -> None:
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
