from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles import each_caller_recovers, logins_are_spread, no_stampede
from vault_harness.recorder.fault import RequestKind
from vault_harness.recorder.history import SLACK


def test_a_login_and_a_read_for_each(story: Story) -> None:
    """Each call has one more request."""
    story.several("login", 20.1, 20.2)
    story.several("read", 20.3, 20.4, 20.5)
    story.call(20.5)
    assert story.finds(no_stampede(2, since=20.0, before=10.0)) == []


@pytest.mark.parametrize(
    ("kind", "tokens", "more"),
    [
        pytest.param("renew", ("1", "2"), "renew", id="each new token is renewed once"),
        pytest.param("lookup", ("1", "2"), "renew", id="or looked up"),
        pytest.param("lookup", ("1", "2"), "revoke", id="which makes it no old one"),
        pytest.param("revoke", ("3", "4"), "revoke", id="each old token is given back once"),
        pytest.param("status", ("", ""), "status", id="each instance asks once if Vault serves"),
    ],
)
def test_more_is_granted_once(
    story: Story, kind: RequestKind, tokens: tuple[str, str], more: RequestKind
) -> None:
    for at, token in ((20.1, "1"), (20.2, "2")):
        story.sent("login", at, token=token)
    for at, token in zip((20.12, 20.22), tokens, strict=True):
        story.sent(kind, at, token=token)
    story.several("read", 20.3, 20.4)
    assert story.finds(no_stampede(2, since=20.0, before=10.0)) == []
    story.sent(more, 20.5, token=tokens[0])
    [seen] = story.finds(no_stampede(2, since=20.0, before=10.0))
    assert seen.startswith(f"5 in one second, 4 are allowed: 2 login, 2 read, 1 {more}")


def test_kept_secrets_of_a_herd(story: Story) -> None:
    """Each may read what it keeps fresh."""
    story.sent("read", 1.0, path="/v1/ecommerce/data/backend/django")
    story.sent("read", 1.1, path="/v1/ecommerce/data/shared/email")
    story.call(1.2)
    story.several("login", 20.1, 20.2)
    story.several("read", 20.3, 20.4, 20.5, 20.6)
    assert story.finds(no_stampede(2, since=20.0, before=10.0)) == []
    story.several("read", 20.7)
    [seen] = story.finds(no_stampede(2, since=20.0, before=10.0))
    assert seen.startswith("7 in one second, 6 are allowed")


def looks(story: Story, *began: float) -> None:
    """Add lookups of two instances with their first tokens."""
    for at in began:
        story.sent("lookup", at, token="token-1")
        story.sent("lookup", at + 0.1, token="token-2")


def come_back(story: Story) -> None:
    """Add as many requests of two instances as are granted without a call."""
    story.several("login", 20.1, 20.2)
    story.several("read", 20.3, 20.4)


def test_looks_at_a_pace_from_before_the_outage(story: Story) -> None:
    story.sent("login", 1.0, token="token-1")
    story.sent("login", 1.1, token="token-2")
    looks(story, 3.0, 4.2, 5.4)
    come_back(story)
    looks(story, 20.3)
    assert story.finds(no_stampede(2, since=20.0, before=10.0)) == []
    story.sent("lookup", 20.6, token="token-1")
    [seen] = story.finds(no_stampede(2, since=20.0, before=10.0))
    assert seen.startswith("7 in one second, 6 are allowed")


@pytest.mark.parametrize("at", [1.5, 10.5], ids=["for a login", "in the outage"])
def test_looks_that_show_no_pace(story: Story, at: float) -> None:
    """Lookups of a new token, or during the outage, show none."""
    story.sent("login", 1.0, token="token-1")
    story.sent("login", 1.1, token="token-2")
    looks(story, at)
    come_back(story)
    looks(story, 20.5)
    [seen] = story.finds(no_stampede(2, since=20.0, before=10.0))
    assert seen.startswith("6 in one second, 4 are allowed")


def test_a_pace_grants_nothing_else(story: Story) -> None:
    story.sent("login", 1.0, token="token-1")
    story.sent("login", 1.1, token="token-2")
    looks(story, 3.0, 4.2, 5.4)
    come_back(story)
    story.several("read", 20.5)
    [seen] = story.finds(no_stampede(2, since=20.0, before=10.0))
    assert seen.startswith("5 in one second, 4 are allowed")


@pytest.mark.parametrize(("close", "seen"), [(17, []), (18, ["18 logged in within 0.17 s"])])
def test_close_by_chance(story: Story, close: int, seen: list[str]) -> None:
    """Of twenty, seventeen may come within 0.3 s."""
    story.several("login", *(20.0 + number / 100 for number in range(close)))
    story.several("login", *(25.0 + number for number in range(20 - close)))
    assert story.finds(logins_are_spread(20, since=10.0)) == seen


def test_a_herd_that_never_logs_in_shows_nothing(story: Story) -> None:
    [seen] = story.finds(logins_are_spread(4, since=10.0))
    assert "there was no login" in seen


def test_a_caller_that_is_left_behind(story: Story) -> None:
    """Each that read before must read again in time."""
    for caller, at in ((1, 5.0), (2, 5.1), (1, 21.0), (2, 24.0)):
        story.call(at).caller = caller
    [seen] = story.finds(each_caller_recovers(2.0, since=20.0))
    assert "1 of 2 callers had none" in seen
    assert story.finds(each_caller_recovers(4.5, since=20.0)) == []


def test_by_how_much_the_last_caller_was_late(story: Story) -> None:
    """It is told only if that caller was served in the end."""
    oracle = each_caller_recovers(2.0, since=20.0)
    for caller, at in ((1, 5.0), (2, 5.1), (3, 5.2), (1, 21.0), (2, 22.5)):
        story.call(at).caller = caller
    [finding] = oracle(story.history)
    assert finding.missed is None
    last = story.call(23.0)
    last.caller = 3
    assert last.ended is not None
    [finding] = oracle(story.history)
    assert finding.missed == pytest.approx(last.ended - 22.0 - SLACK)


def test_a_crowd_that_there_was_no_time_to_take(story: Story) -> None:
    """Logins count when they came, not when they were read."""
    story.several("login", 20.0, 20.4, 20.8, 21.2)
    assert story.finds(logins_are_spread(4, since=10.0)) == []
    for number, login in enumerate(story.history.exchanges):
        login.waited = login.began - 20.0 - number / 100
    assert story.finds(logins_are_spread(4, since=10.0)) == ["4 logged in within 0.03 s"]


def test_a_crowd_that_did_not_wait_for_all_answers(story: Story) -> None:
    """Logins that were given up count."""
    story.several("login", 20.0, 20.1)
    left = [story.sent("login", 20.2, status=None), story.sent("login", 20.25, status=None)]
    assert story.finds(logins_are_spread(4, since=10.0)) == []
    for login in left:
        login.closed = "client"
    assert story.finds(logins_are_spread(4, since=10.0)) == ["4 logged in within 0.25 s"]


def test_a_smaller_share_may_come_at_once(story: Story) -> None:
    story.several("login", 20.0, 20.2, 20.6, 21.0)
    assert story.finds(logins_are_spread(4, since=10.0, share=0.5)) == []
    story.several("login", 21.1, 21.2)
    [seen] = story.finds(logins_are_spread(4, since=10.0, share=0.5))
    assert seen == "3 logged in within 0.20 s"
