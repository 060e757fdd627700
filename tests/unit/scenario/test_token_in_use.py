"""Which token a scenario loses under reads: the token that the next read carries."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from tests.unit.scenario.conftest import Story
from vault_harness.judge.helpers.lives import accessor_in_use
from vault_harness.judge.lab import Lab


def in_use(story: Story) -> str:
    """Return the accessor of the token in use at 20 s."""
    last = story.history.last_token()
    lab = SimpleNamespace(
        history=story.history,
        recorder=SimpleNamespace(accessor=lambda token: f"accessor of {token}" if token else None),
        tokens=SimpleNamespace(accessor=lambda: last.accessor if last is not None else ""),
    )
    return accessor_in_use(cast("Lab", lab), at=20.0)


def login(story: Story, began: float, token: str, *, ended: float | None = None) -> None:
    ended = began + 0.01 if ended is None else ended
    story.sent("login", began, ended=ended, token=token, accessor=f"accessor of {token}")


def test_token_of_the_last_good_read(story: Story) -> None:
    """The newer token has no good read."""
    login(story, 10.0, "token-1")
    login(story, 12.0, "token-2")
    story.sent("read", 15.0, token="token-1")
    story.sent("read", 16.0, 403, token="token-2")
    assert in_use(story) == "accessor of token-1"


def test_token_that_has_just_come(story: Story) -> None:
    login(story, 10.0, "token-1")
    story.sent("read", 19.9, token="token-1")
    login(story, 19.95, "token-2")
    assert in_use(story) == "accessor of token-2"


def test_a_token_of_an_unanswered_login_is_not_in_use(story: Story) -> None:
    login(story, 10.0, "token-1")
    story.sent("read", 19.9, token="token-1")
    login(story, 19.99, "token-2", ended=20.01)
    assert in_use(story) == "accessor of token-1"


def test_without_a_read_the_last_logins_token_is_in_use(story: Story) -> None:
    login(story, 10.0, "token-1")
    assert in_use(story) == "accessor of token-1"
