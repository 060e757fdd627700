"""From findings and from what happened to one of three words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vault_harness.faults import Fault, Signature
from vault_harness.scenario.observations import Crowding, Stall, Starved
from vault_harness.scenario.verdict import ENOUGH, TOO_SLOW, Finding, Seen, Word, decide

WRONG = Finding("p", "a late call", 13.0)
HARM = Finding("p", "a wrong value", 14.0, harm=True)

MET = Seen("the seal", "read answered 503", met=True)
UNMET = Seen("the seal", "the seal never touched the subject's traffic", met=False)


def fault(name: str, began: float, *, optional: bool = False) -> Fault:
    """One that lasts for five seconds."""
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
    """A fault that touched nothing makes no pass and no failure, unless harm was done."""
    assert decide(findings, [seen], faults=[SEAL]).word == word


def test_reasons_and_evidence() -> None:
    """What was not met is a reason, what was met is evidence."""
    verdict = decide([], [MET, Seen("c", "c: not seen", met=False)])
    assert (verdict.evidence, verdict.untouched) == (["read answered 503"], ["c: not seen"])
    assert verdict.why == "c: not seen"


# What a finding rests on


def test_finding_on_another_fault_counts() -> None:
    """The one that was not met is the seal; in the outage the client failed for its own."""
    in_outage = Finding("p", "79 logins", 32.0)
    verdict = decide([in_outage], [UNMET], faults=[SEAL, OUTAGE])
    assert (verdict.word, verdict.findings) == ("fail", [in_outage])
    assert verdict.untouched == [UNMET.text]


def test_excess_counts_whatever_was_not_met() -> None:
    """Two renewals at once are two, with or without a seal."""
    excess = Finding("p", "two at once", 13.0, rests_on=())
    assert decide([excess], [UNMET], faults=[SEAL]).word == "fail"


def test_finding_that_names_its_ground() -> None:
    """It does not count, and the verdict says why."""
    named = Finding("p", "no login", 40.0, rests_on=("ten readers refused",))
    seen = Seen("ten readers refused", "3 of at least 10", met=False)
    verdict = decide([named], [MET, seen], faults=[SEAL])
    assert (verdict.word, verdict.findings) == ("not exercised", [])
    assert [one.why for one in verdict.set_aside] == [
        "rests on ten readers refused, which was not met"
    ]


def test_optional_fault_takes_nothing_away() -> None:
    """Whether one of many short outages touched the client is left open."""
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
    """Whom the first has killed is not touched by the second, and was broken by it."""
    seals = [SEAL, fault("the seal", 20.0)]
    seen = [
        Seen("the seal", "told", met=met, at=one.began)
        for one, met in zip(seals, (first, second), strict=True)
    ]
    dead = Finding("p", "no read any more", 22.0, rests_on=rests_on)
    assert decide([dead], seen, faults=seals).word == word


def test_fault_that_comes_later_is_no_ground() -> None:
    """What was seen before it rests on the one that touched nothing."""
    seals = [SEAL, fault("the seal", 20.0)]
    seen = [Seen("the seal", "no", met=False, at=10.0), Seen("the seal", "503", met=True, at=20.0)]
    assert decide([WRONG], seen, faults=seals).word == "not exercised"


def test_finding_about_the_whole() -> None:
    """It rests on the last fault."""
    whole = Finding("p", "2 tokens alive")
    assert decide([whole], [UNMET], faults=[SEAL]).word == "not exercised"
    assert decide([whole], [UNMET], faults=[SEAL, OUTAGE]).word == "fail"


# Before the first fault


def test_finding_before_any_fault() -> None:
    """There was no steady state to break."""
    early = Finding("p", "a read failed", 3.0, until=3.1)
    verdict = decide([early], [MET], faults=[SEAL])
    assert verdict.word == "not exercised"
    assert verdict.untouched == ["before any fault: +3.00 s: a read failed (promised: p)"]


def test_call_that_was_caught_by_the_fault() -> None:
    """It began before it, and was held up in it."""
    caught = Finding("p", "a read ended only after 5 s", 9.5, until=14.5)
    assert decide([caught], [MET], faults=[SEAL]).word == "fail"
    over = Finding("p", "a read ended only after 5 s", 3.0, until=8.0)
    assert decide([over], [MET], faults=[SEAL]).word == "not exercised"


def test_finding_whose_end_is_not_known() -> None:
    """A life that began before the fault may have gone wrong within it."""
    assert decide([Finding("p", "never renewed", 3.0)], [MET], faults=[SEAL]).word == "fail"


def test_harm_before_any_fault() -> None:
    """It is never excused."""
    early = Finding("p", "a wrong value", 3.0, harm=True)
    assert decide([early], [MET], faults=[SEAL]).word == "fail"


def test_scenario_without_a_fault() -> None:
    """Its findings are before none."""
    assert decide([Finding("p", "a read failed", 3.0)], [MET]).word == "fail"


# The machine


@pytest.mark.parametrize(
    ("missed", "stall", "word"),
    [
        (0.8, Stall(13.5, 0.3), "not exercised"),  # long enough, within the window
        (0.8, Stall(13.5, 0.1), "fail"),  # too short to explain it
        (0.8, Stall(20.0, 3.0), "fail"),  # after it
        (0.8, Stall(11.0, 1.5), "fail"),  # before it
        (0.8, Stall(11.0, 2.5), "not exercised"),  # begun before it
        (None, Stall(13.5, 3.0), "fail"),  # no matter of time
    ],
)
def test_stall_that_explains_a_missed_bound(missed: float | None, stall: Stall, word: Word) -> None:
    """The machine's fault is not the client's."""
    late = Finding("p", "a login after 2.8 s", 13.0, missed=missed, until=15.0)
    verdict = decide([late], [MET], faults=[SEAL], stalls=[stall])
    assert verdict.word == word
    if word == "not exercised":
        assert verdict.why.startswith("the machine was too slow: it stood still for ")
        assert verdict.why.endswith(f"; set aside for it: {late}")


def test_other_findings_count_beside_a_stall() -> None:
    """One finding is explained, the other is not."""
    late = Finding("p", "late", 13.0, missed=0.5, until=15.0)
    verdict = decide([late, WRONG], [MET], faults=[SEAL], stalls=[Stall(14.0, 1.0)])
    assert (verdict.word, verdict.findings) == ("fail", [WRONG])


@pytest.mark.parametrize(("length", "word"), [(0.4, "pass"), (0.6, "not exercised")])
def test_pass_on_a_machine_that_stood_still(length: float, word: Word) -> None:
    """A broken client may have been granted what the machine took."""
    verdict = decide([], [MET], stalls=[Stall(2.0, length)], longest_stall=0.5)
    assert verdict.word == word


@pytest.mark.parametrize(
    ("stall", "word"),
    [
        (Stall(3.0, 1.2), "not exercised"),
        (Stall(3.0, 0.4), "fail"),
        (Stall(1.0, 0.9), "fail"),
        (Stall(6.5, 1.2), "fail"),
    ],
    ids=["longer than a bound", "shorter", "before the fault", "after the finding"],
)
def test_excess_on_a_machine_that_stood_still(stall: Stall, word: Word) -> None:
    """A login too many after a stall as long as a call's deadline may be the machine's doing."""
    fault = Fault("vault sealed", Signature(), began=2.0, ended=4.0)
    finding = Finding("no login", "1 login", 5.0, rests_on=())
    verdict = decide([finding], [MET], faults=[fault], stalls=[stall], longest_stall=1.0)
    assert verdict.word == word
    assert verdict.too_slow is (word == "not exercised")


@pytest.mark.parametrize(
    ("finding", "stall", "in_doubt"),
    [(WRONG, 0.25, True), (WRONG, 0.15, False), (replace(WRONG, harm=True), 0.25, False)],
    ids=["a late call on a busy machine", "on an idle one", "harm is harm"],
)
def test_failure_that_a_second_run_must_confirm(
    finding: Finding, stall: float, in_doubt: bool
) -> None:
    """A busy machine makes a client late in more ways than one stall explains; never harmful."""
    verdict = decide([finding], [MET], stalls=[Stall(1.0, stall)], longest_stall=1.0)
    assert verdict.word == "fail"
    assert verdict.in_doubt is in_doubt


LATE = Finding("p", "a late call", 13.0, missed=1.5, until=16.5)


@pytest.mark.parametrize(
    ("found", "waited", "in_doubt"),
    [
        ([LATE], 2.0, True),  # three quarters of it are as long as the bound was missed by
        ([LATE], 1.9, False),
        ([LATE, WRONG], 3.5, False),  # one that is no matter of time counts as it is
        ([replace(LATE, harm=True)], 3.5, False),
        ([replace(LATE, at=None)], 3.5, False),
    ],
    ids=["crowded", "less so", "another finding", "harm is harm", "no moment"],
)
def test_late_in_a_crowd(found: list[Finding], waited: float, in_doubt: bool) -> None:
    """Bounds missed by less than others' turns may have taken have to be missed again without."""
    verdict = decide(found, [MET], crowding=[Crowding(13.0, 16.5, waited)], longest_stall=1.0)
    assert verdict.word == "fail"
    assert verdict.in_doubt is in_doubt


@pytest.mark.parametrize(
    ("found", "in_doubt"),
    [
        ([replace(WRONG, repeated=True)], True),
        ([replace(WRONG, repeated=True), WRONG], False),
        ([replace(WRONG, repeated=True, harm=True)], False),
    ],
    ids=["alone", "beside another", "harm is harm"],
)
def test_finding_that_counts_if_it_is_repeated(found: list[Finding], in_doubt: bool) -> None:
    """However idle the machine looked; another finding that counts makes it needless."""
    verdict = decide(found, [MET], longest_stall=1.0)
    assert verdict.word == "fail"
    assert verdict.in_doubt is in_doubt


SHORT = Finding("p", "none came", 10.0, until=18.0, lacks=True)


@pytest.mark.parametrize(
    ("finding", "waited", "word"),
    [
        (SHORT, 2.7, "not exercised"),
        (SHORT, 2.6, "fail"),
        (replace(SHORT, lacks=False), 2.7, "fail"),
        (replace(SHORT, lacks=False, missed=2.6), 2.7, "not exercised"),
        (replace(SHORT, lacks=False, missed=2.8), 2.7, "fail"),
        (replace(SHORT, harm=True), 2.7, "fail"),
        (replace(SHORT, at=None), 2.7, "fail"),
        (replace(SHORT, lacks=False, missed=0.1, until=10.0), 2.7, "fail"),
    ],
    ids=[
        "did not come",
        "waited for less than a third of it",
        "too much is no matter of cores",
        "late by less than it waited",
        "late by more",
        "harm is harm",
        "no moment",
        "no while",
    ],
)
def test_starved_subject(finding: Finding, waited: float, word: str) -> None:
    """What is late, or does not come, while no core is free says nothing of a client."""
    verdict = decide([finding], [MET], starved=[Starved(10.0, 18.0, waited)], longest_stall=1.0)
    assert verdict.word == word
    assert verdict.too_slow is (word == "not exercised")


def test_why_a_starved_subject_is_not_judged() -> None:
    """The reason says for how long, of what, and from when."""
    verdict = decide([SHORT], [MET], starved=[Starved(9.0, 19.0, 5.0)], longest_stall=1.0)
    hunger = "no core was free for 4.00 of the 8.00 s from +10.00 s"
    assert verdict.why == f"{TOO_SLOW}: {hunger}; set aside for it: {SHORT}"


def test_starved_at_another_time() -> None:
    """It had its cores when it mattered."""
    verdict = decide([SHORT], [MET], starved=[Starved(2.0, 10.0, 8.0)], longest_stall=1.0)
    assert verdict.word == "fail"


def test_crowd_at_another_time() -> None:
    """It was over when the call began."""
    verdict = decide([LATE], [MET], crowding=[Crowding(9.0, 12.5, 3.5)], longest_stall=1.0)
    assert not verdict.in_doubt


def test_text_of_a_finding() -> None:
    """When, what was seen, and what was promised."""
    assert str(WRONG) == "+13.00 s: a late call (promised: p)"
    assert str(Finding("p", "2 tokens")) == "2 tokens (promised: p)"


# How many are told


def late(at: float, *, harm: bool = False) -> Finding:
    """A call that missed its bound by half a second."""
    return Finding("p", "a late call", at, rests_on=(), missed=0.5, until=at + 1.0, harm=harm)


def test_three_are_enough_for_a_person() -> None:
    """Of each promise; harm is told by none that is not."""
    other = Finding("q", "another promise", 20.0, rests_on=())
    found = [*(late(11.0 + at) for at in range(9)), other, late(19.5, harm=True)]
    verdict = decide(found, [MET], faults=[SEAL])
    assert verdict.findings == [*found[:3], other, found[-1]]


def test_three_that_are_excused_hide_no_fourth() -> None:
    """The machine stood still for the first three, and the client was late by itself then."""
    found = [late(11.0), late(11.1), late(11.2), late(15.0), late(16.0)]
    stood_still = Stall(11.0, 1.0)
    verdict = decide(found, [MET], faults=[SEAL], stalls=[stood_still])
    assert (verdict.word, verdict.findings) == ("fail", found[3:])
    assert [one.finding for one in verdict.set_aside] == found[:3]


def test_three_before_a_fault_hide_no_harm_after_it() -> None:
    """What was before any fault shows that nothing was steady; a wrong value is always wrong."""
    early = [replace(WRONG, at=float(at), until=at + 0.1) for at in range(5)]
    assert decide(early, [MET], faults=[SEAL]).word == "not exercised"
    verdict = decide([*early, HARM], [MET], faults=[SEAL])
    assert (verdict.word, verdict.findings[-1]) == ("fail", HARM)


def test_three_are_enough_of_what_the_machine_excuses_too() -> None:
    """Forty late calls are no forty lines of why nothing is proved."""
    found = [late(13.0 + number / 50) for number in range(40)]
    verdict = decide(found, [MET], faults=[SEAL], stalls=[Stall(13.5, 1.0)])
    assert verdict.too_slow
    assert [one.finding for one in verdict.set_aside] == found[:ENOUGH]
    assert len(verdict.untouched) == ENOUGH
