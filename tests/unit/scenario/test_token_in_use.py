"""Which token is lost where one is to be lost under reads: that which the next read has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from tests.unit.scenario.conftest import Story
from vault_harness.scenario import Lab
from vault_harness.scenario.helpers import accessor_in_use


def in_use(story: Story) -> str:
    """The accessor of the token that is in use at 20 s."""
    last = story.history.last_token()
    lab = SimpleNamespace(
        history=story.history,
        recorder=SimpleNamespace(accessor=lambda token: f"accessor of {token}" if token else None),
        accessor=lambda: last.accessor if last is not None else "",
    )
    return accessor_in_use(cast("Lab", lab), at=20.0)


def login(story: Story, began: float, token: str, *, ended: float | None = None) -> None:
    """A login that Vault accepted."""
    ended = began + 0.01 if ended is None else ended
    story.sent("login", began, ended=ended, token=token, accessor=f"accessor of {token}")


def test_token_of_the_last_good_read(story: Story) -> None:
    """A later login's answer may have been lost, and then nobody has its token."""
    login(story, 10.0, "token-1")
    login(story, 12.0, "token-2")
    story.sent("read", 15.0, token="token-1")
    story.sent("read", 16.0, 403, token="token-2")
    assert in_use(story) == "accessor of token-1"


def test_token_that_has_just_come(story: Story) -> None:
    """With it the next read is sent, and with the one before none."""
    login(story, 10.0, "token-1")
    story.sent("read", 19.9, token="token-1")
    login(story, 19.95, "token-2")
    assert in_use(story) == "accessor of token-2"


def test_token_that_is_on_its_way(story: Story) -> None:
    """Its answer is held up from 20 s on: until it comes, reads have the one before."""
    login(story, 10.0, "token-1")
    story.sent("read", 19.9, token="token-1")
    login(story, 19.99, "token-2", ended=20.01)
    assert in_use(story) == "accessor of token-1"


def test_token_of_who_has_not_read(story: Story) -> None:
    """It is that of the last login."""
    login(story, 10.0, "token-1")
    assert in_use(story) == "accessor of token-1"
