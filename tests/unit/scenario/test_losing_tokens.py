from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import cast

from tests.unit.scenario.conftest import Story
from vault_harness.judge.conditions import Condition
from vault_harness.judge.helpers.lives import lost_until_met
from vault_harness.judge.lab import Lab
from vault_harness.recorder.fault import Fault, RequestKind, Signature
from vault_harness.recorder.history import History


class Losing:
    """A lab whose client has logged in, and takes one step each time that it is waited for.

    `revoked` lists the lost tokens, with "another" before each further loss. `evidence` is what the
    required condition says. `faults` are the losses.
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
        """Add a request as the next step, or to the last step."""
        self._does(lambda: self._sent(kind, token, status), at_once=at_once)

    def logs_in(self, token: str, *, at_once: bool = False) -> None:
        """Add a login as the next step, or to the last step."""
        self._does(lambda: self._log_in(token), at_once=at_once)

    def until(self, condition: Callable[[], bool], *, within: float) -> bool:
        assert within > 0
        for step in self._steps.pop(0) if self._steps else ():
            step()
        return condition()

    @contextmanager
    def token_revoked(self, accessor: str) -> Iterator[Fault]:
        self.revoked.append(accessor)
        fault = Fault("token revoked", Signature(token=accessor), began=self.history.now())
        self.faults.append(fault)
        yield fault

    def require(self, name: str, condition: Condition) -> None:
        assert "refused" in name
        self.evidence = condition(self.history)

    def loses(self) -> float:
        """Lose the first token, and further tokens until the client meets a loss."""

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


def test_after_the_client_met_a_loss_no_token_is_lost(story: Story) -> None:
    lab = Losing(story)
    lab.sends("read", "token-1")
    met = lab.loses()
    assert lab.revoked == ["token-1"]
    assert met == story.history.find("read")[0].began
    assert str(lab.evidence).startswith("a read at ")


def test_a_request_sent_before_the_loss_meets_it(story: Story) -> None:
    """It was refused after the loss."""
    lab = Losing(story)
    (sent := story.sent("read", story.history.now(), 403, token="token-1")).ended = None
    with ExitStack() as losses, lab.token_revoked("token-1") as lost:
        sent.ended = story.history.now()
        met = lost_until_met(cast("Lab", lab), losses, lost)
    assert str(lab.evidence).startswith("a read at ")
    assert sent.began < lost.began == met


def test_a_refusal_counts_after_the_next_login(story: Story) -> None:
    """The next login is already there."""
    lab = Losing(story)
    lab.sends("read", "token-1")
    lab.logs_in("token-2", at_once=True)
    lab.loses()
    assert lab.revoked == ["token-1"]
    assert lab.evidence


def test_losses_that_are_replaced_unmet(story: Story) -> None:
    """The new token is lost too."""
    lab = Losing(story)
    lab.logs_in("token-2")
    lab.logs_in("token-3")
    lab.sends("lookup", "token-3")
    lab.loses()
    assert lab.revoked == ["token-1", "another", "token-2", "another", "token-3"]
    assert all(fault.optional for fault in lab.faults)
    assert str(lab.evidence).startswith("a lookup at ")


def test_lost_token_that_is_given_back(story: Story) -> None:
    """A refused revocation does not meet the loss."""
    lab = Losing(story)
    lab.logs_in("token-2")
    lab.sends("revoke", "token-1", at_once=True)
    lab.sends("read", "token-2")
    lab.loses()
    assert lab.revoked == ["token-1", "another", "token-2"]
    assert str(lab.evidence).startswith("a read at ")


def test_loss_that_is_never_met(story: Story) -> None:
    """Condition and fault are unmet."""
    lab = Losing(story)
    lab.sends("read", "token-1", 200)
    lab.loses()
    assert lab.revoked == ["token-1"]
    assert not lab.evidence
    assert not lab.faults[0].optional
