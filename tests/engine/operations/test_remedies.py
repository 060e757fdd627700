"""Whatever the doctor proposes mends what it was proposed for, and loses no value on the way.

Every kind of trouble is made in a real stack; the remedy is run in a shell as it is printed, in the
very state that it was printed for. Kinds are walked as data: one without a state is a failure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.engine.operations.remedy_states import APART, STATES
from tests.engine.operations.remedy_worlds import RUNNER, World, back_to_health, new_world
from vault_harness.errors import OperatorError
from vault_harness.vault.doctor import KINDS

pytestmark = [
    pytest.mark.slow,  # each remedy is a command or two, a process each
    pytest.mark.xdist_group("remedies"),  # they share a stack
]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[World]]:
    """The stack that the tests share; one that is not healthy any more is given up."""
    shared: list[World] = []
    yield shared
    for each in shared:
        each.sh(f"{RUNNER} destroy --yes", code=None)


@pytest.fixture
def world(worlds: list[World], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A healthy stack with somebody's own values in it; each state is mended before the next."""
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
    """A new kind without a state that makes it is not checked, and so a failure."""
    assert set(STATES) | APART == set(KINDS)
    assert not set(STATES) & APART


@pytest.mark.parametrize("kind", STATES)
def test_the_remedy_mends_and_loses_nothing(world: World, kind: str) -> None:
    """In the state of its finding: run as printed, the finding is gone and every value is there."""
    before = world.values()
    world.known_address = world.address
    STATES[kind](world)
    # Some states are made of a value that goes; where nobody can read, none went.
    with contextlib.suppress(OperatorError):
        before = world.values()
    found = world.troubles()
    last = max((at for at, (name, _) in enumerate(found) if name == kind), default=None)
    assert last is not None, found
    # What comes first is mended first, as the doctor says; another kind may rest on it.
    after = world.troubles(" && ".join(remedy for _, remedy in found[: last + 1]))
    assert kind not in dict(after), after
    assert before - world.values() == set()
