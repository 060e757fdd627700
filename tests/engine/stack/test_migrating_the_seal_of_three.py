from __future__ import annotations

import pytest

from tests.engine.clusters import all_vote
from tests.engine.stack.seals import STEPS, Killed, all_agree, keep, migrate_and_kill, read
from vault_harness.errors import StackError
from vault_harness.local.engine.seal import SealKind
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.nodes import Nodes

pytestmark = [
    pytest.mark.slow,  # each starts a whole cluster several times
    pytest.mark.usefixtures("haproxy"),
]


def is_whole(stack: LocalStack, seal: SealKind) -> None:
    all_agree(stack, seal)
    all_vote(stack)


def test_there_and_on_and_back(stack: LocalStack) -> None:
    stack.up(ha=True)
    token = keep(stack, "of before")
    way: list[SealKind] = ["static", "transit", "shamir"]

    for target in way:
        stack.migrate_seal(target)

        is_whole(stack, target)
        assert not (stack.data_dir / "seal-migration").exists()
        assert read(stack, token) == "of before"
        if target != "shamir":
            assert stack.restart()
            is_whole(stack, target)


@pytest.mark.long
def test_killed_after_a_step_up_goes_on(stack: LocalStack, killed: Killed) -> None:
    """The other steps do not depend on the number of nodes."""
    stack.up(ha=True)
    token = keep(stack, "of before")
    targets: list[SealKind] = ["static", "shamir"]
    for number, step in enumerate(STEPS[3::2]):
        target = targets[number % 2]
        assert killed(target, step)[-1] == step
        assert stack.status().migrating_to == target

        stack.up()

        is_whole(stack, target)
        assert read(stack, token) == "of before", step


@pytest.mark.parametrize(("name", "moment"), [("vault", 0.0), ("vault-3", 0.1), ("vault", 0.4)])
def test_a_node_killed_while_they_go_over(stack: LocalStack, name: str, moment: float) -> None:
    """It dies at this moment with both seals; the next `up` finishes."""
    stack.up(ha=True)
    token = keep(stack, "of before")
    migrate_and_kill(stack, name, moment)
    stack.up()

    is_whole(stack, "static")
    assert read(stack, token) == "of before"


def test_killed_between_two_nodes_whose_copies_are_put_back(
    stack: LocalStack, killed: Killed
) -> None:
    stack.up(ha=True)
    token = keep(stack, "of before")
    step = "put back the data of vault-2"
    assert killed("static", step, refused=True)[-1] == step

    assert stack.migrate_seal("static").action == "finished"

    is_whole(stack, "static")
    assert read(stack, token) == "of before"
    left = [path.name for path in (stack.data_dir / "seal-migration").iterdir()]
    assert len(left) == 3, "of each node what did not open, once"
    assert all(name.startswith("data-that-did-not-open") for name in left)
    assert not list(stack.data_dir.rglob("data-of-the-copy"))


def test_not_while_a_node_is_away(stack: LocalStack) -> None:
    """Its seal could not be opened later."""
    stack.up(ha=True)
    Nodes(stack).kill("vault-2")

    with pytest.raises(StackError, match="never be opened again: vault-2") as caught:
        stack.migrate_seal("static")

    assert "node.start vault-2" in caught.value.remedy
    assert not (stack.data_dir / "seal-migration").exists()
