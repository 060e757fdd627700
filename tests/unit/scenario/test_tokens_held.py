"""Which tokens a subject holds at its end, and must give back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.faults import RequestKind, Signature
from vault_harness.scenario._asking import Asking
from vault_harness.scenario.closing import _closed, tokens_held
from vault_harness.scenario.conditions import Condition, look
from vault_harness.scenario.history import GRAIN
from vault_harness.scenario.observations import Operation, Outcome, Stall, Starved
from vault_harness.scenario.oracles import HANDOVER
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


@pytest.mark.parametrize(
    ("late", "waited", "held"),
    [
        pytest.param(0.06, 0.0, True, id="idle"),
        pytest.param(0.06, 0.1, False, id="as long as it waited"),
        pytest.param(0.2, 0.1, True, id="longer"),
        pytest.param(2 * NEWS, 5.0, True, id="much longer"),
    ],
)
def test_token_that_was_replaced_while_its_client_had_no_core(
    story: Story, late: float, *, waited: float, held: bool
) -> None:
    """The machine was on time for all but the caller who was about to send it."""
    login(story, 1.0, "token-1")
    login(story, 3.0, "token-2", ended=3.2)
    use(story, 3.2 + NEWS + late, "token-1")
    use(story, 4.0, "token-2")
    story.history.starved += [Starved(2.0, 3.1, 1.0), Starved(3.1, 3.6, waited)]
    assert ("token-1" in tokens_held(story.history)) is held


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


@pytest.mark.parametrize(
    ("age", "renews", "late", "held"),
    [
        (0.4, False, 0.2, False),
        (0.2, False, 0.01, True),
        (1.2, False, 0.01, True),
        (0.4, True, 0.2, True),
        (0.4, True, HANDOVER - 0.01, False),
        (0.2, True, 0.01, True),
    ],
    ids=[
        "in its turn",
        "too early",
        "after its end",
        "who renews has none",
        "but where the word to close has not arrived",
        "and in its turn",
    ],
)
def test_login_on_its_way_when_it_is_closed(
    story: Story, *, age: float, renews: bool, late: float, held: bool
) -> None:
    """Who logs in anew in place of renewing may just have begun to; the new token is given back."""
    story.sent("login", 1.0, token="token-1", ttl=60)
    use(story, 2.0, "token-1")
    if renews:
        story.sent("renew", 2.5, token="token-1")
    at = 1.0 + age * 60
    login(story, at, "token-2")
    story.sent("revoke", at + 0.02, 204, token="token-2")
    assert tokens_held(story.history, replaced_before=at - late) == (["token-1"] if held else [])


class Closing:
    """An instance, and what happens while it is closed."""

    def __init__(
        self,
        story: Story,
        *sent: tuple[RequestKind, str],
        takes: float = 0.0,
        outcome: Outcome = "ok",
        closed: bool = False,
    ) -> None:
        self.story, self.sent = story, sent
        self.takes, self.outcome, self.closed = takes, outcome, closed

    def close(self, *, timeout: float, beyond: float) -> Operation:
        """It takes no time, or so much on the history's clock."""
        assert timeout > 0
        assert beyond > 0
        now = self.story.history.now()
        for kind, token in self.sent:
            self.story.sent(kind, now, token=token, ended=now)
        self.story.history.started -= self.takes
        self.closed = True
        return self.story.call(now, now + self.takes, self.outcome, verb="close", path="")


REACH = 7.0


def closed(
    drivers: Sequence[Closing],
    require: Callable[[str, Condition], None] = lambda *_: None,
    *,
    leaves: bool = False,
) -> list[Finding]:
    """What is found as these are closed, of whose tokens the second one lives on."""
    found: list[Finding] = []
    lab = SimpleNamespace(
        history=drivers[0].story.history,
        drivers=drivers,
        client=drivers[-1],
        deadline=2.0,
        recorder=SimpleNamespace(accessor=lambda token: f"of {token}"),
        token_lives=lambda accessor: accessor == "of token-2",
        leaves=lambda _: leaves,
        require=require,
        note=found.append,
        reach=REACH,
    )
    _closed(cast("Asking", lab))
    return found


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
    found = closed([Closing(story, *first), Closing(story, *last)])
    assert [finding.seen for finding in found] == (
        ["1 token of it alive after close: token-2"] if left else []
    )


@pytest.mark.parametrize(
    ("times", "seen"), [((4.9, 4.8), []), ((5.6, 6.6, 4.9), ["it took 6.6 s"])]
)
def test_each_instance_has_a_time_of_its_own_for_its_end(
    story: Story, times: tuple[float, ...], seen: list[str]
) -> None:
    """What others have not used, or were closed before, is not its own; the slowest is told."""
    login(story, 1.0, "token-2")
    use(story, 2.0, "token-2")
    others = [Closing(story, closed=True), Closing(story, ("revoke", "token-2"))]
    found = closed([*others, *(Closing(story, takes=one) for one in times)])
    assert [one.seen for one in found] == seen
    assert [one.missed for one in found] == [pytest.approx(1.6 - HANDOVER - GRAIN, abs=0.01)] * len(
        seen
    )


def test_instance_whose_end_was_given_up(story: Story) -> None:
    """It is not late by what it was waited for."""
    login(story, 1.0, "token-2")
    use(story, 2.0, "token-2")
    (found,) = closed([Closing(story, ("revoke", "token-2"), takes=7.0, outcome="hung")])
    assert (found.seen, found.missed) == ("it took 7.0 s", None)


@pytest.mark.parametrize(
    ("token", "status", "met"),
    [("token-3", 204, True), ("token-3", 403, False), ("token-1", 204, False)],
)
def test_token_that_is_given_back_before_the_end(
    story: Story, token: str, status: int, *, met: bool
) -> None:
    """Who logs in for each call has no token when it is closed: its last one must be dead."""
    login(story, 1.0, "token-1")
    login(story, 2.0, "token-3")
    use(story, 1.5, "token-1")
    use(story, 2.5, "token-3")
    story.sent("revoke", 3.0, status, token=token)
    seen: dict[str, bool] = {}

    def require(name: str, condition: Condition) -> None:
        seen[name] = look(name, condition, story.history).met

    hung = Closing(story)
    vars(hung)["read"] = lambda: story.call(4.0, outcome="hung")
    assert closed([hung], require=require) == []
    assert list(seen.values()) == [met]


def test_token_that_is_left_behind_as_it_says(story: Story) -> None:
    """Nothing is asked of its end, and so it need not have one."""
    asked: list[str] = []
    assert closed([Closing(story)], require=lambda name, _: asked.append(name), leaves=True) == []
    assert asked == []


class Remembering(Closing):
    """An instance that answers from memory, and sends a read with its new token after a while."""

    def __init__(self, story: Story, *, looks: float) -> None:
        super().__init__(story, ("revoke", "token-2"))
        self.looks, self.reads = story.history.now() + looks, 0

    def read(self) -> Operation:
        """A call, and what goes on beside it."""
        self.reads += 1
        now = self.story.history.now()
        if now >= self.looks:
            use(self.story, now, "token-2")
        return self.story.call(now, now, "ok")


@pytest.mark.parametrize(("looks", "lives"), [(4.8, True), (REACH + 1.0, False)])
def test_new_token_that_nobody_needs_yet(story: Story, looks: float, *, lives: bool) -> None:
    """Whoever answers from memory may have logged in, and looks with that at its own pace."""
    login(story, 1.0, "token-1")
    use(story, 2.0, "token-1")
    login(story, 3.0, "token-2")
    history = story.history

    def passes(seconds: float, *, what: str) -> None:
        assert what
        history.started -= seconds

    vars(history)["let_pass"] = passes  # its clock is moved by hand here
    met: dict[str, bool] = {}

    def require(name: str, condition: Condition) -> None:
        met[name] = look(name, condition, history).met

    client = Remembering(story, looks=looks)
    assert closed([client], require=require) == []
    assert met == {"the closing act: a token lived until the end, or had been given back": lives}
    assert client.reads > 10  # every so often, and not without end


@pytest.mark.parametrize(
    ("path", "left"),
    [("auth/token/revoke-self", 0), ("auth/token/revoke", 1), ("auth/token/revoke-accessor", 1)],
)
def test_token_whose_end_was_refused(story: Story, path: str, left: int) -> None:
    """Each token may end itself, unless its policies forbid that; all else is an operator's."""
    login(story, 1.0, "token-2")
    use(story, 2.0, "token-2")
    story.sent("revoke", 3.0, 403, token="token-2", path=path)
    found = closed([Closing(story)])
    assert [one.seen for one in found] == ["1 token of it alive after close: token-2"] * left


def test_of_many_tokens_each_is_reckoned_once(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A herd of two hundred on a busy machine has had thousands: the act has to come to its end."""
    many, reckoned, slack = 60, [], story.history.slack

    def counted(since: float = 0.0, until: float | None = None) -> float:
        reckoned.append(since)
        return slack(since, until)

    monkeypatch.setattr(story.history, "slack", counted)
    for number in range(many):
        login(story, 1.0 + number, f"token-{number}")
    for number in range(many):  # each goes on with what others have replaced
        use(story, 100.0 + number, f"token-{number}")
    assert len(tokens_held(story.history)) == many
    assert len(reckoned) == many
