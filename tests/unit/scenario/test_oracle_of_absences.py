"""The standing oracle on secrets that exist and are called missing or deleted."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.oracles.standing import no_false_absence
from vault_harness.recorder.fault import Signature
from vault_harness.recorder.history import SLACK
from vault_harness.recorder.observations import GONE, Outcome

REFRESH = 5.0
ORACLE = no_false_absence(refresh=REFRESH)

NEW = "backend/new"


@pytest.fixture
def there(story: Story) -> Story:
    """Return a history with a secret that exists from the start and is read well in the end."""
    story.put(0.1, "seeded")
    story.put(0.2, "v1")
    story.call(30.0)
    return story


@pytest.mark.parametrize("outcome", ["missing", "deleted"])
@pytest.mark.parametrize("verb", ["read", "read_cached", "warm-up"])
def test_what_is_there(there: Story, outcome: Outcome, verb: str) -> None:
    """A false absence is found in each way of reading."""
    there.call(1.0, outcome=outcome, verb=verb, message="no such secret")
    (seen,) = there.finds(ORACLE)
    assert seen.startswith(
        "1 read called an existing secret missing or deleted (+1.00), the first a "
    )
    assert seen.endswith(f"{verb} of backend/django: {outcome}: no such secret")


@pytest.mark.parametrize("outcome", ["unavailable", "denied", "error", "stale", "hung"])
def test_other_words(there: Story, outcome: Outcome) -> None:
    there.call(1.0, outcome=outcome)
    assert there.finds(ORACLE) == []


def test_an_absence_of_an_unread_key_is_not_judged(there: Story) -> None:
    """Nor that of an unknown secret."""
    there.call(1.0, outcome="missing", path="backend/other")
    there.call(1.0, outcome="missing").key = "NO_SUCH_KEY"
    assert there.finds(ORACLE) == []


def test_what_is_gone(there: Story) -> None:
    """Absence is right, also for a read that began earlier."""
    there.put(3.0, GONE)
    there.call(2.9, 3.1, "deleted")
    there.call(4.0, outcome="missing")
    assert there.finds(ORACLE) == []


@pytest.mark.parametrize("began", [2.9, 3.05])
@pytest.mark.parametrize("has_it", [True, False])
def test_what_changes_while_it_is_asked_for(there: Story, began: float, *, has_it: bool) -> None:
    """An absence is wrong if both versions were seen."""
    there.put(3.0, "v2")
    if has_it:
        there.call(5.0, value="v2")
    there.call(began, 3.1, "missing")
    assert len(there.finds(ORACLE)) == has_it


@pytest.mark.parametrize(
    ("at", "found"), [(3.0 + REFRESH - 0.1, 0), (3.01 + REFRESH + SLACK + 0.01, 1)]
)
def test_what_was_away(there: Story, at: float, found: int) -> None:
    """It may be remembered for the refresh time."""
    there.put(2.0, GONE)
    there.put(3.0, "v2")
    there.call(3.5, value="v2")
    there.call(at, outcome="deleted")
    assert len(there.finds(ORACLE)) == found


@pytest.mark.parametrize(("seen", "found"), [(12.0, 0), (9.0, 1)])
def test_what_is_new(there: Story, seen: float, found: int) -> None:
    """It counts once somebody has seen it."""
    there.put(3.0, "v1", path=NEW)
    there.call(seen, path=NEW)
    there.call(10.0, outcome="missing", path=NEW)
    assert len(there.finds(ORACLE)) == found


def test_key_that_was_away(there: Story) -> None:
    """It may be called missing soon after it comes back."""
    there.call(1.0, outcome="missing")  # with v1, the only finding
    there.put(3.0, "v2")
    there.call(3.5, value="v2")
    there.call(4.0, outcome="missing")
    (seen,) = there.finds(ORACLE)
    assert seen.startswith("1 read called an existing secret missing or deleted (+1.00)")


def test_what_the_client_has_written(there: Story) -> None:
    """The content is then unknown, so nothing is judged."""
    there.call(1.0, verb="write")
    there.call(2.0, outcome="missing")
    assert there.finds(ORACLE) == []


PATH = "ecommerce/data/backend/django"


@pytest.mark.parametrize(("began", "ended"), [(2.9, 9.0), (3.02, 9.0), (1.0, 2.95), (1.0, 3.1)])
def test_what_vault_says_in_turning(there: Story, began: float, ended: float) -> None:
    """A 404 while Vault is sealed or unsealed excuses the client, within 0.1 s."""
    there.call(2.95, 3.05, "missing")
    there.sent("read", 3.0, 404, path=PATH, ended=3.01)
    assert len(there.finds(ORACLE)) == 1
    there.fault(Signature(statuses=frozenset({503})), began, ended)
    assert there.finds(ORACLE) == []


@pytest.mark.parametrize(("at", "found"), [(3.0 + REFRESH - 0.1, 0), (3.01 + REFRESH + 0.1, 1)])
def test_what_vault_said_in_turning(there: Story, at: float, found: int) -> None:
    """A 404 at a seal may be remembered for the refresh time."""
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
    """Another status, path or time, or a stub's 404, excuses nothing."""
    there.call(2.95, 3.05, "missing")
    there.sent("read", began, status, path=path, ended=began + 0.01).by = by
    there.fault(Signature(statuses=frozenset({503})), 2.99, 9.0)
    assert len(there.finds(ORACLE)) == 1


def test_what_vault_says_between_two_turns(there: Story) -> None:
    """A 404 in the middle of a seal excuses nothing."""
    there.call(4.95, 5.05, "missing")
    there.sent("read", 5.0, 404, path=PATH)
    there.fault(Signature(statuses=frozenset({503})), 3.0, 9.0)
    assert len(there.finds(ORACLE)) == 1
