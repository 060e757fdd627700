"""Explore finds broken clients that it knows nothing of, and breaks no correct client."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.mutants.catalogue import CATALOGUE
from vault_harness.errors import SubjectError
from vault_harness.judge.explore.search import Explorer, Options, carried_by
from vault_harness.judge.explore.telling import prose
from vault_harness.judge.explore.workers import carry_out, opened, workers
from vault_harness.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.long]

AT_ONCE = 12
QUIET = 3

MUTANTS = {
    "logs-in-on-every-403": "policy-narrowed",
    "returns-a-gateway-page-as-a-secret": "page-200",
    "no-total-deadline": "dripping",
}
"""Mutants that a search must find, and the fault to which it is limited, to be short."""

MINUTES = 4.0
"""How long the singles of a correct client are tried here; a release tries all."""

SAMPLE = 10
"""Mutants, drawn at random, of which the test below prints how many are found."""


def explored(
    subject: str, minutes: float | None, *, only: frozenset[str] = frozenset()
) -> Explorer:
    """Explore the single faults of a client."""
    options = Options(minutes=minutes, at_once=AT_ONCE, quiet=QUIET, pairs=False, only=only, seed=1)
    with opened(Settings(engine="process"), subject, seed=1), workers(AT_ONCE) as pool:
        explorer = Explorer(carried_by(carry_out, subject), pool, options, print)
        explorer.search()
    return explorer


@pytest.mark.parametrize(("name", "fault"), MUTANTS.items())
def test_a_broken_client_is_found(name: str, fault: str) -> None:
    """A mutant breaks without the scenario that was written for it."""
    assert explored(CATALOGUE[name].subject, MINUTES, only=frozenset({fault})).broken


@pytest.mark.parametrize("subject", ["reference", "python:tests.subjects.lazy_client:LazyClient"])
def test_a_correct_client_survives_single_faults(subject: str) -> None:
    """A correct client has no finding in as many single faults as the time allows."""
    explorer = explored(subject, MINUTES)
    assert [prose(one, subject) for one in explorer.broken] == []
    assert explorer.coverage.failed == []
    assert explorer.coverage.reached


def test_how_many_mutants_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    """Print the share of a sample that is found, which must not be nothing."""
    names = random.Random(1).sample(sorted(CATALOGUE), SAMPLE)
    found = [name for name in names if _found(CATALOGUE[name].subject)]
    with capsys.disabled():
        sys.stdout.write(f"\nexplore found {len(found)} of {SAMPLE}: {', '.join(found)}\n")
    assert found


def _found(subject: str) -> bool:
    try:
        return bool(explored(subject, 1.0).broken)
    except SubjectError:  # it does not live through a time without faults
        return False


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients of these tests be imported by subjects that are programs."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
