"""Which tokens a subject holds at its end, and must give back."""

from __future__ import annotations

from tests.unit.scenario.conftest import Story
from vault_harness.scenario.closing import tokens_held
from vault_harness.scenario.observations import Stall
from vault_harness.scenario.oracles.standing import NEWS


def login(story: Story, began: float, token: str, *, ended: float | None = None) -> None:
    """An accepted one."""
    story.sent("login", began, token=token, ended=began + 0.01 if ended is None else ended)


def use(story: Story, began: float, token: str) -> None:
    """A read with it."""
    story.sent("read", began, token=token)


def test_token_in_use(story: Story) -> None:
    """It is the subject's."""
    login(story, 1.0, "token-1")
    use(story, 2.0, "token-1")
    assert tokens_held(story.history) == ["token-1"]


def test_token_that_never_came(story: Story) -> None:
    """The answer to its login was lost: nobody used it."""
    login(story, 1.0, "token-1")
    assert tokens_held(story.history) == []


def test_token_that_was_given_back(story: Story) -> None:
    """There is nothing left to hold; a revocation that was refused gives nothing back."""
    login(story, 1.0, "token-1")
    use(story, 2.0, "token-1")
    story.sent("revoke", 3.0, 403, token="token-1")
    assert tokens_held(story.history) == ["token-1"]
    story.sent("revoke", 4.0, 204, token="token-1")
    assert tokens_held(story.history) == []


def test_token_that_was_replaced(story: Story) -> None:
    """It may live out its time, also if a call used it a moment after the new one came."""
    login(story, 1.0, "token-1")
    use(story, 2.0, "token-1")
    login(story, 3.0, "token-2", ended=3.2)
    use(story, 3.1, "token-1")
    use(story, 3.2 + NEWS - 0.01, "token-1")
    use(story, 4.0, "token-2")
    assert tokens_held(story.history) == ["token-2"]


def test_token_that_was_replaced_while_the_machine_stood_still(story: Story) -> None:
    """Who was about to send it had no core for a while, which is nobody's fault."""
    login(story, 1.0, "token-1")
    login(story, 3.0, "token-2", ended=3.2)
    use(story, 3.2 + NEWS + 0.2, "token-1")
    use(story, 4.0, "token-2")
    assert tokens_held(story.history) == ["token-1", "token-2"]
    story.history.stalls.append(Stall(3.3, 0.2))
    assert tokens_held(story.history) == ["token-2"]


def test_two_tokens_in_use(story: Story) -> None:
    """Two instances, or a client that logs in too often: both are held."""
    login(story, 1.0, "token-1")
    login(story, 1.5, "token-2")
    for at in (2.0, 3.0):
        use(story, at, "token-1")
        use(story, at, "token-2")
    assert tokens_held(story.history) == ["token-1", "token-2"]


def test_token_that_was_replaced_as_it_was_closed(story: Story) -> None:
    """The new token is first used to be given back; a login of the end itself replaces nothing."""
    login(story, 1.0, "token-1")
    use(story, 2.0, "token-1")
    login(story, 3.0, "token-2")
    assert tokens_held(story.history) == ["token-1"]
    story.sent("revoke", 3.2, 204, token="token-2")
    assert tokens_held(story.history, replaced_before=3.1) == []
    assert tokens_held(story.history, replaced_before=2.9) == ["token-1"]
