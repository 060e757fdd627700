"""Whether a server has gone over to another seal, by what it answers."""

from __future__ import annotations

from typing import cast

import pytest

from vault_harness.errors import OperatorError
from vault_harness.stack import _seal_migration
from vault_harness.vault import Operator, SealStatus


class Node:
    """A server that gives this status, or none, and this answer to one further look."""

    def __init__(self, status: SealStatus | None, answer: int = 200) -> None:
        self.status, self.answer = status, answer

    def seal_status_between_seals(self) -> SealStatus:
        """The status; there was time enough for it."""
        if self.status is None:
            raise OperatorError("cannot read the seal status")
        return self.status

    def see_that_it_answers(self) -> int:
        """The answer; none is an error."""
        if not self.answer:
            raise OperatorError("it does not answer")
        return self.answer


def went_over(node: Node, *, untouched: bool = True) -> bool:
    """What is known of it."""
    return _seal_migration._went_over(cast("Operator", node), untouched=untouched)


@pytest.mark.parametrize(
    ("initialised", "migrating", "over"),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_who_says_which_seal_it_has(*, initialised: bool, migrating: bool, over: bool) -> None:
    """One that is not migrating any more has gone over; a new one has nothing to go over with."""
    status = SealStatus(initialised, True, 5, 3, 0, "2.7.2", "openbao", migrating=migrating)
    assert went_over(Node(status)) is over


def test_who_never_says_it() -> None:
    """It answers 500 throughout: to say which seal it has is the last that it does of this."""
    assert not went_over(Node(None, answer=500))


def test_who_never_says_it_and_may_have_served_before() -> None:
    """A run that was ended half-way may have brought it over: its data is left as it is."""
    with pytest.raises(OperatorError):
        went_over(Node(None, answer=500), untouched=False)


@pytest.mark.parametrize("answer", [0, 200, 503])
def test_who_stood_still(answer: int) -> None:
    """It may have served before that: nobody puts a copy over its data."""
    with pytest.raises(OperatorError):
        went_over(Node(None, answer=answer))
