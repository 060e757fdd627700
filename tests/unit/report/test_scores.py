from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_harness.errors import SettingsError
from vault_harness.judge.report import formats
from vault_harness.judge.report.formats import schemas, suite_version
from vault_harness.judge.report.score import (
    Change,
    also_broken,
    as_text,
    badge,
    causes_of,
    changes,
    in_numbers,
    in_rows,
    load_score,
    markdown,
    regressed,
    says_nothing,
    score_of,
    unlike,
    updated,
    write_score,
)

ROOT = Path(__file__).parents[3]
Program = Callable[..., Any]  # of tests/unit/cli


def one(id: str, word: str, severity: str = "medium", **more: Any) -> dict[str, Any]:  # noqa: A002
    findings = [{"promise": f"{id} is kept", "seen": "+1.23 s: no", "harm": False}]
    return {
        "id": id,
        "promise": f"{id} is kept",
        "word": word,
        "severity": severity,
        "seconds": random.random(),
        "findings": findings if word == "fail" else [],
        "leaks": [],
        **more,
    }


def journal(*records: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "schema_version": 2,
        "suite_version": "0.1.0",
        "complete": True,
        "summary": "",
        "subject": "command:./mine",
        "product": "openbao 2.7.2",
        "engine": "process",
        "seconds": random.random(),
        "client": {
            "subject": "command:./mine",
            "version": "1.2",
            "capabilities": ["health", "read"],
            "declares": {},
        },
        "scenarios": list(records),
        **more,
    }


def verdicts_of(score: formats.Score) -> dict[str, str]:
    return {name: judged.verdict for name, judged in score.scenarios.items()}


CRITICAL = one("TOK-01", "pass", "critical")


def broken(id: str, severity: str, *promises: str, **more: Any) -> dict[str, Any]:  # noqa: A002
    """Return a scenario that breaks these promises."""
    findings = [{"promise": text, "seen": "x", "harm": False} for text in promises]
    return one(id, "fail", severity, findings=findings, **more)


STORM, SLOW, LATE = "no request storm", "every call ends within 2 s", "the steady state holds"


# Grades


@pytest.mark.parametrize(
    ("records", "grade"),
    [
        ([CRITICAL], "A+"),
        ([CRITICAL, one("KV-02", "skipped", "critical")], "A+"),
        ([CRITICAL, one("SEA-08", "fail", "low")], "A"),
        ([CRITICAL, one("SEA-08", "flaky", "medium")], "A"),
        ([CRITICAL, one("NET-04", "fail", "high"), one("SEA-08", "fail", "low")], "B"),
        ([broken("TOK-11", "critical", STORM)], "C"),
        ([one("TOK-11", "flaky", "critical")], "C"),
        ([broken(f"TOK-{n}", "critical", STORM) for n in range(10, 40)], "C"),
        ([broken("A-1", "critical", STORM), broken("A-2", "critical", SLOW)], "C"),
        ([broken(f"A-{n}", "critical", text) for n, text in enumerate((STORM, SLOW, LATE))], "D"),
        # One scenario that shows three themes counts for one of them.
        ([broken("A-1", "critical", STORM, SLOW, LATE)], "C"),
        ([one("TOK-11", "skipped", "critical"), one("SEA-08", "pass", "high")], None),
        ([one("SEA-08", "pass", "high")], None),
        ([], None),
    ],
)
def test_grades(records: list[dict[str, Any]], grade: str | None) -> None:
    """Causes count, not scenarios."""
    assert score_of(journal(*records)).grade == grade


def test_why_names_the_causes() -> None:
    score = score_of(
        journal(
            broken("NET-01", "high", STORM),
            broken("NET-02", "critical", STORM, SLOW),
            broken("NET-03", "low", STORM),
            broken("A-1", "high", SLOW),
        )
    )
    assert score.why == [
        "critical: it asks too much of Vault (explains 3, clearest NET-02)",
        "high: calls outlast their deadline (explains 1, clearest A-1)",
    ]
    assert in_numbers(causes_of(score.scenarios)) == "1 critical cause, 1 high cause"


GRADED = st.lists(
    st.tuples(
        st.sampled_from(["critical", "high", "medium", "low"]),
        st.sets(st.sampled_from([STORM, SLOW, LATE, "no read fails"]), min_size=1),
    ),
    max_size=20,
)


@given(GRADED, st.integers(2, 5))
def test_scenarios_do_not_count(failing: list[tuple[str, set[str]]], times: int) -> None:
    """Asking everything several times gives the same grade and causes."""

    def of(copies: int) -> tuple[str | None, list[str]]:
        score = score_of(
            journal(
                CRITICAL,
                *(
                    broken(f"A-{number:02}-{copy}", severity, *sorted(texts))
                    for number, (severity, texts) in enumerate(failing)
                    for copy in range(copies)
                ),
            )
        )
        return score.grade, [cause.theme.broken for cause in causes_of(score.scenarios)]

    assert of(times) == of(1)


def test_nothing_critical_was_judged() -> None:
    """There is no grade, except F for harm."""
    skipped = [one(f"TOK-1{n}", "skipped", "critical") for n in (1, 2)]
    score = score_of(journal(*skipped, one("SEA-08", "pass")))
    assert (score.grade, score.why) == (None, ["nothing critical was judged"])
    harmful = one("SEA-08", "pass", leaks=[{"seen": "its log has token-1"}])
    assert score_of(journal(*skipped, harmful)).grade == "F"


@pytest.mark.parametrize(
    ("severity", "word", "grade"),
    [
        ("critical", "not exercised", None),
        ("critical", "error", None),
        ("high", "error", None),
        ("high", "not exercised", "A+"),
    ],
)
def test_a_scenario_without_a_verdict(severity: str, word: str, grade: str | None) -> None:
    """A missing critical verdict or a breakdown leaves no grade."""
    score = score_of(journal(CRITICAL, one("TOK-11", word, severity)))
    why = {"error": "the harness broke down"}.get(word, word)
    assert (score.grade, score.why) == (grade, [f"no verdict on TOK-11: {why}"])


@pytest.mark.parametrize("harm", [True, False])
def test_what_was_not_asked_makes_nothing_better(harm: bool) -> None:
    """F and D are given for half a run too."""
    texts = (STORM, SLOW, LATE)
    records = [broken(f"A-{n}", "critical", text) for n, text in enumerate(texts)]
    if harm:
        records[0]["findings"][0]["harm"] = True
    unsure = one("SEA-01", "not exercised", "critical")
    score = score_of(journal(*records, unsure, complete=False, left_out={"A-9": "critical"}))
    assert score.grade == ("F" if harm else "D")
    assert score.why[0].startswith("harm: a wrong value" if harm else "critical: ")


def test_new_verdicts_replace_old_ones() -> None:
    old = score_of(journal(CRITICAL, one("KV-01", "fail"), one("NET-04", "fail", "high")))
    new = score_of(journal(one("KV-07", "pass"), one("NET-04", "pass", "high")))
    both = updated(old, new)
    expected = {"KV-01": "fail", "KV-07": "pass", "NET-04": "pass", "TOK-01": "pass"}
    assert verdicts_of(both) == expected
    assert (old.grade, both.grade) == ("B", "A")


def test_a_run_that_proved_nothing_replaces_no_verdict() -> None:
    old = score_of(journal(CRITICAL, one("KV-01", "fail")))
    new = score_of(journal(one("TOK-01", "not exercised", "critical"), one("KV-01", "skipped")))
    assert verdicts_of(updated(old, new)) == {"KV-01": "skipped", "TOK-01": "pass"}


@pytest.mark.parametrize("other", [{"product": "vault 1.21.4"}, {"suite_version": "0.2.0"}])
def test_verdicts_of_another_run_are_no_part_of_a_score(other: dict[str, Any]) -> None:
    """They are of another server or suite."""
    old = score_of(journal(CRITICAL))
    with pytest.raises(SettingsError, match="make no score"):
        updated(old, score_of(journal(CRITICAL, **other)))


def test_part_of_the_suite_has_no_grade() -> None:
    """Nor has an unfinished run."""
    part = score_of(journal(CRITICAL, left_out={"TOK-11": "critical", "SEA-08": "low"}))
    assert (part.grade, part.why) == (None, ["2 scenarios left out of this run"])
    half = score_of(journal(CRITICAL, broken("A-1", "high", STORM), complete=False))
    assert half.grade is None
    assert half.why == [
        "the run did not come to its end",
        "high: it asks too much of Vault (explains 1, clearest A-1)",
    ]


@pytest.mark.parametrize(("severity", "grade"), [("critical", None), ("high", "A+")])
def test_what_the_machine_cannot_ask(severity: str, grade: str | None) -> None:
    """A critical gap costs the grade."""
    lacks = {"why": "no PostgreSQL is here", "needs": ["lease", "read"]}
    lease = one("LEASE-01", "skipped", severity, cannot=lacks)
    claims = {"client": {"subject": "command:./mine", "capabilities": ["lease", "read"]}}
    score = score_of(journal(CRITICAL, lease, **claims))
    assert (score.grade, score.why) == (grade, ["no verdict on LEASE-01: no PostgreSQL is here"])
    assert load_text(as_text(score))["LEASE-01"]["cannot"] == "no PostgreSQL is here"
    # A client that does not claim it is asked nowhere.
    assert score_of(journal(CRITICAL, lease)).why == []
    assert "cannot" not in as_text(score_of(journal(CRITICAL, lease)))


def load_text(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)["scenarios"]
    return found


# What changed


def test_the_same_verdicts_are_the_same_file() -> None:
    """Order and duration do not matter."""
    records = [CRITICAL, one("KV-01", "fail", "high")]
    text = as_text(score_of(journal(*records)))
    again = [{**made, "seconds": 99.0} for made in reversed(records)]
    assert as_text(score_of(journal(*again, seconds=500.0))) == text
    assert "second" not in text
    assert "1.23" not in text


@pytest.mark.parametrize(
    ("old", "new", "worse"),
    [
        ("pass", "fail", True),
        ("pass", "flaky", True),
        ("flaky", "fail", True),
        ("fail", "pass", False),
        ("pass", "not exercised", False),
        ("pass", "error", False),
        ("not exercised", "fail", False),
        ("skipped", "fail", False),
        (None, "fail", False),
        ("pass", None, False),
    ],
)
def test_regressions(old: str | None, new: str | None, worse: bool) -> None:
    """It needs two verdicts on the client."""
    assert Change("TOK-01", old, new).regression is worse


def test_what_changed() -> None:
    old = score_of(journal(CRITICAL, one("KV-01", "fail", "high")))
    new = score_of(journal(one("TOK-01", "fail", "critical"), one("KV-01", "pass", "high")))
    assert changes(old, new) == [
        Change("KV-01", "fail", "pass"),
        Change("TOK-01", "pass", "fail"),
    ]
    assert regressed(old, new)
    text = markdown(old, new)
    assert "grade B before, C now" in text
    assert "| TOK-01 | pass | fail | regression |" in text
    assert "| KV-01 | fail | pass |  |" in text
    assert not regressed(old, old)
    assert "No verdict changed." in markdown(old, old)


def test_a_part_of_what_was_judged_before() -> None:
    """What one run lacks shares a line and does not hide changes."""
    whole = score_of(journal(CRITICAL, *(one(f"KV-{n:02}", "pass") for n in range(1, 31))))
    part = score_of(journal(one("TOK-01", "fail", "critical"), one("KV-01", "pass")))
    rows, lines = in_rows(changes(whole, part))
    assert rows == [Change("TOK-01", "pass", "fail")]
    assert lines == ["judged before, and not in this run: 29, KV-02 to KV-30"]
    assert in_rows(changes(part, whole))[1] == ["judged now, and not before: 29, KV-02 to KV-30"]
    assert f"- {lines[0]}\n" in markdown(whole, part)
    assert "| KV-30" not in markdown(whole, part)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"client": {"subject": "command:./other", "capabilities": ["health", "read"]}},
         "another client? command:./mine before, command:./other now"),
        ({"client": {"subject": "command:./mine", "capabilities": ["read"]}},
         "it claimed health, read before, and read now"),
        ({"suite_version": "0.2.0"}, "suite 0.1.0 before, 0.2.0 now"),
        ({"product": "vault 1.21.4"}, "server openbao 2.7.2 before, vault 1.21.4 now"),
        ({"complete": False}, "the run did not come to its end: this is no pass"),
    ],
)  # fmt: skip
def test_scores_that_compare_less(more: dict[str, Any], said: str) -> None:
    """The client, claim, suite or server differs."""
    old, new = score_of(journal(CRITICAL)), score_of(journal(CRITICAL, **more))
    assert said in "\n".join(unlike(old, new))
    assert said in markdown(old, new)
    assert unlike(old, old) == []


def test_a_score_of_half_a_run_compares_less() -> None:
    """What it lacks cannot get worse."""
    half, whole = score_of(journal(CRITICAL, complete=False)), score_of(journal(CRITICAL))
    said = "the run before did not come to its end: what it has not judged is not worse"
    assert unlike(half, whole) == [said]


@pytest.mark.parametrize(
    ("words", "nothing"),
    [
        (("not exercised", "not exercised", "not exercised"), True),
        (("not exercised", "skipped", "fail"), True),  # a client that fails at its start
        (("not exercised", "pass", "fail"), False),
        (("skipped", "skipped", "not exercised"), False),  # such as a part of a run
        ((None, None, "not exercised"), False),
        (("error", "error", "fail"), True),
        (("error", "pass", "fail"), False),
        (("pass", None, "fail"), False),
    ],
)
def test_a_client_that_no_longer_starts_is_not_a_pass(
    words: tuple[str | None, ...], nothing: bool
) -> None:
    """It is no pass, although nothing got worse."""
    start = one("SEA-03", "fail", "high")
    old = score_of(journal(CRITICAL, one("TOK-11", "pass", "critical"), start))
    found = zip(("TOK-01", "TOK-11", "SEA-03"), words, strict=True)
    new = score_of(journal(*(one(id, word, "critical") for id, word in found if word)))  # noqa: A001
    assert (says_nothing(old, new), regressed(old, new)) == (nothing, False)
    said = "no critical promise was exercised, as some were before: this is no pass"
    assert (said in unlike(old, new), said in markdown(old, new)) == (nothing, nothing)
    assert not says_nothing(new, new)


def test_another_promise_of_a_scenario_that_was_broken_before() -> None:
    """New harm is a regression."""

    def broken(*promises: str, harm: str = "") -> formats.Score:
        findings = [{"promise": text, "seen": "x", "harm": text == harm} for text in promises]
        return score_of(journal(CRITICAL, one("KV-01", "fail", findings=findings)))

    old, new = broken("no storm"), broken("no storm", "one login", "no wrong value")
    told = ["KV-01: no wrong value", "KV-01: one login"]
    assert (also_broken(old, new), regressed(old, new)) == (told, False)
    assert "- also broken: KV-01: one login\n" in markdown(old, new)
    assert (also_broken(new, old), also_broken(old, old)) == ([], [])
    harmful = broken("no storm", "no wrong value", harm="no wrong value")
    assert (also_broken(old, harmful), regressed(old, harmful)) == ([], True)


@pytest.mark.parametrize(
    ("promise", "scored"),
    [
        ("a good read within 3.09 s after the fault", "a good read in time after the fault"),
        ("a new login within 12 s", "a new login in time"),
        ("at most 15 of 20 instances log in within 0.3 s", None),
        ("once reads are good again they go on: 6 in a row", None),
    ],
)
def test_score_has_no_time_that_a_run_took(promise: str, scored: str | None) -> None:
    findings = [{"promise": promise, "seen": "+1.23 s: no", "harm": True}]
    judged = score_of(journal(one("KV-01", "fail", findings=findings))).scenarios["KV-01"]
    assert (judged.broken, judged.harm) == ([scored or promise], [scored or promise])


def test_another_bound_is_no_other_promise() -> None:
    def broken(promise: str) -> formats.Score:
        return score_of(journal(one("KV-01", "fail", broken=[promise])))

    before, now = broken("at most 12 reads fail"), broken("at most 13 reads fail")
    assert also_broken(before, now) == []
    older = before.model_copy(deep=True)
    older.scenarios["KV-01"].broken[:] = ["a good read within 3.09 s after the fault"]
    assert also_broken(older, broken("a good read within 3.4 s after the fault")) == []


def test_what_a_client_says_is_no_markup_of_the_page() -> None:
    nasty = "command:./x <!-- | `a`\n## [b](c)"
    client = {"subject": nasty, "capabilities": ["health", "read"]}
    old, new = score_of(journal(CRITICAL)), score_of(journal(CRITICAL, client=client))
    text = markdown(old, new)
    assert r"command:./x &lt;!-- \| \`a\`\\n## \[b\](c) now" in text
    renamed = score_of(journal(CRITICAL, one("A|B<!--", "pass")))
    assert r"| A\|B&lt;!-- | not there | pass |  |" in markdown(old, renamed)


# Badges


def test_badge() -> None:
    """It tells the claims, and expires with its suite."""
    score = score_of(journal(CRITICAL))
    drawn = badge(score, version="0.1.9")
    assert drawn["schemaVersion"] == 1
    assert (drawn["message"], drawn["color"]) == ("A+ (health, read)", "brightgreen")
    assert badge(score, version="0.2.0")["message"] == "expired (suite 0.1.0)"
    assert badge(score_of(journal()), version="0.1.0")["message"] == "no grade"


# Files


def test_scores_are_read_again(tmp_path: Path) -> None:
    made = journal(CRITICAL)
    score = score_of(made)
    assert load_score(write_score(score, tmp_path)) == score
    (tmp_path / "journal.json").write_text(json.dumps(made))
    assert load_score(tmp_path / "journal.json") == score


@pytest.mark.parametrize(
    ("grade", "suite", "allowed"),
    [("A+", "", False), ("B", "", False), ("C", "", True), ("F", "", True), ("A+", "9.9.9", True)],
)
def test_grade_that_the_verdicts_do_not_allow(
    grade: str, suite: str, *, allowed: bool, tmp_path: Path
) -> None:
    """Another suite may give it."""
    score = score_of(journal(one("TOK-11", "fail", "critical")))
    data = {**score.model_dump(), "grade": grade, "suite_version": suite or suite_version()}
    file = tmp_path / "score.json"
    file.write_text(json.dumps(data))
    if allowed:
        assert load_score(file).grade == grade
        return
    with pytest.raises(SettingsError, match="critical: TOK-11 is kept") as caught:
        load_score(file)
    assert f"its grade is {grade}, and its verdicts allow C" in caught.value.cause


def test_schemas_in_the_repository_are_the_models() -> None:
    """`python -m vault_harness.judge.report.formats docs/formats` writes them."""
    folder = ROOT / "docs" / "formats"
    found = {file.name: file.read_text() for file in folder.glob("*.json")}
    assert found == schemas()


@pytest.mark.parametrize(
    ("engine", "remedy"),
    [("external", "; HARNESS_ENGINE=process can"), ("process", "")],
)
def test_what_an_engine_can_never_ask(engine: str, remedy: str) -> None:
    """An engine that can is named."""
    why = f"the {engine} engine cannot do this: seal"
    seals = one("SEA-01", "skipped", "critical", cannot={"why": why, "needs": ["read"]})
    score = score_of(journal(CRITICAL, seals, engine=engine))
    assert score.why == [f"no verdict on SEA-01: {why}{remedy}"]
