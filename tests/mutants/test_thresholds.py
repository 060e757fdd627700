"""Each number that a verdict turns on has a client on both sides, or a reason why not."""

from __future__ import annotations

import pytest

from tests.mutants.catalogue import CATALOGUE, TOLERATED, group_of
from tests.mutants.comparisons import comparisons, judgements
from tests.mutants.thresholds import (
    JUDGES,
    MACHINERY,
    UNBROKEN,
    Pair,
    all_thresholds,
    constants,
    defaults,
    scenario_thresholds,
    written,
)
from vault_harness.scenario import oracles

FOUND = sorted(all_thresholds(oracles))
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


@pytest.mark.parametrize("threshold", FOUND)
def test_no_threshold_is_forgotten(threshold: str) -> None:
    """A new bound needs its two clients in ``thresholds.toml``, or a reason."""
    assert [pair for pair in PAIRS if pair.about(threshold)], (
        f"thresholds.toml says nothing of {threshold!r}: name who just keeps it and who just "
        "misses it, or why there is no such pair"
    )


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.of[0])
def test_each_entry_is_about_something(pair: Pair) -> None:
    """A pattern that matches nothing is of a bound that is no more, or has got another number."""
    dead = [one for one in pair.of if not any(Pair([one]).about(each) for each in FOUND)]
    assert dead == []


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.of[0])
def test_two_clients_or_a_reason(pair: Pair) -> None:
    """Never one side alone; both are clients that the suite is tried with."""
    if pair.why:
        assert (pair.kept, pair.missed) == ("", "")
        assert len(pair.why.split()) >= 6, "a reason, and not a word"
    else:
        assert pair.kept in {*TOLERATED, UNBROKEN}
        assert pair.missed in CATALOGUE


@pytest.mark.parametrize(
    "pair", [pair for pair in PAIRS if pair.kept], ids=lambda pair: pair.missed
)
def test_a_pair_meets_the_scenario_of_its_threshold(pair: Pair) -> None:
    """The two meet one and the same scenario, which asks for that number itself."""
    scenario = CATALOGUE[pair.missed].scenario
    if pair.kept != UNBROKEN:  # which meets each scenario that has a mutant
        assert TOLERATED[pair.kept].scenario == scenario
    asked = {each.split()[0] for each in FOUND if pair.about(each)}
    # A number of an oracle, or of what runs the scenarios, is asked for in many of them.
    assert {each for each in asked if not each.islower()} <= {scenario, group_of(scenario)}


def test_bounds_are_found_where_they_are_given() -> None:
    """Through functions and names, positional or not; a moment, a text, an unused one are none."""
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
    """Of more and less, and with counts, in what a scenario comes to; a sum stands for its name."""
    assert sorted(comparisons(COMPARES)) == [
        "TOK-99 if 2 == len(lab.drivers)",
        "TOK-99 if age - lab.deadline > 0",
        "TOK-99 if count > 1",
        "TOK-99 if each.tries >= 3",
        "TOK-99 if lab.history.now() < limit + 3.0",
    ]


def test_comparisons_of_the_suite_are_among_the_thresholds() -> None:
    """What no oracle is given, and a scenario decides by itself."""
    assert "KV-02 if age < limit - lab.refresh - slack" in FOUND


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
    """In functions and methods, the lesser of two with a number too; what makes a word is none."""
    assert sorted(judgements("closing", JUDGING)) == [
        "closing Footprint.growth if after[n] > b + spare",
        "closing _closed if lab.history.now() - since - LONGEST > 0",
        "closing _closed if lab.status >= 300",
        "closing _closed takes min(lab.cap, LONGEST)",
        "closing deadline takes self.declared('deadline', 2.0)",
    ]


def test_whoever_finds_fault_is_read() -> None:
    """A module beside the oracles that can fail a client is among those whose numbers are found."""
    files = [path for path in MACHINERY.rglob("*.py") if "oracles" not in path.parts]
    finding = [path for path in files if "Finding(" in path.read_text("utf-8")]
    finds = {path.relative_to(MACHINERY).parts[0].removesuffix(".py") for path in finding}
    assert finds >= {"closing", "helpers"}
    assert finds <= JUDGES


@pytest.mark.parametrize(
    "threshold",
    [
        "closing _healthy if lab.history.now() < since + bound",
        "helpers turns if now > began + within + lab.history.slack(began, now)",
        "running Running.recovery_after takes max(1.0, 1.5 * fault.length)",
    ],
)
def test_comparisons_beside_the_scenarios_are_among_the_thresholds(threshold: str) -> None:
    """What the closing act, a helper and the lab decide, whatever scenario it is."""
    assert threshold in FOUND


def test_bounds_that_hold_where_none_is_given_are_found() -> None:
    """A number that an oracle has by default decides as one that a scenario gives it."""
    assert "oracles replaced_before_the_end.at_least = 1" in set(defaults(oracles))
