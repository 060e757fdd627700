"""The oracle on requests with a dead token: from when on a client knows that it is dead."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles.standing import NEWS, no_request_with_a_dead_token
from vault_harness.judge.oracles.tokens import PATIENCE
from vault_harness.recorder.fault import Signature
from vault_harness.recorder.history import SLACK
from vault_harness.recorder.observations import Handshake

DEADLINE = 2.0

POLICY = ("1 error occurred:\n\t* permission denied\n\n",)
"""Vault's answer if a policy denies something to a living token."""

UPSTREAM = Signature(unanswered=True, late=1.0, statuses=frozenset({500, 503}))
"""A fault behind the recorder, which Vault's answers pass."""

CUT, SLOW = Signature(answers_late=inf), Signature(answers_late=0.3)
"""Faults in front of the recorder."""


def found(story: Story) -> int:
    return len(story.finds(no_request_with_a_dead_token(DEADLINE)))


def replaced(story: Story, *, kind: str = "lookup", status: int = 403) -> float:
    """Let Vault call token 1 dead at 2.0 s, and give token 2 at 2.2 s.

    `kind` and `status` are the request and the answer that tell of the death.
    Return the time from which on token 1 must not be sent.
    """
    story.sent("login", 1.0, token="token-1")
    path = f"auth/token/{kind}-self"
    story.sent(kind, 2.0, status, token="token-1", path=path)  # type: ignore[arg-type] # a kind
    story.sent("login", 2.1, ended=2.2, token="token-2")
    return 2.2 + NEWS + SLACK


def used(story: Story, at: float, *, found_then: int) -> None:
    """Send token 1 at this time, and check the number of findings."""
    story.sent("read", at, 403, token="token-1")
    assert found(story) == found_then


# How the client learns of it


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
    """A refused read may be a matter of policy."""
    used(story, replaced(story, kind=kind, status=status) + 0.01, found_then=dead)


def test_call_that_was_about_to_be_sent(story: Story) -> None:
    """The call began within a moment after the news."""
    used(story, replaced(story) - 0.01, found_then=0)


def test_dead_token_without_a_successor(story: Story) -> None:
    """It may be sent again."""
    story.sent("login", 1.0, token="token-1")
    story.sent("lookup", 2.0, 403, token="token-1")
    used(story, 9.0, found_then=0)


def test_token_that_it_gave_back(story: Story) -> None:
    """It must not send it, even without a successor."""
    story.sent("login", 1.0, token="token-1")
    story.sent("revoke", 2.0, 204, token="token-1", path="auth/token/revoke-self")
    used(story, 2.01 + NEWS, found_then=0)
    used(story, 2.01 + NEWS + SLACK + 0.01, found_then=1)


def test_look_or_renewal_that_the_policy_denies(story: Story) -> None:
    story.sent("login", 1.0, token="token-1")
    story.sent("renew", 2.0, 403, token="token-1").errors = POLICY
    story.sent("login", 2.1, token="token-2")
    used(story, 9.0, found_then=0)


def test_token_that_is_served_afterwards(story: Story) -> None:
    replaced(story)
    story.sent("read", 8.0, 200, token="token-1")
    used(story, 9.0, found_then=0)


def test_denial_in_the_place_of_vault(story: Story) -> None:
    """A stub calls no token dead."""
    story.sent("login", 1.0, token="token-1")
    story.sent("renew", 2.0, 403, token="token-1", by="stub")
    story.sent("login", 2.1, token="token-2")
    used(story, 9.0, found_then=0)


def test_dead_token_that_a_cache_hands_out_again(story: Story) -> None:
    """It is alive until it is called dead again."""
    replaced(story)
    story.sent("login", 5.0, token="token-1")
    used(story, 5.1, found_then=0)
    story.sent("lookup", 5.2, 403, token="token-1")
    story.sent("login", 5.3, token="token-3")
    used(story, 9.0, found_then=1)


# Whether the client heard the answer


def given_back_slowly(story: Story, took: float) -> float:
    """Revoke token 1 at 2.0 s over connection 1, and return when the answer comes."""
    story.sent("login", 1.0, token="token-1")
    ended = 2.0 + took
    path = "auth/token/revoke-self"
    story.sent("revoke", 2.0, 204, token="token-1", path=path, ended=ended)
    return ended


def sent_once_more(story: Story, at: float, *, connection: int = 2, waited: float = 0.0) -> int:
    """Send token 1 again, and return how many findings there are."""
    story.sent("revoke", at, 403, token="token-1", connection=connection, waited=waited)
    return found(story)


def test_request_that_came_before_the_answer(story: Story) -> None:
    """It waited in a queue, and counts when it came."""
    ended = given_back_slowly(story, 0.4)
    assert sent_once_more(story, ended + 3.0, waited=3.1) == 0


def test_request_that_came_after_the_answer_and_lay_in_a_queue(story: Story) -> None:
    """The queue excuses no more than its own delay."""
    ended = given_back_slowly(story, 0.4)
    assert sent_once_more(story, ended + 3.0, waited=2.0) == 1


def test_a_client_may_have_given_up_on_a_late_answer(story: Story) -> None:
    ended = given_back_slowly(story, PATIENCE + 0.01)
    assert sent_once_more(story, ended + 0.4) == 0


def test_answer_that_comes_soon_enough_for_anybody(story: Story) -> None:
    """No client gives up so early."""
    ended = given_back_slowly(story, PATIENCE - 0.01)
    assert sent_once_more(story, ended + 0.4) == 1


def test_slow_answer_after_which_its_connection_is_used(story: Story) -> None:
    """The answer was heard."""
    ended = given_back_slowly(story, PATIENCE + 0.01)
    assert sent_once_more(story, ended + 0.4, connection=1) == 1


def test_slow_answer_over_a_connection_with_streams(story: Story) -> None:
    """HTTP/2 uses a connection again even if the client gave up a stream."""
    story.history.handshakes.append(Handshake(0.5, 1, "h2"))
    ended = given_back_slowly(story, PATIENCE + 0.01)
    assert sent_once_more(story, ended + 0.4, connection=1) == 0


def test_a_late_logins_token_is_known_once_it_is_used(story: Story) -> None:
    story.sent("login", 1.0, token="token-1")
    story.sent("lookup", 2.0, 403, token="token-1")
    story.sent("login", 2.1, ended=2.2 + PATIENCE, token="token-2", connection=2)
    used(story, 5.0, found_then=0)
    story.sent("read", 3.0, 200, token="token-2", connection=3)
    assert found(story) == 1


# When the client has the new token


def test_token_that_is_called_dead_when_another_is_there(story: Story) -> None:
    """No further login is needed."""
    story.sent("login", 1.0, token="token-1")
    story.sent("login", 2.0, token="token-2")
    story.sent("lookup", 3.0, 403, token="token-1")
    used(story, 3.01 + NEWS, found_then=0)
    used(story, 3.01 + NEWS + SLACK + 0.01, found_then=1)


@pytest.mark.parametrize("verb", ["start", "fork"])
def test_token_of_another_instance(story: Story, verb: str) -> None:
    """An earlier login may belong to another instance."""
    for _ in range(2):
        story.call(0.5, verb=verb)
    story.sent("login", 1.0, token="token-1")
    story.sent("login", 2.0, token="token-2")
    story.sent("lookup", 3.0, 403, token="token-1")
    used(story, 9.0, found_then=0)


def test_token_of_a_herd(story: Story) -> None:
    """In a herd of two, the second login shows that each has a new token."""
    story.history.clients = 2
    known = replaced(story)
    used(story, known + 0.01, found_then=0)
    story.sent("login", known + 0.1, ended=known + 0.2, token="token-3")
    used(story, known + 0.2 + NEWS + SLACK + 0.01, found_then=1)


def test_older_token_is_no_successor(story: Story) -> None:
    story.sent("login", 0.5, token="token-0")
    story.sent("login", 1.0, token="token-1")
    story.sent("lookup", 3.0, 403, token="token-1")
    used(story, 9.0, found_then=0)


# Faults


def test_fault_behind_the_recorder_excuses_nothing(story: Story) -> None:
    """Vault's answer is not hidden."""
    story.fault(UPSTREAM, began=0.5, ended=None)
    used(story, replaced(story) + 0.01, found_then=1)


@pytest.mark.parametrize("closed", ["client", "server"])
@pytest.mark.parametrize("which", [1, 2])
def test_answer_that_was_lost(story: Story, closed: str, which: int) -> None:
    """The client does not know it."""
    replaced(story)
    story.history.exchanges[which].closed = closed  # type: ignore[assignment] # a side
    used(story, 9.0, found_then=0)


def test_cut_link_may_lose_what_was_said(story: Story) -> None:
    """The next news counts once the link is up."""
    story.fault(CUT, began=2.05, ended=5.0)
    replaced(story)
    story.sent("read", 5.5, 200, token="token-2")
    used(story, 6.0, found_then=0)
    story.sent("lookup", 7.0, 403, token="token-1")
    used(story, 7.01 + NEWS + SLACK + 0.01, found_then=1)


def test_login_over_a_bad_link_has_come_if_its_token_is_used(story: Story) -> None:
    """Only then is the login known to be heard."""
    story.fault(CUT, began=2.05, ended=5.0)
    story.sent("login", 1.0, token="token-1")
    story.sent("lookup", 1.5, 403, token="token-1")
    story.sent("login", 2.1, token="token-2")
    used(story, 6.0, found_then=0)
    story.sent("read", 2.5, 200, token="token-2")
    assert found(story) == 1


def test_request_that_a_bad_link_holds_up(story: Story) -> None:
    story.fault(CUT, began=2.3, ended=5.0)
    replaced(story)
    story.sent("read", 2.25, 200, token="token-2")
    used(story, 5.0 + NEWS, found_then=0)
    used(story, 5.0 + NEWS + SLACK + 0.01, found_then=1)


def test_slow_link(story: Story) -> None:
    """A call may wait for a connection."""
    story.fault(SLOW, began=0.5, ended=20.0)
    replaced(story)
    known = 2.2 + 0.3 + DEADLINE + NEWS + SLACK
    used(story, known - 0.01, found_then=0)
    used(story, known + 0.01, found_then=1)


def test_a_slow_link_delays_the_news(story: Story) -> None:
    story.fault(SLOW, began=0.5, ended=3.0)
    replaced(story)
    used(story, 3.0 + NEWS, found_then=0)
    used(story, 3.0 + NEWS + SLACK + 0.01, found_then=1)


def test_link_that_is_slower_than_anybody_waits(story: Story) -> None:
    """Both answers are hidden."""
    story.fault(Signature(answers_late=2 * DEADLINE), began=0.5, ended=3.0)
    replaced(story)
    used(story, 9.0, found_then=0)


def test_of_many_dead_tokens_the_history_is_searched_once(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
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
