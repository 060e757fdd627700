"""Which verdict several runs give, and when another run is needed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_harness.judge.confirmation import SLOW_RUNS, WORK, joined, settled, told, too_slow
from vault_harness.judge.verdict import TOO_SLOW
from vault_harness.recorder.observations import Stall
from vault_harness.recorder.witness import Machine

SLOW = f"{TOO_SLOW}: it stood still for 3.00 s at +4.00 s"
LEAK = {"promise": "no secret", "seen": "its log has token-1", "at": 1.5, "harm": True}


def ran(text: str, *leaks: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a run: a word, the broken promises, ``slow`` and ``harm``."""
    word, *more = text.split(", ")
    promises = [one for one in more if one not in ("slow", "harm")]
    found = [
        {"promise": one, "seen": f"not {one}", "harm": "harm" in more}
        for one in promises or ["p"] * (word == "fail")
    ]
    return {
        "word": word,
        "why": found[0]["seen"] if found else "" if word == "pass" else f"it is {word}",
        "findings": found,
        "untouched": [],
        "set_aside": [],
        "leaks": list(leaks),
        "too_slow": SLOW if "slow" in more else "",
        "seconds": 1.5,
    }


@pytest.mark.parametrize(
    ("runs", "word"),
    [
        (["pass"], "pass"),
        (["pass, slow"], None),
        (["skipped"], "skipped"),
        (["fail"], None),
        (["fail, harm"], "fail"),
        (["error"], None),
        (["error, p, harm"], "error"),
        (["not exercised"], None),
        # One quiet run
        (["pass, slow", "pass"], "pass"),
        (["pass, slow", "fail"], None),
        (["fail, a", "fail, a"], "fail"),
        (["fail, a, slow", "fail, a"], "fail"),
        (["fail, within 3.5 s", "fail, within 4 s"], "fail"),
        (["fail, a", "fail, b"], None),
        (["fail, a", "fail, a, slow"], None),
        (["fail", "pass"], None),
        (["fail, slow", "pass"], "pass"),
        (["fail", "not exercised"], None),
        (["fail", "fail, harm"], "fail"),
        (["not exercised", "not exercised"], "not exercised"),
        (["not exercised", "pass"], "pass"),
        (["not exercised", "fail"], None),
        (["error", "error"], "error"),
        (["error", "pass"], "pass"),
        # Two quiet runs that count
        (["fail", "pass", "pass"], "pass"),
        (["fail", "pass", "fail"], "flaky"),
        (["fail, a", "fail, b", "fail, c"], "fail"),
        (["fail", "not exercised", "pass"], "pass"),
        (["fail, a", "not exercised", "fail, a"], "fail"),
        (["not exercised", "fail", "not exercised"], "not exercised"),
        (["not exercised", "fail", "pass"], "flaky"),
        (["fail", "pass", "pass, slow"], None),
        (["fail", "pass", "fail, slow", "fail"], "flaky"),
        # A machine that is too slow
        (["fail, slow", "fail, slow", "fail, slow"], None),
        (["fail", *["fail, slow"] * SLOW_RUNS], "not exercised"),
        (["pass, slow", *["pass, slow"] * SLOW_RUNS], "not exercised"),
    ],
)
def test_word_of_some_runs(runs: list[str], word: str | None) -> None:
    """The first run is crowded, all others are quiet."""
    assert settled([ran(one) for one in runs]) == word


@pytest.mark.parametrize(
    ("runs", "word"),
    [
        (["pass"], "pass"),
        (["fail", "fail", "fail"], None),
        (["fail", "fail, harm"], "fail"),
        (["fail", "pass", "fail, harm", "pass"], "fail"),
        (["fail", "fail", "fail", "fail, slow"], None),
        (["fail", "fail", "fail", "fail"], "fail"),
        (["fail", "fail", "fail", "pass"], "flaky"),
        (["not exercised", "pass", "not exercised", "pass"], "pass"),
        (["not exercised", *["not exercised"] * 3], "not exercised"),
        (["not exercised", "not exercised", "fail", "fail"], "fail"),
    ],
)
def test_word_of_three_quiet_runs(runs: list[str], word: str | None) -> None:
    """As ``--confirm 3`` asks for."""
    assert settled([ran(one) for one in runs], confirm=3) == word


KINDS = ["pass", "fail, a", "fail, b", "not exercised", "error", "skipped"]


@given(st.lists(st.sampled_from([*KINDS, *(f"{kind}, slow" for kind in KINDS)]), min_size=6))
def test_every_verdict_is_settled_at_last(kinds: list[str]) -> None:
    """A first run, two quiet runs that count, and a few slow ones are enough."""
    runs = [ran(kind) for kind in kinds]
    assert any(settled(runs[:count]) for count in range(1, 3 + SLOW_RUNS))


@given(st.lists(st.sampled_from(KINDS), min_size=3, max_size=3))
def test_no_failure_without_a_second_one(kinds: list[str]) -> None:
    """Harm needs no second run."""
    runs = [ran(kind) for kind in kinds]
    for count in range(1, 4):
        if (word := settled(runs[:count])) is not None:
            failed = sum(run["word"] == "fail" for run in runs[:count])
            assert word != "fail" or failed > 1
            break


@pytest.mark.parametrize(
    ("word", "missed", "stall", "wanted", "counts"),
    [
        ("pass", None, 0.4, 99.0, True),
        ("pass", None, 0.6, 1.0, False),
        ("fail", None, 0.4, 1.0, True),
        ("fail", None, 0.6, 1.0, False),
        ("fail", 0.3, 0.2, 1.0, True),
        ("fail", 0.3, 0.4, 1.0, False),
        ("fail", 9.0, 0.6, 1.0, True),
        ("fail", None, 0.0, 0.9 + 0.5 / WORK, True),
        ("fail", None, 0.0, 1.1 + 0.5 / WORK, False),
        ("fail", 5.0, 0.0, 30.0, True),
        ("fail", 1.0, 0.0, 30.0, False),
        ("fail", 0.06, 0.0, 0.5, True),
        ("not exercised", None, 0.0, 99.0, False),
    ],
)
def test_run_that_counts(
    word: Any, missed: float | None, stall: float, wanted: float, counts: bool
) -> None:
    """The machine was late by less than the bound in question."""
    findings = [{"missed": missed}] if word == "fail" else []
    machine = Machine([Stall(1.0, 0.01), Stall(4.0, stall)], wanted)
    why = too_slow(machine, bound=0.5, word=word, findings=findings)
    assert (why == "") is counts
    assert counts or why.startswith(TOO_SLOW)


def test_one_finding_that_is_no_matter_of_time() -> None:
    """It counts even beside a small delay."""
    machine = Machine([Stall(4.0, 0.4)])
    findings: list[dict[str, float | None]] = [{"missed": 0.1}, {"missed": None}]
    assert too_slow(machine, bound=0.5, word="fail", findings=findings) == ""


def test_record_of_a_confirmed_failure() -> None:
    """It shows the quiet run and lists both."""
    first, quiet = ran("fail, a"), ran("fail, a, b")
    record = told([first, quiet])
    assert record["findings"] == quiet["findings"]
    assert record["seconds"] == 3.0
    assert (
        record["confirmation"]
        == [{"word": "fail", "why": "not a (promised: a)", "too_slow": "", "seconds": 1.5}] * 2
    )


def test_record_of_a_first_run() -> None:
    assert "confirmation" not in told([ran("pass")])


def test_record_of_a_flaky_client() -> None:
    """It shows the failed quiet run and a rate."""
    record = told([ran("fail, a"), ran("pass"), ran("fail, b")])
    assert (record["word"], record["rate"]) == ("flaky", "1 of 2")
    assert record["why"] == "1 of 2 quiet runs pass; fail: not b"
    assert record["findings"][0]["promise"] == "b"


def test_record_of_harm() -> None:
    """Runs side by side can all end before it is noticed."""
    record = told([ran("fail, a"), ran("fail, b, harm"), ran("fail, c")], confirm=2)
    assert [one["harm"] for one in record["findings"]] == [True]


def test_record_of_a_machine_that_is_too_slow() -> None:
    """Failures are set aside and told."""
    record = told([ran("fail, a"), *[ran("fail, a, slow")] * SLOW_RUNS])
    assert record["word"] == "not exercised"
    assert record["untouched"] == [SLOW, f"{TOO_SLOW}: set aside for it: not a (promised: a)"]
    assert record["why"] == "; ".join(record["untouched"])
    assert record["findings"] == []
    assert [one["finding"]["promise"] for one in record["set_aside"]] == ["a"]


def test_a_leak_of_any_run_is_reported() -> None:
    record = told([ran("fail", LEAK), ran("pass"), ran("pass")])
    assert [leak["seen"] for leak in record["leaks"]] == ["in try 1, +1.50 s: its log has token-1"]


# Verdicts of several repetitions


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["pass", "pass", "not exercised"], "not exercised"),
        (["pass", "error", "not exercised"], "error"),
        (["not exercised", "fail"], "fail"),
        (["error", "fail"], "fail"),
        (["pass", "not exercised", "fail"], "flaky"),
        (["pass", "flaky"], "flaky"),
        (["fail", "flaky"], "flaky"),
    ],
)
def test_flaky_is_what_passes_and_fails(words: list[str], word: str) -> None:
    """Other words do not make it so."""
    record = joined([ran(one) for one in words])
    assert record["word"] == word
    passed = f"{words.count('pass')} of {len(words)}"
    assert record.get("rate") == (passed if len(set(words)) > 1 else None)


def test_harm_of_a_later_run_is_shown() -> None:
    """A repetition that did harm stands for all."""
    runs = [ran("pass"), ran("fail, too late"), ran("fail, wrong, harm")]
    record = joined(runs)
    assert [found["harm"] for found in record["findings"]] == [True]
    assert record["why"] == "1 of 3 runs pass; fail: not wrong"
    assert joined(runs[:2])["why"] == "1 of 2 runs pass; fail: not too late"


@pytest.mark.parametrize("word", ["pass", "not exercised"])
def test_leaks_of_all_repetitions_are_recorded(word: str) -> None:
    (leak,) = joined([ran(word), ran(word, LEAK)])["leaks"]
    assert (leak["seen"], leak["at"]) == ("in run 2, +1.50 s: its log has token-1", None)
    assert joined([ran("pass", LEAK), ran("fail"), ran("pass", LEAK)])["leaks"] == [
        {**LEAK, "seen": "in run 1, +1.50 s: its log has token-1", "at": None}
    ]
    assert joined([ran("pass", LEAK), ran("pass", LEAK)])["leaks"] == [LEAK]
