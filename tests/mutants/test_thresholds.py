"""Each number that decides a verdict has a client on both sides, or a reason."""

from __future__ import annotations

import pytest

from tests.mutants.catalogue import CATALOGUE, TOLERATED, group_of
from tests.mutants.comparisons import comparisons, judgements
from tests.mutants.thresholds import (
    JUDGE,
    JUDGES,
    RECORDER,
    UNBROKEN,
    Pair,
    all_thresholds,
    constants,
    defaults,
    scenario_thresholds,
    written,
)
from vault_harness.judge import oracles

PAIRS = written()

SOURCE = """
PACE, NAME = 0.5, "x"

@pytest.mark.scenario("TOK-99")
def test_it(lab):
    bound = 3.0
    lab.logs_in_again(since=1.0, within=bound)
    turns(lab, well=False, within=0.5 * lab.ttl)
    judged(lab)

def judged(lab):
    lab.judge(renews_within(0.3, high=0.9, until=4.0), no_failed_read(until=2.0))

def nobody_calls_it(lab):
    lab.judge(logins_at_most(7))
"""


@pytest.fixture(scope="module")
def found() -> list[str]:
    return sorted(all_thresholds(oracles))


def test_no_threshold_is_forgotten(found: list[str]) -> None:
    """A new bound needs two clients in ``bounds.toml``, or a reason in ``thresholds.toml``."""
    forgotten = [each for each in found if not any(pair.about(each) for pair in PAIRS)]
    assert not forgotten, (
        "nothing is said of these: name in scenarios/bounds.toml the client that just keeps each "
        "and the one that just misses it, or say in thresholds.toml why there is no such pair"
    )


def test_each_entry_is_about_something(found: list[str]) -> None:
    patterns = [one for pair in PAIRS for one in pair.of]
    assert [one for one in patterns if not any(Pair([one]).about(each) for each in found)] == []


def test_two_clients_or_a_reason() -> None:
    for pair in PAIRS:
        if pair.why:
            assert (pair.kept, pair.missed) == ("", ""), pair
            assert len(pair.why.split()) >= 6, f"a reason, and not a word: {pair}"
        else:
            assert pair.kept in {*TOLERATED, UNBROKEN}, pair
            assert pair.missed in CATALOGUE, pair


def test_a_pair_meets_the_scenario_of_its_threshold(found: list[str]) -> None:
    """They meet one scenario, which asks for that number itself."""
    for pair in PAIRS:
        if not pair.kept:
            continue
        scenario = CATALOGUE[pair.missed].scenario
        if pair.kept != UNBROKEN:  # the unbroken client meets each scenario that has a mutant
            assert TOLERATED[pair.kept].scenario == scenario, pair
        asked = {each.split()[0] for each in found if pair.about(each)}
        # Many scenarios ask for a number of an oracle, or of the lab.
        named = {each for each in asked if not each.islower()}
        assert named <= {scenario, group_of(scenario)}, pair


def test_bounds_are_found_where_they_are_given() -> None:
    """Through functions and names; no moments, texts or unused numbers."""
    assert sorted(scenario_thresholds(SOURCE, oracles)) == [
        "TOK-99 lab.logs_in_again.within = 3.0",
        "TOK-99 renews_within.high = 0.9",
        "TOK-99 renews_within.low = 0.3",
        "TOK-99 turns.within = 0.5 * lab.ttl",
    ]
    assert list(constants("TOK", SOURCE)) == ["TOK PACE = 0.5"]


COMPARES = """
@pytest.mark.scenario("TOK-99")
def test_it(lab):
    limit = lab.declared("max_stale", 0.0)
    late = limit + 3.0
    while lab.history.now() < late:
        one = lab.client.read()
    count = 1
    count += 1
    judged(lab, one.ended - one.began)

def judged(lab, age):
    over, status = age - lab.deadline, 403
    if over > 0 and [each for each in lab.calls if each.status == 403 and each.tries >= 3]:
        lab.note("late")
    lab.require("two", lambda _: 2 == len(lab.drivers) and count > 1)
    return lab.kind == "http" or over is None

def nobody_calls_it(lab):
    return lab.ttl > 7
"""


def test_comparisons_within_scenarios_are_found() -> None:
    """More and less, and counts; a sum stands in place of its name."""
    assert sorted(comparisons(COMPARES)) == [
        "TOK-99 if 2 == len(lab.drivers)",
        "TOK-99 if age - lab.deadline > 0",
        "TOK-99 if count > 1",
        "TOK-99 if each.tries >= 3",
        "TOK-99 if lab.history.now() < limit + 3.0",
    ]


JUDGING = """
LONGEST = 60.0

class Footprint:
    def growth(self, after, before, *, spare):
        return {f"{n}: {b}" for n, b in before if after[n] > b + spare}

def _closed(lab, since):
    took = lab.history.now() - since
    over = took - LONGEST
    if over > 0 and lab.status >= 300:
        lab.note(f"{took} token" + "s" * (len(lab.left) != 1))
    word = "was" if len(lab.left) == 1 else "were"
    return min(lab.cap, LONGEST) + max(lab.one, lab.other) + max(0, lab.other)

def deadline(self):
    return self.declared("deadline", 2.0)
"""


def test_comparisons_of_what_many_scenarios_use_are_found() -> None:
    """In functions and methods, and minima; no choices of a word."""
    assert sorted(judgements("closing", JUDGING)) == [
        "closing Footprint.growth if after[n] > b + spare",
        "closing _closed if lab.history.now() - since - LONGEST > 0",
        "closing _closed if lab.status >= 300",
        "closing _closed takes min(lab.cap, LONGEST)",
        "closing deadline takes self.declared('deadline', 2.0)",
    ]


def test_modules_that_make_findings_are_read() -> None:
    """For numbers that can fail a client."""
    files = [*JUDGE.glob("*.py"), *(JUDGE / "helpers").glob("*.py"), *RECORDER.glob("*.py")]
    finding = [path for path in files if "Finding(" in path.read_text("utf-8")]
    finds = {"helpers" if path.parent.name == "helpers" else path.stem for path in finding}
    assert finds >= {"closing", "helpers"}
    assert finds <= JUDGES


def test_each_kind_of_comparison_is_among_the_thresholds(found: list[str]) -> None:
    """Of a scenario, the closing act, a helper and the lab."""
    assert {
        "KV-02 if age < limit - lab.refresh - SLACK",
        "closing _healthy if lab.history.now() < since + bound",
        "helpers turns if now > began + within + SLACK",
        "running Running.recovery_after takes max(1.0, 1.5 * fault.length)",
    } <= set(found)


def test_bounds_that_hold_where_none_is_given_are_found() -> None:
    """An oracle's default is a threshold too."""
    assert "oracles logins_are_spread.share = 0.85" in set(defaults(oracles))
