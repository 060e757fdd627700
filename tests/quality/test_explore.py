"""Explore finds broken clients that it knows nothing of, and breaks no correct client."""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from tests.mutants.catalogue import CATALOGUE
from vault_harness.errors import SubjectError
from vault_harness.judge.catalogue import Entry, load
from vault_harness.judge.explore.search import Explorer, Options
from vault_harness.judge.explore.telling import prose
from vault_harness.judge.explore.workers import carry_out, opened, workers
from vault_harness.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.long]

AT_ONCE = 40

MUTANTS = {
    "logs-in-on-every-403": "policy-narrowed",
    "returns-a-gateway-page-as-a-secret": "page-200",
    "no-total-deadline": "dripping",
}
"""Mutants that a search must find, each limited to one fault to be short."""

MINUTES = 4.0
"""For the singles of a correct client here; a release tries all."""

SAMPLE = 10
"""Mutants, drawn at random."""

MINUTES_EACH = 3.0

SEED = 1
"""The same sample tells whether explore has become better."""

ROOT = Path(__file__).parents[2]


def explored(
    subject: str, minutes: float | None, *, only: frozenset[str] = frozenset()
) -> Explorer:
    options = Options(
        minutes=minutes, at_once=AT_ONCE, cores=os.cpu_count(), pairs=False, only=only, seed=1
    )
    with opened(Settings(engine="process"), subject, seed=1), workers(AT_ONCE) as pool:
        explorer = Explorer(partial(carry_out, subject), pool, options, print)
        explorer.search()
    return explorer


@pytest.mark.parametrize(("name", "fault"), MUTANTS.items())
def test_a_broken_client_is_found(name: str, fault: str) -> None:
    assert explored(CATALOGUE[name].subject, MINUTES, only=frozenset({fault})).broken


@pytest.mark.parametrize("subject", ["reference", "python:tests.subjects.lazy_client:LazyClient"])
def test_a_correct_client_survives_single_faults(subject: str) -> None:
    explorer = explored(subject, MINUTES)
    assert [prose(one) for one in explorer.broken] == []
    assert explorer.coverage.failed == []
    assert explorer.coverage.reached


def out_of_sight(entry: Entry) -> str:
    """Return what a scenario is about that no client meets in explore; empty if nothing."""
    asked = {
        "a database": entry.needs_postgresql or entry.logs_in,
        f"a login by {entry.auth}": entry.auth != "approle",
        "three nodes": entry.nodes > 1,
        "a namespace": bool(entry.namespace),
        "TLS": entry.wire is not None or "tls" in entry.needs,
        "a server that restarts": entry.storage != "inmem",
        "another seal": entry.seal != "shamir",
        "another configuration": bool(entry.environ or entry.role or entry.server),
        "a clock that is set": entry.clock,
        "a name that moves": entry.named,
        "another ability than reading": bool(entry.needs - {"read", "read_all", "cached"}),
    }
    return next((what for what, is_asked in asked.items() if is_asked), "")


def test_how_many_mutants_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    """Print which of a sample are found within some minutes each, which must not be nothing.

    Mutants of a scenario about what explore does not have are counted, and not tried.
    """
    entries = load(ROOT / "scenarios" / "catalogue.toml")
    names = random.Random(SEED).sample(sorted(CATALOGUE), len(CATALOGUE))
    apart = Counter(out_of_sight(entries[one.scenario]) for one in CATALOGUE.values())
    seen = apart.pop("")
    told = ", ".join(f"{count} are about {what}" for what, count in apart.most_common())
    with capsys.disabled():
        _say(f"\n{seen} of {len(CATALOGUE)} mutants live in what explore has: {told}")
        tried = [name for name in names if not out_of_sight(entries[CATALOGUE[name].scenario])]
        found = 0
        for name in tried[:SAMPLE]:
            how = _found(CATALOGUE[name].subject)
            found += how.startswith("found")
            _say(f"{name} ({CATALOGUE[name].scenario}): {how}")
        _say(f"explore found {found} of {SAMPLE}")
    assert found


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")  # pytest-xdist keeps what goes to standard output


def _found(subject: str) -> str:
    try:
        explorer = explored(subject, MINUTES_EACH)
    except SubjectError as error:
        return f"missed: {error}"
    if explorer.broken:
        return f"found: {explorer.broken[0].promise}: {explorer.broken[0].schedule}"
    coverage = explorer.coverage
    tried = f"{coverage.tried} of {coverage.cells} faults tried"
    doubts = f"; not confirmed: {'; '.join(coverage.unsettled)}" * bool(coverage.unsettled)
    failed = f"; the harness broke down: {coverage.failed[0]}" if coverage.failed else ""
    return f"missed: {tried}{doubts}{failed}"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients of these tests be imported by subjects that are programs."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
