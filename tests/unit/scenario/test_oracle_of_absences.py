"""The standing oracle on what is there, and is said to be missing or deleted."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.faults import Signature
from vault_harness.scenario.history import GRAIN
from vault_harness.scenario.observations import GONE, Outcome
from vault_harness.scenario.oracles._absence import no_false_absence

REFRESH = 5.0
ORACLE = no_false_absence(refresh=REFRESH)

NEW = "backend/new"


@pytest.fixture
def there(story: Story) -> Story:
    """A secret that had a version before its first one here, and is read well at last."""
    story.put(0.1, "seeded")
    story.put(0.2, "v1")
    story.call(30.0)
    return story


@pytest.mark.parametrize("outcome", ["missing", "deleted"])
@pytest.mark.parametrize("verb", ["read", "read_cached", "warm-up"])
def test_what_is_there(there: Story, outcome: Outcome, verb: str) -> None:
    """In each way, from the first call on."""
    there.call(1.0, outcome=outcome, verb=verb, message="no such secret")
    (seen,) = there.finds(ORACLE)
    assert seen.startswith("1 reads of what was there were told so (+1.00), the first a ")
    assert seen.endswith(f"{verb} of backend/django: {outcome}: no such secret")


@pytest.mark.parametrize("outcome", ["unavailable", "denied", "error", "stale", "hung"])
def test_other_words(there: Story, outcome: Outcome) -> None:
    """They say nothing of that kind."""
    there.call(1.0, outcome=outcome)
    assert there.finds(ORACLE) == []


def test_what_nobody_has_read(there: Story) -> None:
    """Of a key that was never had, and a secret that nobody wrote, it may be so."""
    there.call(1.0, outcome="missing", path="backend/other")
    there.call(1.0, outcome="missing").key = "NO_SUCH_KEY"
    assert there.finds(ORACLE) == []


def test_what_is_gone(there: Story) -> None:
    """It is said while that is so, and by who asked before it was."""
    there.put(3.0, GONE)
    there.call(2.9, 3.1, "deleted")
    there.call(4.0, outcome="missing")
    assert there.finds(ORACLE) == []


@pytest.mark.parametrize("began", [2.9, 3.05])
@pytest.mark.parametrize("has_it", [True, False])
def test_what_changes_while_it_is_asked_for(there: Story, began: float, *, has_it: bool) -> None:
    """It is there where both versions have it; of one that nobody has seen it is not known."""
    there.put(3.0, "v2")
    if has_it:
        there.call(5.0, value="v2")
    there.call(began, 3.1, "missing")
    assert len(there.finds(ORACLE)) == has_it


@pytest.mark.parametrize(
    ("at", "found"), [(3.0 + REFRESH - 0.1, 0), (3.01 + REFRESH + GRAIN + 0.01, 1)]
)
def test_what_was_away(there: Story, at: float, found: int) -> None:
    """That may be remembered for as long as a value."""
    there.put(2.0, GONE)
    there.put(3.0, "v2")
    there.call(3.5, value="v2")
    there.call(at, outcome="deleted")
    assert len(there.finds(ORACLE)) == found


@pytest.mark.parametrize(("seen", "found"), [(12.0, 0), (9.0, 1)])
def test_what_is_new(there: Story, seen: float, found: int) -> None:
    """A standby may have it later: it counts once it was seen."""
    there.put(3.0, "v1", path=NEW)
    there.call(seen, path=NEW)
    there.call(10.0, outcome="missing", path=NEW)
    assert len(there.finds(ORACLE)) == found


def test_key_that_was_away(there: Story) -> None:
    """One version had it not, as somebody was told, and the next one has."""
    there.call(1.0, outcome="missing")  # with v1: that alone is told
    there.put(3.0, "v2")
    there.call(3.5, value="v2")
    there.call(4.0, outcome="missing")
    (seen,) = there.finds(ORACLE)
    assert seen.startswith("1 reads of what was there were told so (+1.00)")


def test_what_the_client_has_written(there: Story) -> None:
    """What is in it then is known to nobody."""
    there.call(1.0, verb="write")
    there.call(2.0, outcome="missing")
    assert there.finds(ORACLE) == []


PATH = "ecommerce/data/backend/django"


@pytest.mark.parametrize(("began", "ended"), [(2.9, 9.0), (3.02, 9.0), (1.0, 2.95), (1.0, 3.1)])
def test_what_vault_says_in_turning(there: Story, began: float, ended: float) -> None:
    """While it is sealed or opened, or within 0.1 s of that."""
    there.call(2.95, 3.05, "missing")
    there.sent("read", 3.0, 404, path=PATH, ended=3.01)
    assert len(there.finds(ORACLE)) == 1
    there.fault(Signature(statuses=frozenset({503})), began, ended)
    assert there.finds(ORACLE) == []


@pytest.mark.parametrize(("at", "found"), [(3.0 + REFRESH - 0.1, 0), (3.01 + REFRESH + 0.1, 1)])
def test_what_vault_said_in_turning(there: Story, at: float, found: int) -> None:
    """A client may remember that as any absence."""
    there.sent("read", 3.0, 404, path=PATH, ended=3.01)
    there.fault(Signature(statuses=frozenset({503})), 3.005, 4.0)
    there.call(at, outcome="missing")
    assert len(there.finds(ORACLE)) == found


@pytest.mark.parametrize(
    ("status", "path", "by", "began"),
    [
        (503, PATH, "vault", 3.0),
        (404, "ecommerce/data/backend/redis", "vault", 3.0),
        (404, PATH, "stub", 3.0),
        (404, PATH, "vault", 2.8),
        (404, PATH, "vault", 3.2),
    ],
)
def test_what_vault_does_not_say_in_turning(
    there: Story, status: int, path: str, by: Literal["vault", "stub"], began: float
) -> None:
    """An outage, another secret's absence, another's word, and what another call was told."""
    there.call(2.95, 3.05, "missing")
    there.sent("read", began, status, path=path, ended=began + 0.01).by = by
    there.fault(Signature(statuses=frozenset({503})), 2.99, 9.0)
    assert len(there.finds(ORACLE)) == 1


def test_what_vault_says_between_two_turns(there: Story) -> None:
    """Nothing turns then: that the client asks in the wrong place is its own."""
    there.call(4.95, 5.05, "missing")
    there.sent("read", 5.0, 404, path=PATH)
    there.fault(Signature(statuses=frozenset({503})), 3.0, 9.0)
    assert len(there.finds(ORACLE)) == 1
