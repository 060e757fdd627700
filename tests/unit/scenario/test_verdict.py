from __future__ import annotations

from dataclasses import replace

import pytest

from vault_harness.judge.verdict import Finding, Seen, Word, decide
from vault_harness.recorder.fault import Fault, Signature

WRONG = Finding("p", "a late call", 13.0)
HARM = Finding("p", "a wrong value", 14.0, harm=True)

MET = Seen("the seal", "read answered 503", met=True)
UNMET = Seen("the seal", "the seal never touched the subject's traffic", met=False)


def fault(name: str, began: float, *, optional: bool = False) -> Fault:
    """Return a fault of five seconds."""
    return Fault(name, Signature(), began=began, ended=began + 5.0, optional=optional)


SEAL = fault("the seal", 10.0)
OUTAGE = fault("the outage", 30.0)


@pytest.mark.parametrize(
    ("findings", "seen", "word"),
    [
        ([], MET, "pass"),
        ([WRONG], MET, "fail"),
        ([HARM], MET, "fail"),
        ([], UNMET, "not exercised"),
        ([WRONG], UNMET, "not exercised"),
        ([HARM], UNMET, "fail"),
        ([WRONG, HARM], UNMET, "fail"),
    ],
)
def test_one_fault(findings: list[Finding], seen: Seen, word: Word) -> None:
    """A fault that touched nothing gives no verdict, unless there is harm."""
    assert decide(findings, [seen], faults=[SEAL]).word == word


def test_reasons_and_evidence() -> None:
    """An unmet condition is a reason, a met one is evidence."""
    verdict = decide([], [MET, Seen("c", "c: not seen", met=False)])
    assert (verdict.evidence, verdict.untouched) == (["read answered 503"], ["c: not seen"])
    assert verdict.why == "c: not seen"


# What a finding rests on


def test_finding_on_another_fault_counts() -> None:
    """Its own fault touched the client."""
    in_outage = Finding("p", "79 logins", 32.0)
    verdict = decide([in_outage], [UNMET], faults=[SEAL, OUTAGE])
    assert (verdict.word, verdict.findings) == ("fail", [in_outage])
    assert verdict.untouched == [UNMET.text]


def test_excess_counts_whatever_was_not_met() -> None:
    """It rests on nothing."""
    excess = Finding("p", "two at once", 13.0, rests_on=())
    assert decide([excess], [UNMET], faults=[SEAL]).word == "fail"


def test_finding_that_names_its_ground() -> None:
    """If that was not met, it is set aside."""
    named = Finding("p", "no login", 40.0, rests_on=("ten readers refused",))
    seen = Seen("ten readers refused", "3 of at least 10", met=False)
    verdict = decide([named], [MET, seen], faults=[SEAL])
    assert (verdict.word, verdict.findings) == ("not exercised", [])
    assert [one.why for one in verdict.set_aside] == [
        "rests on ten readers refused, which was not met"
    ]


def test_optional_fault_takes_nothing_away() -> None:
    """It may miss the client."""
    optional = fault("the seal", 10.0, optional=True)
    assert decide([WRONG], [UNMET], faults=[optional]).word == "fail"


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        (True, False, "fail"),
        (False, True, "fail"),
        (True, True, "fail"),
        (False, False, "not exercised"),
    ],
)
@pytest.mark.parametrize("rests_on", [None, ("the seal",)])
def test_fault_that_is_repeated(
    rests_on: tuple[str, ...] | None, first: bool, second: bool, word: Word
) -> None:
    """Once is enough."""
    seals = [SEAL, fault("the seal", 20.0)]
    seen = [
        Seen("the seal", "told", met=met, at=one.began)
        for one, met in zip(seals, (first, second), strict=True)
    ]
    dead = Finding("p", "no read any more", 22.0, rests_on=rests_on)
    assert decide([dead], seen, faults=seals).word == word


def test_fault_that_comes_later_is_no_ground() -> None:
    seals = [SEAL, fault("the seal", 20.0)]
    seen = [Seen("the seal", "no", met=False, at=10.0), Seen("the seal", "503", met=True, at=20.0)]
    assert decide([WRONG], seen, faults=seals).word == "not exercised"


def test_finding_about_the_whole() -> None:
    """It has no time, and rests on the last fault."""
    whole = Finding("p", "2 tokens alive")
    assert decide([whole], [UNMET], faults=[SEAL]).word == "not exercised"
    assert decide([whole], [UNMET], faults=[SEAL, OUTAGE]).word == "fail"


# Before the first fault


def test_finding_before_any_fault() -> None:
    """It proves nothing."""
    early = Finding("p", "a read failed", 3.0, until=3.1)
    verdict = decide([early], [MET], faults=[SEAL])
    assert verdict.word == "not exercised"
    assert verdict.untouched == ["before any fault: +3.00 s: a read failed (promised: p)"]


def test_call_that_was_caught_by_the_fault() -> None:
    """It began before the fault."""
    caught = Finding("p", "a read ended only after 5 s", 9.5, until=14.5)
    assert decide([caught], [MET], faults=[SEAL]).word == "fail"
    over = Finding("p", "a read ended only after 5 s", 3.0, until=8.0)
    assert decide([over], [MET], faults=[SEAL]).word == "not exercised"


def test_finding_whose_end_is_not_known() -> None:
    """It may rest on the fault."""
    assert decide([Finding("p", "never renewed", 3.0)], [MET], faults=[SEAL]).word == "fail"


def test_harm_before_any_fault() -> None:
    early = Finding("p", "a wrong value", 3.0, harm=True)
    assert decide([early], [MET], faults=[SEAL]).word == "fail"


def test_scenario_without_a_fault() -> None:
    """Each finding counts."""
    assert decide([Finding("p", "a read failed", 3.0)], [MET]).word == "fail"


def test_text_of_a_finding() -> None:
    assert str(WRONG) == "+13.00 s: a late call (promised: p)"
    assert str(Finding("p", "2 tokens")) == "2 tokens (promised: p)"


# How many are told


def late(at: float, *, harm: bool = False) -> Finding:
    """Return a call that missed its bound by half a second."""
    return Finding("p", "a late call", at, rests_on=(), missed=0.5, until=at + 1.0, harm=harm)


def test_three_are_enough_for_a_person() -> None:
    """Three of each promise are told, and all harm."""
    other = Finding("q", "another promise", 20.0, rests_on=())
    found = [*(late(11.0 + at) for at in range(9)), other, late(19.5, harm=True)]
    verdict = decide(found, [MET], faults=[SEAL])
    assert verdict.findings == [*found[:3], other, found[-1]]


def test_three_before_a_fault_hide_no_harm_after_it() -> None:
    early = [replace(WRONG, at=float(at), until=at + 0.1) for at in range(5)]
    assert decide(early, [MET], faults=[SEAL]).word == "not exercised"
    verdict = decide([*early, HARM], [MET], faults=[SEAL])
    assert (verdict.word, verdict.findings[-1]) == ("fail", HARM)
