"""Each remedy of the doctor repairs its finding, and loses no value.

Every kind of trouble is made in a real stack. Its remedy runs in a shell as it is printed, in the
same state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.engine.operations.remedy_states import APART, STATES
from tests.engine.operations.remedy_worlds import RUNNER, World, back_to_health, new_world
from vault_harness.errors import OperatorError
from vault_harness.operator.doctor import KINDS

pytestmark = [
    pytest.mark.slow,  # each remedy takes a process or two
    pytest.mark.xdist_group("remedies"),  # they share a stack
]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[World]]:
    """The shared stack, replaced when it is no longer healthy."""
    shared: list[World] = []
    yield shared
    for each in shared:
        each.sh(f"{RUNNER} destroy --yes", code=None)


@pytest.fixture
def world(worlds: list[World], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A healthy stack with a person's values, repaired before the next state."""
    if not worlds:
        worlds.append(new_world(tmp_path_factory.mktemp("a folder")))
    world = worlds[0]
    yield world
    world.variables.clear()
    try:
        back_to_health(world)
    except BaseException:
        worlds.remove(world)
        world.sh(f"{RUNNER} destroy --yes", code=None)
        raise


def test_every_kind_of_trouble_has_a_state() -> None:
    """A kind without a state is not checked, and so fails."""
    assert set(STATES) | APART == set(KINDS)
    assert not set(STATES) & APART


@pytest.mark.parametrize("kind", STATES)
def test_the_remedy_repairs_and_loses_nothing(world: World, kind: str) -> None:
    before = world.values()
    world.known_address = world.address
    STATES[kind](world)
    # Some states delete a value, so compare only if Vault can be read.
    with contextlib.suppress(OperatorError):
        before = world.values()
    found = world.troubles()
    last = max((at for at, (name, _) in enumerate(found) if name == kind), default=None)
    assert last is not None, found
    # The doctor puts causes first, so earlier remedies run first.
    after = world.troubles(" && ".join(remedy for _, remedy in found[: last + 1]))
    assert kind not in dict(after), after
    assert before - world.values() == set()
