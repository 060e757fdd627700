"""Whether a server has migrated to another seal, by its answers."""

from __future__ import annotations

from typing import cast

import pytest

from vault_harness.errors import OperatorError
from vault_harness.local.stack import seal_migration
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.connection import SealStatus


class Node:
    """A server with this seal status, or none, and this answer to a further request."""

    def __init__(self, status: SealStatus | None, answer: int = 200) -> None:
        self.status, self.answer = status, answer

    def seal_status_between_seals(self) -> SealStatus:
        if self.status is None:
            raise OperatorError("cannot read the seal status")
        return self.status

    def see_that_it_answers(self) -> int:
        if not self.answer:
            raise OperatorError("it does not answer")
        return self.answer


def went_over(node: Node, *, untouched: bool = True) -> bool:
    return seal_migration._went_over(cast("VaultAdmin", node), untouched=untouched)


@pytest.mark.parametrize(
    ("initialised", "migrating", "over"),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_a_node_that_names_its_seal_has_migrated(
    *, initialised: bool, migrating: bool, over: bool
) -> None:
    """An empty node has nothing to migrate."""
    status = SealStatus(initialised, True, 5, 3, 0, "2.7.2", "openbao", migrating=migrating)
    assert went_over(Node(status)) is over


def test_a_node_that_only_answers_500_has_not_migrated() -> None:
    """Naming its seal is the last step of a migration."""
    assert not went_over(Node(None, answer=500))


def test_after_an_interrupted_run_a_nodes_data_stays() -> None:
    """Such a node may have served."""
    with pytest.raises(OperatorError):
        went_over(Node(None, answer=500), untouched=False)


@pytest.mark.parametrize("answer", [0, 200, 503])
def test_no_copy_replaces_data_of_a_node_that_stood_still(answer: int) -> None:
    """It may have served."""
    with pytest.raises(OperatorError):
        went_over(Node(None, answer=answer))
