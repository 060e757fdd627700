"""Which tokens a subject holds at its end, and must give back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.faults import RequestKind, Signature
from vault_harness.scenario._asking import Asking
from vault_harness.scenario.closing import _closed, tokens_held
from vault_harness.scenario.observations import Stall
from vault_harness.scenario.oracles.standing import NEWS
from vault_harness.scenario.verdict import Finding


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


def test_new_token_that_came_late(story: Story) -> None:
    """Where answers are held up the old one is used until the new one is there."""
    login(story, 1.0, "token-1")
    login(story, 12.0, "token-2")
    use(story, 13.0, "token-1")
    use(story, 13.5, "token-2")
    assert tokens_held(story.history) == ["token-1", "token-2"]
    story.fault(Signature(answers_late=2.0))
    assert tokens_held(story.history) == ["token-2"]
    use(story, 14.0, "token-1")
    assert "token-1" in tokens_held(story.history)


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


class Closing:
    """An instance, and what happens while it is closed."""

    closed = False

    def __init__(self, story: Story, *sent: tuple[RequestKind, str]) -> None:
        self.story, self.sent = story, sent

    def close(self, *, timeout: float) -> None:
        """It takes no time."""
        assert timeout > 0
        for kind, token in self.sent:
            now = self.story.history.now()
            self.story.sent(kind, now, token=token, ended=now)
        self.closed = True


@pytest.mark.parametrize(
    ("first", "last", "left"),
    [
        pytest.param(
            [("login", "token-3"), ("revoke", "token-1")], [("revoke", "token-3")], 0, id="before"
        ),
        pytest.param(
            [("revoke", "token-1")], [("login", "token-3"), ("revoke", "token-3")], 1, id="by then"
        ),
    ],
)
def test_token_that_was_replaced_while_another_instance_was_closed(
    story: Story,
    first: list[tuple[RequestKind, str]],
    last: list[tuple[RequestKind, str]],
    left: int,
) -> None:
    """The last to be closed went on until then, and its old token may live out its time."""
    login(story, 1.0, "token-1")
    login(story, 1.5, "token-2")
    for at in (2.0, 3.0):
        use(story, at, "token-1")
        use(story, at, "token-2")
    found: list[Finding] = []
    drivers = [Closing(story, *first), Closing(story, *last)]
    lab = SimpleNamespace(
        history=story.history,
        drivers=drivers,
        client=drivers[-1],
        deadline=2.0,
        recorder=SimpleNamespace(accessor=lambda token: f"of {token}"),
        token_lives=lambda accessor: accessor == "of token-2",
        leaves=lambda _: False,
        require=lambda *_: None,
        note=found.append,
    )
    _closed(cast("Asking", lab))
    assert [finding.seen for finding in found] == (
        ["1 token of it alive after close: token-2"] if left else []
    )
