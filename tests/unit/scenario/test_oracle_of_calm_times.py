"""The oracle on what outages leave behind: two calm times that are alike, and two that are not."""

from __future__ import annotations

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.scenario.oracles import asks_no_more_than_before
from vault_harness.scenario.oracles._calm import MORE_IN_ALL, MORE_OF_A_KIND

BEFORE, AFTER = (10.0, 18.0), (40.0, 48.0)
ORACLE = asks_no_more_than_before(BEFORE, AFTER)


@pytest.fixture
def calm(story: Story) -> Story:
    """Four calls in each of the two, each of which sends a read; a renewal, and a stormy time."""
    for began in (BEFORE[0], AFTER[0]):
        times = [began + 0.5 + n for n in range(4)]
        story.calls(*times)
        story.several("read", *times)
        story.several("renew", began + 5.0)
    story.several("login", *(20.0 + n for n in range(15)))
    return story


def test_as_much_as_before(calm: Story) -> None:
    """What was sent between the two times, and beside them, is nobody's business here."""
    assert calm.finds(ORACLE) == []


def test_less_than_before(calm: Story) -> None:
    """Who has begun to keep what it reads asks for less."""
    calm.several("read", *(BEFORE[0] + 0.1 * n for n in range(20)))
    assert calm.finds(ORACLE) == []


def test_one_kind_has_grown(calm: Story) -> None:
    """So many more are granted, and the next is one too many; it says when they came."""
    calm.several("renew", *(AFTER[0] + 6.0 + 0.1 * n for n in range(MORE_OF_A_KIND)))
    assert calm.finds(ORACLE) == []
    calm.sent("renew", AFTER[0] + 7.0, 403)
    assert calm.finds(ORACLE) == [
        "4 renew requests in 8.0 s, 1 before; 2 more are granted (+45.00, +46.00, +46.10, +47.00)"
    ]


def test_kinds_that_were_not_there(calm: Story) -> None:
    """Looks at the token that nobody made before are granted as many, and no more."""
    calm.several("lookup", 41.0, 42.0, 43.0)
    (seen,) = calm.finds(ORACLE)
    assert seen.startswith("3 lookup requests in 8.0 s, 0 before")


def test_all_kinds_have_grown_a_little(calm: Story) -> None:
    """None of them by too many, and all together by more than chance explains."""
    calm.several("lookup", 41.0, 42.0)
    calm.several("renew", 43.0, 44.0)
    assert calm.finds(ORACLE) == []
    calm.several("read", 45.0)
    (seen,) = calm.finds(ORACLE)
    assert seen == f"10 requests of all kinds in 8.0 s, 5 before; {MORE_IN_ALL} more are granted"


def test_each_further_call_may_cost_what_one_cost(calm: Story) -> None:
    """A caller that was quicker in the second time has sent more by that."""
    calm.calls(*(AFTER[0] + 4.0 + 0.1 * n for n in range(5)))
    calm.several("read", *(AFTER[0] + 4.0 + 0.1 * n for n in range(5 + MORE_OF_A_KIND)))
    assert calm.finds(ORACLE) == []
    calm.several("read", AFTER[0] + 6.0)
    (seen,) = calm.finds(ORACLE)
    assert seen.startswith("12 read requests")


def test_connections_without_a_request(calm: Story) -> None:
    """What reconnects again and again asks for something too."""
    calm.history.connections += [*(AFTER[0] + 0.5 * n for n in range(MORE_IN_ALL))]
    assert calm.finds(ORACLE) == []
    calm.history.connections.append(AFTER[0] + 7.0)
    assert calm.finds(ORACLE) == ["5 new connections in 8.0 s, 0 before; 4 more are granted"]


def test_an_excess_rests_on_nothing(calm: Story) -> None:
    """It is one, whichever of the outages touched the client."""
    calm.several("login", 41.0, 42.0, 43.0)
    (found,) = ORACLE(calm.history)
    assert found.rests_on == ()
    assert found.at == AFTER[0]
