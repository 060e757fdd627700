"""Tokens are lost until a client meets a loss: who replaces one unmet loses the next one too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import cast

from tests.unit.scenario.conftest import Story
from vault_harness.faults import Fault, RequestKind, Signature
from vault_harness.scenario import History, Lab
from vault_harness.scenario.conditions import Condition
from vault_harness.scenario.helpers import lost_until_met


class Losing:
    """A lab with a client that has logged in, and does one thing each time that it is waited for.

    Attributes:
        revoked: The tokens that were lost, in their order, and what was done before another was.
        evidence: What the required condition says.
        faults: What they were lost by.
    """

    ttl = reach = 20.0

    def __init__(self, story: Story) -> None:
        self.history: History = story.history
        self.recorder = SimpleNamespace(accessor=lambda token: token)
        self.vault = self
        self.revoked: list[str] = []
        self.evidence: object = None
        self.faults: list[Fault] = []
        self._story = story
        self._steps: list[list[Callable[[], None]]] = []
        self._log_in("token-1")

    def sends(
        self, kind: RequestKind, token: str, status: int = 403, *, at_once: bool = False
    ) -> None:
        """Let it send this next, or before anybody looks at what it did last."""
        self._does(lambda: self._sent(kind, token, status), at_once=at_once)

    def logs_in(self, token: str, *, at_once: bool = False) -> None:
        """Let it log in so."""
        self._does(lambda: self._log_in(token), at_once=at_once)

    def until(self, condition: Callable[[], bool], *, within: float) -> bool:
        """As a lab's."""
        assert within > 0
        for step in self._steps.pop(0) if self._steps else ():
            step()
        return condition()

    @contextmanager
    def token_revoked(self, accessor: str) -> Iterator[Fault]:
        """As the verb of a lab's Vault."""
        self.revoked.append(accessor)
        fault = Fault("token revoked", Signature(token=accessor), began=self.history.now())
        self.faults.append(fault)
        yield fault

    def require(self, name: str, condition: Condition) -> None:
        """As a lab's."""
        assert "refused" in name
        self.evidence = condition(self.history)

    def loses(self) -> float:
        """Lose its token, and go on with that; what is done before another is lost counts too."""

        def before_another() -> None:
            self.revoked.append("another")

        with ExitStack() as losses, self.token_revoked("token-1") as lost:
            return lost_until_met(cast("Lab", self), losses, lost, before_another=before_another)

    def _does(self, step: Callable[[], None], *, at_once: bool) -> None:
        if not at_once:
            self._steps.append([])
        self._steps[-1].append(step)

    def _sent(self, kind: RequestKind, token: str, status: int = 200) -> None:
        self._story.sent(kind, self.history.now(), status, token=token, accessor=token)

    def _log_in(self, token: str) -> None:
        self._sent("login", token)


def test_loss_that_is_met(story: Story) -> None:
    """Nothing else is lost; a login that follows is what a loss leads to."""
    lab = Losing(story)
    lab.sends("read", "token-1")
    met = lab.loses()
    assert lab.revoked == ["token-1"]
    assert met == story.history.find("read")[0].began
    assert str(lab.evidence).startswith("a read at ")


def test_loss_that_meets_what_is_on_its_way(story: Story) -> None:
    """What Vault refused since counts, be it sent a moment before: nothing else may follow."""
    lab = Losing(story)
    (sent := story.sent("read", story.history.now(), 403, token="token-1")).ended = None
    with ExitStack() as losses, lab.token_revoked("token-1") as lost:
        sent.ended = story.history.now()
        met = lost_until_met(cast("Lab", lab), losses, lost)
    assert str(lab.evidence).startswith("a read at ")
    assert sent.began < lost.began == met


def test_loss_that_is_met_and_made_up_for_at_once(story: Story) -> None:
    """Both may be there when anybody looks."""
    lab = Losing(story)
    lab.sends("read", "token-1")
    lab.logs_in("token-2", at_once=True)
    lab.loses()
    assert lab.revoked == ["token-1"]
    assert lab.evidence


def test_losses_that_are_replaced_unmet(story: Story) -> None:
    """Each token that comes in its turn is lost as well, until one is refused."""
    lab = Losing(story)
    lab.logs_in("token-2")
    lab.logs_in("token-3")
    lab.sends("lookup", "token-3")
    lab.loses()
    assert lab.revoked == ["token-1", "another", "token-2", "another", "token-3"]
    assert all(fault.optional for fault in lab.faults)
    assert str(lab.evidence).startswith("a lookup at ")


def test_lost_token_that_is_given_back(story: Story) -> None:
    """Whose lost token is refused when it is given back has another one, and has met nothing."""
    lab = Losing(story)
    lab.logs_in("token-2")
    lab.sends("revoke", "token-1", at_once=True)
    lab.sends("read", "token-2")
    lab.loses()
    assert lab.revoked == ["token-1", "another", "token-2"]
    assert str(lab.evidence).startswith("a read at ")


def test_loss_that_is_never_met(story: Story) -> None:
    """It is no pass: neither the condition nor the fault is met."""
    lab = Losing(story)
    lab.sends("read", "token-1", 200)
    lab.loses()
    assert lab.revoked == ["token-1"]
    assert not lab.evidence
    assert not lab.faults[0].optional
