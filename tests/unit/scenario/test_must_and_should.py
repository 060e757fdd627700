"""MUST and SHOULD: which broken promise fails a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vault_harness.plugin import _item
from vault_harness.plugin._item import ScenarioItem, joined
from vault_harness.report import Line
from vault_harness.report.known import Known
from vault_harness.scenario import Result, run
from vault_harness.scenario.catalogue import Entry, Severity
from vault_harness.scenario.verdict import Word


def called(
    monkeypatch: pytest.MonkeyPatch,
    severity: Severity,
    word: str,
    *,
    strict: bool = False,
    harm: bool = False,
) -> str | None:
    """What a verdict is called that fails no run."""
    chosen = SimpleNamespace(strict=strict, allow_not_exercised=False)
    monkeypatch.setattr(_item, "options", lambda _: chosen)
    entry = Entry(id="TOK-11", promise="One login", severity=severity, source="vault#26172")
    item: Any = SimpleNamespace(entry=entry, config=None, record={"findings": [{"harm": harm}]})
    return _item._forgiven(cast("ScenarioItem", item), word)


@pytest.mark.parametrize(
    ("severity", "obligation"),
    [("critical", "MUST"), ("high", "MUST"), ("medium", "SHOULD"), ("low", "SHOULD")],
)
def test_severity_says_what_is_owed(severity: Severity, obligation: str) -> None:
    """What is critical or high must be kept."""
    entry = Entry(id="TOK-11", promise="One login", severity=severity, source="vault#26172")
    assert entry.obligation == obligation


@pytest.mark.parametrize("word", ["fail", "flaky"])
def test_should_is_told(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Its failure has a name of its own."""
    assert called(monkeypatch, "medium", word) == f"SHOULD, {word}"


def test_must_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A high one too."""
    assert called(monkeypatch, "high", "fail") is None


def test_strict_fails_the_run_for_a_should(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even for a low one."""
    assert called(monkeypatch, "low", "fail", strict=True) is None


def test_harm_is_never_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong value in a scenario of low severity is a wrong value."""
    assert called(monkeypatch, "low", "fail", harm=True) is None


def test_harm_of_a_later_run_is_shown() -> None:
    """A repetition that did harm stands for all, so that it is not forgiven."""
    runs: list[Any] = [
        SimpleNamespace(
            word=word,
            why=why,
            seconds=1.0,
            trace="",
            record={"findings": [{"harm": harm}], "leaks": []},
        )
        for word, why, harm in [
            ("pass", "", False),
            ("fail", "too late", False),
            ("fail", "a wrong value", True),
        ]
    ]
    record = joined(runs)
    assert record["findings"] == [{"harm": True}]
    assert record["why"] == "1 of 3 runs pass; fail: a wrong value"
    assert joined(runs[:2])["why"] == "1 of 2 runs pass; fail: too late"


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["pass", "pass", "not exercised"], "not exercised"),
        (["pass", "error", "not exercised"], "error"),
        (["not exercised", "fail"], "fail"),
        (["error", "fail"], "fail"),
        (["pass", "not exercised", "fail"], "flaky"),
    ],
)
def test_flaky_is_what_passes_and_fails(words: list[str], word: str) -> None:
    """A run that proved nothing is no failure of the client, and makes no pass either."""
    record = joined([result(one) for one in words])
    assert record["word"] == word
    passed = f"{words.count('pass')} of {len(words)}"
    assert record.get("rate") == (passed if len(set(words)) > 1 else None)


def test_reason_of_what_is_not_alike() -> None:
    """It is one of a run of that word."""
    runs = [result("pass"), result("not exercised", why="no core"), result("error", why="no disk")]
    assert joined(runs)["why"] == "1 of 3 runs pass; error: no disk"


LEAK = {"promise": "no secret", "seen": "its log has token-1", "at": 1.5, "harm": True}


def result(word: str = "pass", *leaks: dict[str, Any], **more: Any) -> Any:
    """One run of a scenario."""
    record = {"findings": [], "leaks": list(leaks)}
    told = {"why": "", "seconds": 1.0, "trace": "", **more}
    return SimpleNamespace(word=word, record=record, **told)


@pytest.mark.parametrize("word", ["pass", "not exercised"])
def test_leak_of_any_run_is_told(word: str) -> None:
    """Of two that are alike the first is shown, and the other one's leak is no less true."""
    (leak,) = joined([result(word), result(word, LEAK)])["leaks"]
    assert (leak["seen"], leak["at"]) == ("in run 2, +1.50 s: its log has token-1", None)
    assert joined([result("pass", LEAK), result("fail"), result("pass", LEAK)])["leaks"] == [
        {**LEAK, "seen": "in run 1, +1.50 s: its log has token-1", "at": None}
    ]
    assert joined([result("pass", LEAK), result("pass", LEAK)])["leaks"] == [LEAK]


def test_leak_of_a_run_on_a_slow_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is run again; what came out has come out."""
    slow = SimpleNamespace(word="not exercised", in_doubt=False, too_slow=True)
    well = SimpleNamespace(word="pass", in_doubt=False, too_slow=False)
    runs = iter([result("not exercised", LEAK, verdict=slow), result(verdict=well)])
    monkeypatch.setattr(run, "_run", lambda *_: (next(runs), None))
    monkeypatch.setattr(run, "_scaled", lambda _, entry: entry)
    entry = Entry(id="TOK-11", promise="One login", severity="low", source="vault#26172")
    environment: Any = SimpleNamespace(turns=None)
    last = run.run_scenario(environment, entry, cast("Any", None))
    assert (last.word, [leak["seen"] for leak in last.record["leaks"]]) == (
        "pass",
        ["in try 1, +1.50 s: its log has token-1"],
    )


SLOW = "the machine was too slow: set aside from a try before this one: "


@pytest.mark.parametrize(
    ("last", "told"),
    [("not exercised", f"; {SLOW}two logins (promised: one login)"), ("pass", "")],
)
def test_failure_that_was_set_aside_is_told(
    last: Word, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a try on a slow machine had failed for stands in the reason why nothing is proved."""
    entry = Entry(id="TOK-11", promise="One login", severity="low", source="vault#26172")
    doubtful: Any = SimpleNamespace(word="fail", in_doubt=True, too_slow=False)
    over: Any = SimpleNamespace(word=last, in_doubt=False, too_slow=False)
    found = [{"promise": "one login", "seen": "two logins"}]
    first = Result(entry, "fail", "two logins", 1.0, doubtful, {"leaks": [], "findings": found})
    said = {"leaks": [], "findings": [], "untouched": ["no core was free"]}
    second = Result(entry, last, "no core was free", 1.0, over, said)
    runs = iter([first, second])
    monkeypatch.setattr(run, "_run", lambda *_: (next(runs), None))
    monkeypatch.setattr(run, "_scaled", lambda _, entry: entry)
    environment: Any = SimpleNamespace(turns=None)
    result = run.run_scenario(environment, entry, cast("Any", None))
    assert (result.word, result.why) == (last, f"no core was free{told}")
    assert result.record.get("why", result.why) == result.why
    assert result.record["slow_machine"] == ["two logins (promised: one login)"]


def test_reason_of_a_run_is_that_of_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """There no secret is left in it, nor anything that cannot be written."""
    record = {"findings": [], "leaks": [], "why": "it read <v1>"}
    monkeypatch.setattr(run, "record_of", lambda *_, **__: dict(record))
    lab: Any = SimpleNamespace(verdict=None)
    results = [
        run._result(cast("Any", None), cast("Any", None), lab, word, "it read canary \ud83d", 0.0)
        for word in cast("list[Word]", ["fail", "pass"])
    ]
    together = joined(results)
    assert together["why"] == "1 of 2 runs pass; fail: it read <v1>"
    assert [one["why"] for one in together["runs"]] == ["it read <v1>"] * 2


@pytest.mark.parametrize(("beside", "failed"), [(["KV-01"], True), ([], False)])
def test_row_about_leaks_is_no_news_in_a_part(
    beside: list[str], failed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is known to fail, and passes there: a scenario that is left out may have the leak."""
    chosen = SimpleNamespace(strict=False, allow_not_exercised=False)
    monkeypatch.setattr(_item, "options", lambda _: chosen)
    monkeypatch.setattr(_item, "known", lambda _: Known({"PRC-04": "issue 7"}))
    entry = Entry(id="PRC-04", promise="None", severity="critical", source="v#1", leaks=True)
    run: list[Any] = [ScenarioItem.__new__(ScenarioItem) for _ in ("PRC-04", *beside)]
    for one, name in zip(run, ("PRC-04", *beside), strict=True):
        one.entry = SimpleNamespace(id=name)
    config = SimpleNamespace(stash=pytest.Stash())
    config.stash[_item.CATALOGUES] = {Path("catalogue.toml"): dict.fromkeys(("PRC-04", "KV-01"))}
    record: dict[str, Any] = dict.fromkeys(("leaks", "findings"), ())
    record |= {"id": "PRC-04", "promise": "None", "severity": "critical", "word": "pass", "why": ""}
    record |= {"seconds": 1.0, "engine": "process"}
    session = SimpleNamespace(items=run)
    item: Any = SimpleNamespace(entry=entry, config=config, session=session, record=record)
    report: Any = SimpleNamespace(outcome="passed", longrepr=None)
    _item.dress(item, cast("Any", None), report)
    assert (report.outcome == "failed") is failed
    assert report.scenario["known"] == "failing"


@pytest.mark.parametrize("word", ["not exercised", "error"])
def test_what_proves_nothing_fails_the_run(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """It is no broken promise, and no pass either."""
    assert called(monkeypatch, "low", word) is None


@pytest.mark.parametrize(("reason", "counts"), [("issue 7", "broken"), ("harm: issue 7", "kept")])
def test_harm_in_a_known_failure(reason: str, counts: str) -> None:
    """It fails the run, and says how it is known, unless it is."""
    line = Line("TOK-11", "p", "high", "fail", 1.0, "x", known="failing", reason=reason, harm=True)
    report: Any = SimpleNamespace(outcome="failed", longrepr="TOK-11  fail: p")
    _item._as_known(report, line)
    assert line.counts_as == counts
    assert report.outcome == ("failed" if counts == "broken" else "skipped")
    said = "did harm of which the reason there does not tell"
    assert (said in report.longrepr) is (counts == "broken")


@pytest.mark.parametrize(
    ("word", "harm", "outcome", "counts"),
    [
        ("fail", False, "skipped", "kept"),
        ("fail", True, "failed", "broken"),
        ("error", False, "failed", "error"),
        ("not exercised", False, "failed", "not exercised"),
        ("pass", False, "passed", "kept"),
    ],
)
def test_a_mark_of_pytests_says_what_is_known(
    word: str, harm: bool, outcome: str, counts: str
) -> None:
    """`xfail` is a known failure in a repository of one's own; it hides nothing but that."""
    line = Line("TILL-01", "p", "high", word, 1.0, "x", harm=harm)
    report: Any = SimpleNamespace(outcome="skipped", longrepr="TILL-01", wasxfail="issue 7")
    line = _item._by_its_mark(report, line)
    _item._as_known(report, line)
    assert (report.outcome, line.counts_as) == (outcome, counts)
    assert getattr(report, "wasxfail", "") == ("issue 7" if outcome == "skipped" else "")
