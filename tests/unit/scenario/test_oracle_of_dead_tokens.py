"""No request with a token that is known to be dead: who may know it, and from when on."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.faults import Signature
from vault_harness.scenario.history import GRAIN
from vault_harness.scenario.observations import Handshake
from vault_harness.scenario.oracles._dead_tokens import PATIENCE
from vault_harness.scenario.oracles.standing import NEWS, no_request_with_a_dead_token

DEADLINE = 2.0

POLICY = ("1 error occurred:\n\t* permission denied\n\n",)
"""What Vault says where a policy denies something to a living token."""

UPSTREAM = Signature(unanswered=True, late=1.0, statuses=frozenset({500, 503}))
"""A fault behind the recorder: what Vault has answered gets through."""

CUT, SLOW = Signature(answers_late=inf), Signature(answers_late=0.3)
"""Faults in front of it."""


def found(story: Story) -> int:
    """Whether there is such a request."""
    return len(story.finds(no_request_with_a_dead_token(DEADLINE)))


def replaced(story: Story, *, kind: str = "lookup", status: int = 403) -> float:
    """Token 1 is called dead at 2.0 s, token 2 is there at 2.2 s; from when on 1 must not be seen.

    Args:
        story: The history.
        kind: How it was found out.
        status: What Vault answered.
    """
    story.sent("login", 1.0, token="token-1")
    path = f"auth/token/{kind}-self"
    story.sent(kind, 2.0, status, token="token-1", path=path)  # type: ignore[arg-type] # one of the kinds
    story.sent("login", 2.1, ended=2.2, token="token-2")
    return 2.2 + NEWS + GRAIN


def used(story: Story, at: float, *, found_then: int) -> None:
    """Token 1 is sent then, which is found or not."""
    story.sent("read", at, 403, token="token-1")
    assert found(story) == found_then


# Who is told


@pytest.mark.parametrize(
    ("kind", "status", "dead"),
    [
        ("lookup", 403, 1),
        ("renew", 403, 1),
        ("revoke", 204, 1),
        ("lookup", 200, 0),
        ("renew", 500, 0),
        ("revoke", 403, 0),
        ("read", 403, 0),
    ],
)
def test_token_that_was_called_dead(story: Story, kind: str, status: int, dead: int) -> None:
    """A refused read alone may be a matter of policy."""
    used(story, replaced(story, kind=kind, status=status) + 0.01, found_then=dead)


def test_call_that_was_about_to_be_sent(story: Story) -> None:
    """News takes a moment."""
    used(story, replaced(story) - 0.01, found_then=0)


@pytest.mark.parametrize(("late", "again"), [(NEWS - 0.01, True), (NEWS + 0.01, False)])
def test_call_that_got_no_core(story: Story, late: float, *, again: bool) -> None:
    """For as long again it counts if it is found once more."""
    known = replaced(story)
    for at in (known + 0.01, known + late):
        story.sent("read", at, 403, token="token-1")
    (finding,) = no_request_with_a_dead_token(DEADLINE)(story.history)
    assert finding.repeated is again


def test_call_that_got_no_core_hides_no_other(story: Story) -> None:
    """The next token is sent long after it was replaced: that counts as it is."""
    story.sent("read", replaced(story) + 0.01, 403, token="token-1")
    story.sent("lookup", 4.0, 403, token="token-2", path="auth/token/lookup-self")
    story.sent("login", 4.1, ended=4.2, token="token-3")
    story.sent("read", 8.0, 403, token="token-2")
    (finding,) = no_request_with_a_dead_token(DEADLINE)(story.history)
    assert "token-2" in finding.seen
    assert not finding.repeated


def test_dead_token_without_a_successor(story: Story) -> None:
    """It has nothing else to send."""
    story.sent("login", 1.0, token="token-1")
    story.sent("lookup", 2.0, 403, token="token-1")
    used(story, 9.0, found_then=0)


def test_token_that_it_gave_back(story: Story) -> None:
    """Who ended it itself needs no other to know."""
    story.sent("login", 1.0, token="token-1")
    story.sent("revoke", 2.0, 204, token="token-1", path="auth/token/revoke-self")
    used(story, 2.01 + NEWS, found_then=0)
    used(story, 2.01 + NEWS + GRAIN + 0.01, found_then=1)


def test_look_or_renewal_that_the_policy_denies(story: Story) -> None:
    """The token lives: it may not renew itself, as Vault's words tell."""
    story.sent("login", 1.0, token="token-1")
    story.sent("renew", 2.0, 403, token="token-1").errors = POLICY
    story.sent("login", 2.1, token="token-2")
    used(story, 9.0, found_then=0)


def test_token_that_is_served_afterwards(story: Story) -> None:
    """It was not dead, whatever was said."""
    replaced(story)
    story.sent("read", 8.0, 200, token="token-1")
    used(story, 9.0, found_then=0)


def test_denial_in_the_place_of_vault(story: Story) -> None:
    """What the harness answers itself says nothing of a token."""
    story.sent("login", 1.0, token="token-1")
    story.sent("renew", 2.0, 403, token="token-1", by="stub")
    story.sent("login", 2.1, token="token-2")
    used(story, 9.0, found_then=0)


def test_dead_token_that_a_cache_hands_out_again(story: Story) -> None:
    """What a login gives is used, until that is called dead in its turn."""
    replaced(story)
    story.sent("login", 5.0, token="token-1")
    used(story, 5.1, found_then=0)
    story.sent("lookup", 5.2, 403, token="token-1")
    story.sent("login", 5.3, token="token-3")
    used(story, 9.0, found_then=1)


# Who was there to hear it


def given_back_slowly(story: Story, took: float) -> float:
    """Token 1 is given back at 2.0 s, over connection 1; when the answer comes, after so long."""
    story.sent("login", 1.0, token="token-1")
    ended = 2.0 + took
    path = "auth/token/revoke-self"
    story.sent("revoke", 2.0, 204, token="token-1", path=path, ended=ended)
    return ended


def sent_once_more(story: Story, at: float, *, connection: int = 2, waited: float = 0.0) -> int:
    """The client sends it once more; whether that is found."""
    story.sent("revoke", at, 403, token="token-1", connection=connection, waited=waited)
    return found(story)


def test_request_that_came_before_the_answer(story: Story) -> None:
    """It lay in a queue until long after it, behind two hundred others."""
    ended = given_back_slowly(story, 0.4)
    assert sent_once_more(story, ended + 3.0, waited=3.1) == 0


def test_request_that_came_after_the_answer_and_lay_in_a_queue(story: Story) -> None:
    """The queue excuses what it held up, and no more."""
    ended = given_back_slowly(story, 0.4)
    assert sent_once_more(story, ended + 3.0, waited=2.0) == 1


def test_answer_that_nobody_may_have_waited_for(story: Story) -> None:
    """A client may have given it up a moment before; it says so by nothing."""
    ended = given_back_slowly(story, PATIENCE + 0.01)
    assert sent_once_more(story, ended + 0.4) == 0


def test_answer_that_comes_soon_enough_for_anybody(story: Story) -> None:
    """No client gives up so early."""
    ended = given_back_slowly(story, PATIENCE - 0.01)
    assert sent_once_more(story, ended + 0.4) == 1


def test_slow_answer_after_which_its_connection_is_used(story: Story) -> None:
    """Over one that brought no answer nothing is asked any more."""
    ended = given_back_slowly(story, PATIENCE + 0.01)
    assert sent_once_more(story, ended + 0.4, connection=1) == 1


def test_slow_answer_over_a_connection_with_streams(story: Story) -> None:
    """Of HTTP/2 one of them is given up, and the next takes another."""
    story.history.handshakes.append(Handshake(0.5, 1, "h2"))
    ended = given_back_slowly(story, PATIENCE + 0.01)
    assert sent_once_more(story, ended + 0.4, connection=1) == 0


def test_login_that_nobody_may_have_waited_for(story: Story) -> None:
    """Its token is there when it is used."""
    story.sent("login", 1.0, token="token-1")
    story.sent("lookup", 2.0, 403, token="token-1")
    story.sent("login", 2.1, ended=2.2 + PATIENCE, token="token-2", connection=2)
    used(story, 5.0, found_then=0)
    story.sent("read", 3.0, 200, token="token-2", connection=3)
    assert found(story) == 1


# When the new token was there


def test_token_that_is_called_dead_when_another_is_there(story: Story) -> None:
    """Who has replaced it before needs no further login to know."""
    story.sent("login", 1.0, token="token-1")
    story.sent("login", 2.0, token="token-2")
    story.sent("lookup", 3.0, 403, token="token-1")
    used(story, 3.01 + NEWS, found_then=0)
    used(story, 3.01 + NEWS + GRAIN + 0.01, found_then=1)


@pytest.mark.parametrize("verb", ["start", "fork"])
def test_token_of_another_instance(story: Story, verb: str) -> None:
    """Where there are several, an earlier login may be another one's."""
    for _ in range(2):
        story.call(0.5, verb=verb)
    story.sent("login", 1.0, token="token-1")
    story.sent("login", 2.0, token="token-2")
    story.sent("lookup", 3.0, 403, token="token-1")
    used(story, 9.0, found_then=0)


def test_token_of_a_herd(story: Story) -> None:
    """The first login of two may be somebody else's; the second is not."""
    story.history.clients = 2
    known = replaced(story)
    used(story, known + 0.01, found_then=0)
    story.sent("login", known + 0.1, ended=known + 0.2, token="token-3")
    used(story, known + 0.2 + NEWS + GRAIN + 0.01, found_then=1)


def test_older_token_is_no_successor(story: Story) -> None:
    """It was there before the one that died."""
    story.sent("login", 0.5, token="token-0")
    story.sent("login", 1.0, token="token-1")
    story.sent("lookup", 3.0, 403, token="token-1")
    used(story, 9.0, found_then=0)


# Faults


def test_fault_behind_the_recorder_excuses_nothing(story: Story) -> None:
    """A seal, a dead server, a revoked token: what Vault said has reached the client."""
    story.fault(UPSTREAM, began=0.5, ended=None)
    used(story, replaced(story) + 0.01, found_then=1)


@pytest.mark.parametrize("closed", ["client", "server"])
@pytest.mark.parametrize("which", [1, 2])
def test_answer_that_was_lost(story: Story, closed: str, which: int) -> None:
    """Of a denial, or of a login, that nobody has heard, nobody can know."""
    replaced(story)
    story.history.exchanges[which].closed = closed  # type: ignore[assignment] # one of both
    used(story, 9.0, found_then=0)


def test_cut_link_may_lose_what_was_said(story: Story) -> None:
    """It was cut while the denial was on its way; the next one counts, once the link is up."""
    story.fault(CUT, began=2.05, ended=5.0)
    replaced(story)
    story.sent("read", 5.5, 200, token="token-2")
    used(story, 6.0, found_then=0)
    story.sent("lookup", 7.0, 403, token="token-1")
    used(story, 7.01 + NEWS + GRAIN + 0.01, found_then=1)


def test_login_over_a_bad_link_has_come_if_its_token_is_used(story: Story) -> None:
    """Then it is known, although requests of before may come until the link is well."""
    story.fault(CUT, began=2.05, ended=5.0)
    story.sent("login", 1.0, token="token-1")
    story.sent("lookup", 1.5, 403, token="token-1")
    story.sent("login", 2.1, token="token-2")
    used(story, 6.0, found_then=0)
    story.sent("read", 2.5, 200, token="token-2")
    assert found(story) == 1


def test_request_that_a_bad_link_holds_up(story: Story) -> None:
    """What was sent before the news may come at the end of it."""
    story.fault(CUT, began=2.3, ended=5.0)
    replaced(story)
    story.sent("read", 2.25, 200, token="token-2")
    used(story, 5.0 + NEWS, found_then=0)
    used(story, 5.0 + NEWS + GRAIN + 0.01, found_then=1)


def test_slow_link(story: Story) -> None:
    """The news is late by what the link takes, and a call may wait for a connection meanwhile."""
    story.fault(SLOW, began=0.5, ended=20.0)
    replaced(story)
    known = 2.2 + 0.3 + DEADLINE + NEWS + GRAIN
    used(story, known - 0.01, found_then=0)
    used(story, known + 0.01, found_then=1)


def test_slow_link_that_is_mended(story: Story) -> None:
    """No longer than it lasts."""
    story.fault(SLOW, began=0.5, ended=3.0)
    replaced(story)
    used(story, 3.0 + NEWS, found_then=0)
    used(story, 3.0 + NEWS + GRAIN + 0.01, found_then=1)


def test_link_that_is_slower_than_anybody_waits(story: Story) -> None:
    """Both answers come when their calls have ended."""
    story.fault(Signature(answers_late=2 * DEADLINE), began=0.5, ended=3.0)
    replaced(story)
    used(story, 9.0, found_then=0)


def test_of_many_dead_tokens_the_history_is_searched_once(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred clients that end give theirs back, after tens of thousands of requests."""
    searched, find = [], story.history.find

    def counted(*kinds: Any, **said: Any) -> list[Any]:
        searched.append(kinds)
        return find(*kinds, **said)

    for number in range(60):
        token, path = f"token-{number}", "auth/token/revoke-self"
        story.sent("revoke", 2.0 + number, 204, token=token, path=path)
    monkeypatch.setattr(story.history, "find", counted)
    assert found(story) == 0
    assert len(searched) < 10
