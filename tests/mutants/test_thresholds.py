"""Each number that decides a verdict has a client on both sides, or a reason why not."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from tests.mutants.catalogue import CATALOGUE, TOLERATED, group_of
from tests.mutants.comparisons import comparisons, judgements
from tests.mutants.thresholds import (
    JUDGE,
    JUDGES,
    RECORDER,
    SCENARIOS,
    UNBROKEN,
    Pair,
    all_thresholds,
    constants,
    defaults,
    scenario_thresholds,
    written,
)
from vault_harness.judge import oracles

FOUND = sorted(all_thresholds(oracles))
PAIRS = written()
BOUNDS: list[dict[str, Any]] = tomllib.loads(
    (SCENARIOS / "bounds.toml").read_text(encoding="utf-8")
)["bound"]
"""Those of docs/reference/bounds.md."""

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
        f"thresholds.toml says nothing of {threshold!r}: name the client that just keeps it and "
        "the one that just misses it, or say why there is no such pair"
    )


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.of[0])
def test_each_entry_is_about_something(pair: Pair) -> None:
    """Each pattern matches a bound of today."""
    dead = [one for one in pair.of if not any(Pair([one]).about(each) for each in FOUND)]
    assert dead == []


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.of[0])
def test_two_clients_or_a_reason(pair: Pair) -> None:
    """An entry has two clients that the suite is tried with, or a reason."""
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
    """The two clients meet the same scenario, which asks for that number itself."""
    scenario = CATALOGUE[pair.missed].scenario
    if pair.kept != UNBROKEN:  # the unbroken client meets each scenario that has a mutant
        assert TOLERATED[pair.kept].scenario == scenario
    asked = {each.split()[0] for each in FOUND if pair.about(each)}
    # A number of an oracle, or of the lab, is asked for in many scenarios.
    assert {each for each in asked if not each.islower()} <= {scenario, group_of(scenario)}


def test_each_pair_is_told_to_the_reader() -> None:
    """Each pair is in the data of docs/reference/bounds.md, and no other one."""
    told = {(side["kept_by"], side["missed_by"]) for bound in BOUNDS for side in bound["sides"]}
    assert told == {(pair.kept, pair.missed) for pair in PAIRS if pair.kept}


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound["what"])
def test_a_bound_names_the_scenarios_of_its_clients(bound: dict[str, Any]) -> None:
    """The scenarios that ask for a bound are those that catch its clients."""
    catch = {CATALOGUE[side["missed_by"]].scenario for side in bound["sides"]}
    assert set(bound["scenarios"]) == catch
    assert bound["why"]


def test_bounds_are_found_where_they_are_given() -> None:
    """Bounds are found through functions and names; moments, texts and unused numbers are not."""
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
    """Comparisons of more and less and of counts are found, with a sum in place of its name."""
    assert sorted(comparisons(COMPARES)) == [
        "TOK-99 if 2 == len(lab.drivers)",
        "TOK-99 if age - lab.deadline > 0",
        "TOK-99 if count > 1",
        "TOK-99 if each.tries >= 3",
        "TOK-99 if lab.history.now() < limit + 3.0",
    ]


def test_comparisons_of_the_suite_are_among_the_thresholds() -> None:
    """Comparisons that a scenario makes by itself are among the thresholds."""
    assert "KV-02 if age < limit - lab.refresh - SLACK" in FOUND


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
    """Comparisons in functions and methods are found, and minima; choices of a word are not."""
    assert sorted(judgements("closing", JUDGING)) == [
        "closing Footprint.growth if after[n] > b + spare",
        "closing _closed if lab.history.now() - since - LONGEST > 0",
        "closing _closed if lab.status >= 300",
        "closing _closed takes min(lab.cap, LONGEST)",
        "closing deadline takes self.declared('deadline', 2.0)",
    ]


def test_modules_that_make_findings_are_read() -> None:
    """Each module beside the oracles that can fail a client is read for its numbers."""
    files = [*JUDGE.glob("*.py"), *(JUDGE / "helpers").glob("*.py"), *RECORDER.glob("*.py")]
    finding = [path for path in files if "Finding(" in path.read_text("utf-8")]
    finds = {"helpers" if path.parent.name == "helpers" else path.stem for path in finding}
    assert finds >= {"closing", "helpers"}
    assert finds <= JUDGES


@pytest.mark.parametrize(
    "threshold",
    [
        "closing _healthy if lab.history.now() < since + bound",
        "helpers turns if now > began + within + SLACK",
        "running Running.recovery_after takes max(1.0, 1.5 * fault.length)",
    ],
)
def test_comparisons_beside_the_scenarios_are_among_the_thresholds(threshold: str) -> None:
    """Comparisons of the closing act, a helper and the lab are among the thresholds."""
    assert threshold in FOUND


def test_bounds_that_hold_where_none_is_given_are_found() -> None:
    """An oracle's default is a threshold, as a number from a scenario is."""
    assert "oracles replaced_before_the_end.at_least = 1" in set(defaults(oracles))
