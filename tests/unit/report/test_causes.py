"""What a run found, grouped by the themes of the broken promises."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vault_harness.judge.report import Line
from vault_harness.judge.report.causes import (
    KINDS,
    LEAK,
    THEMES,
    Cause,
    causes,
    grouped,
    of_promises,
)
from vault_harness.judge.report.lines import line_of

CLOSED = "its tokens are dead once it is closed"
SLOW = "every call ends within 2 s"
LATE = "a good read within 3 s after the fault"
STORM = "no request storm"


def finding(promise: str, seen: str = "it was not so", at: float = 5.0, **more: Any) -> Any:
    return {"promise": promise, "seen": seen, "at": at, **more}


def scenario(id: str, *findings: Any, word: str = "", **more: Any) -> dict[str, Any]:  # noqa: A002
    return {
        "id": id,
        "promise": "a promise",
        "severity": "critical",
        "word": word or ("fail" if findings else "pass"),
        "seconds": 3.0,
        "why": findings[0]["seen"] if findings else "",
        "findings": list(findings),
        "leaks": [],
        **more,
    }


def found(*records: dict[str, Any]) -> list[Cause]:
    return causes(records, map(line_of, records))


def test_one_theme_in_many_scenarios_is_one_cause() -> None:
    (cause,) = found(
        scenario("TOK-01", finding(SLOW)),
        scenario("TOK-02", finding("every call ends within 4.5 s")),
        scenario("PRC-01", finding("health ends within 2 s")),
    )
    assert cause.theme.broken == "calls outlast their deadline"
    assert cause.explains == {"PRC-01", "TOK-01", "TOK-02"}


def test_a_scenario_counts_for_its_largest_cause() -> None:
    """A smaller cause explains only what the larger one does not."""
    both = [scenario(f"NET-0{n}", finding(LATE), finding(STORM)) for n in (1, 2)]
    late = [scenario(f"NET-0{n}", finding(LATE)) for n in (3, 4)]
    large, small = found(*both, *late, scenario("A-01", finding(STORM)))
    assert large.explains == {"NET-01", "NET-02", "NET-03", "NET-04"}
    assert small.explains == {"A-01"}
    assert small.ids == ["A-01", "NET-01", "NET-02"]


def test_a_consequence_does_not_count() -> None:
    """A theme that shows only beside a larger cause comes last."""
    large, other, beside = found(
        scenario("NET-01", finding(LATE), finding(STORM)),
        scenario("NET-02", finding(LATE)),
        scenario("A-01", finding(SLOW)),
    )
    assert (large.counts, other.counts, beside.counts) == (True, True, False)
    assert beside.ids == ["NET-01"]


def test_severity_is_that_of_what_a_cause_explains() -> None:
    """Scenarios that count for a larger cause are ignored."""
    large, small = found(
        scenario("NET-01", finding(LATE), finding(STORM), severity="critical"),
        scenario("NET-02", finding(LATE), severity="high"),
        scenario("A-01", finding(STORM), severity="high"),
    )
    assert (large.label, small.label) == ("critical", "high")


def test_secrets_that_came_out_are_one_cause_and_the_first() -> None:
    leak = {"promise": LEAK, "seen": "its log has token-1", "at": 1.0}
    leaks, broken = found(
        scenario("KV-01", leaks=[leak]),
        scenario("TOK-01", finding(SLOW), leaks=[leak]),
        scenario("PRC-04", word="fail", about_leaks=True),
    )
    assert (leaks.kind, leaks.ids) == ("leak", ["KV-01", "PRC-04", "TOK-01"])
    assert broken.kind == "broken"
    assert broken.explains == {"TOK-01"}


def test_harm_comes_before_what_is_broken_more_often() -> None:
    """One wrong value weighs more than ten calls that hang."""
    slow = [scenario(f"SRV-{n}", finding(SLOW)) for n in range(10, 20)]
    first = found(*slow, scenario("KV-01", finding("no wrong value", harm=True)))[0]
    assert (first.kind, first.label, first.ids) == ("harm", "harm", ["KV-01"])


def test_clearest_example_is_severe_and_shows_little_else() -> None:
    """Severity comes first, then the fewest other findings."""
    cause = found(
        scenario("A-01", finding(SLOW), severity="high"),
        scenario("A-02", finding(SLOW), finding(LATE)),
        scenario("A-03", finding(SLOW)),
    )[0]
    assert [one.id for one in cause.examples] == ["A-03", "A-02", "A-01"]


def test_known_failure_is_no_cause() -> None:
    """A leak in a known failure is a cause."""
    leak = {"promise": LEAK, "seen": "its log has token-1", "at": 1.0}
    known = {"kind": "failing", "reason": "the next release"}
    (cause,) = found(scenario("TOK-01", finding(SLOW), known=known, leaks=[leak]))
    assert cause.kind == "leak"


def test_known_failure_that_passes_is_a_cause() -> None:
    """Its line is wrong."""
    (cause,) = found(scenario("TOK-01", known={"kind": "failing", "reason": "once"}))
    assert (cause.kind, cause.ids) == ("fixed", ["TOK-01"])


def test_a_should_comes_after_a_must() -> None:
    """A theme that breaks both is a MUST."""
    should = [scenario(f"A-0{n}", finding(SLOW), severity="low") for n in (1, 2)]
    must, other = found(*should, scenario("B-01", finding(LATE), severity="high"))
    assert (must.label, other.label) == ("high", "SHOULD")
    (joined,) = found(*should, scenario("B-01", finding(SLOW), severity="high"))
    assert (joined.label, len(joined.explains)) == ("high", 3)


def test_what_proved_nothing_is_one_cause() -> None:
    """The reason is the same."""
    records = [
        scenario(f"KV-0{n}", word="not exercised", why=f"no hello within {n}.5 s") for n in (1, 2)
    ]
    (cause,) = found(*records)
    assert (cause.kind, cause.ids) == ("not exercised", ["KV-01", "KV-02"])
    assert cause.clearest.seen == "no hello within 1.5 s"


def test_a_pass_is_no_cause() -> None:
    assert found(scenario("KV-01")) == []


def test_a_failure_without_findings_has_its_promises_theme() -> None:
    (cause,) = found(scenario("KV-01", word="fail", promise=SLOW, why="it hung"))
    assert (cause.theme.broken, cause.clearest.seen) == ("calls outlast their deadline", "it hung")


def test_what_has_no_line_is_left_out() -> None:
    line = Line("A-01", "a promise", "high", "fail", 1.0)
    records = [scenario("A-01", finding(SLOW)), scenario("A-02", finding(SLOW))]
    assert [cause.ids for cause in causes(records, [line])] == [["A-01"]]


PROMISES = st.sampled_from([theme.words[0] for theme in THEMES] + ["mine", LEAK])
SEVERITIES = st.sampled_from(["critical", "high", "medium", "low"])
JUDGED = st.tuples(SEVERITIES, st.sets(PROMISES, min_size=1), st.sets(PROMISES, max_size=1))


@given(st.lists(JUDGED, max_size=30))
def test_each_failure_counts_once(judged: list[tuple[str, set[str], set[str]]]) -> None:
    made = grouped(
        cause
        for number, (severity, broken, harm) in enumerate(judged)
        for cause in of_promises(f"A-{number:02}", severity, broken, harm)
    )
    explained = [id for cause in made for id in cause.explains]  # noqa: A001
    assert sorted(explained) == [f"A-{number:02}" for number in range(len(judged))]
    assert all(cause.explains <= set(cause.ids) for cause in made)
    kinds = [KINDS.index(cause.kind) for cause in made if cause.counts]
    assert kinds == sorted(kinds)
