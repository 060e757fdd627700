"""The oracle on what outages leave behind: it compares two calm times."""

from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles import asks_no_more_than_before
from vault_harness.judge.oracles.standing import MORE_IN_ALL, MORE_OF_A_KIND

BEFORE, AFTER = (10.0, 18.0), (40.0, 48.0)
ORACLE = asks_no_more_than_before(BEFORE, AFTER)


@pytest.fixture
def calm(story: Story) -> Story:
    """Return a history with equal calls and requests in both calm times, and a storm between."""
    for began in (BEFORE[0], AFTER[0]):
        times = [began + 0.5 + n for n in range(4)]
        story.calls(*times)
        story.several("read", *times)
        story.several("renew", began + 5.0)
    story.several("login", *(20.0 + n for n in range(15)))
    return story


def test_as_much_as_before(calm: Story) -> None:
    """Requests between the calm times do not count."""
    assert calm.finds(ORACLE) == []


def test_kinds_that_were_not_there(calm: Story) -> None:
    """They have the same margin."""
    calm.several("lookup", 41.0, 42.0, 43.0)
    (seen,) = calm.finds(ORACLE)
    assert seen.startswith("3 lookup requests in 8.0 s, 0 before")


def test_each_further_call_may_cost_what_one_cost(calm: Story) -> None:
    calm.calls(*(AFTER[0] + 4.0 + 0.1 * n for n in range(5)))
    calm.several("read", *(AFTER[0] + 4.0 + 0.1 * n for n in range(5 + MORE_OF_A_KIND)))
    assert calm.finds(ORACLE) == []
    calm.several("read", AFTER[0] + 6.0)
    (seen,) = calm.finds(ORACLE)
    assert seen.startswith("12 read requests")


def test_connections_without_a_request(calm: Story) -> None:
    """They are compared too."""
    calm.history.connections += [*(AFTER[0] + 0.5 * n for n in range(MORE_IN_ALL))]
    assert calm.finds(ORACLE) == []
    calm.history.connections.append(AFTER[0] + 7.0)
    assert calm.finds(ORACLE) == ["5 new connections in 8.0 s, 0 before; 4 more are granted"]


def test_an_excess_rests_on_nothing(calm: Story) -> None:
    """It depends on no fault."""
    calm.several("login", 41.0, 42.0, 43.0)
    (found,) = ORACLE(calm.history)
    assert found.rests_on == ()
    assert found.at == AFTER[0]
