from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vault_harness.judge.catalogue import Entry, Severity
from vault_harness.judge.plugin import item as item_module
from vault_harness.judge.plugin.item import ScenarioItem
from vault_harness.judge.report import Line
from vault_harness.judge.report.known import Known


def called(
    monkeypatch: pytest.MonkeyPatch,
    severity: Severity,
    word: str,
    *,
    strict: bool = False,
    harm: bool = False,
) -> str | None:
    """Return the name of a verdict that does not fail the run, or None."""
    chosen = SimpleNamespace(strict=strict, allow_not_exercised=False)
    monkeypatch.setattr(item_module, "options", lambda _: chosen)
    entry = Entry(id="TOK-11", promise="One login", severity=severity, source="vault#26172")
    item: Any = SimpleNamespace(entry=entry, config=None, record={"findings": [{"harm": harm}]})
    return item_module._forgiven(cast("ScenarioItem", item), word)


@pytest.mark.parametrize(
    ("severity", "obligation"),
    [("critical", "MUST"), ("high", "MUST"), ("medium", "SHOULD"), ("low", "SHOULD")],
)
def test_severity_says_what_is_owed(severity: Severity, obligation: str) -> None:
    """A critical or high promise is a MUST, any other a SHOULD."""
    entry = Entry(id="TOK-11", promise="One login", severity=severity, source="vault#26172")
    assert entry.obligation == obligation


@pytest.mark.parametrize("word", ["fail", "flaky"])
def test_a_broken_should_is_named_and_fails_no_run(
    monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    assert called(monkeypatch, "medium", word) == f"SHOULD, {word}"


def test_must_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, "high", "fail") is None


def test_strict_fails_the_run_for_a_should(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, "low", "fail", strict=True) is None


def test_harm_is_never_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, "low", "fail", harm=True) is None


@pytest.mark.parametrize(("beside", "failed"), [(["KV-01"], True), ([], False)])
def test_row_about_leaks_is_no_news_in_a_part(
    beside: list[str], failed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pass does not count as fixed."""
    chosen = SimpleNamespace(strict=False, allow_not_exercised=False)
    monkeypatch.setattr(item_module, "options", lambda _: chosen)
    monkeypatch.setattr(item_module, "known", lambda _: Known({"PRC-04": "issue 7"}))
    entry = Entry(id="PRC-04", promise="None", severity="critical", source="v#1", leaks=True)
    run: list[Any] = [ScenarioItem.__new__(ScenarioItem) for _ in ("PRC-04", *beside)]
    for one, name in zip(run, ("PRC-04", *beside), strict=True):
        one.entry = SimpleNamespace(id=name)
    config = SimpleNamespace(stash=pytest.Stash())
    config.stash[item_module.CATALOGUES] = {
        Path("catalogue.toml"): dict.fromkeys(("PRC-04", "KV-01"))
    }
    record: dict[str, Any] = dict.fromkeys(("leaks", "findings"), ())
    record |= {"id": "PRC-04", "promise": "None", "severity": "critical", "word": "pass", "why": ""}
    record |= {"seconds": 1.0, "engine": "process"}
    session = SimpleNamespace(items=run)
    item: Any = SimpleNamespace(entry=entry, config=config, session=session, record=record)
    report: Any = SimpleNamespace(outcome="passed", longrepr=None)
    item_module.dress(item, cast("Any", None), report)
    assert (report.outcome == "failed") is failed
    assert report.scenario["line"]["known"] == "failing"


@pytest.mark.parametrize("word", ["not exercised", "error"])
def test_what_proves_nothing_fails_the_run(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    assert called(monkeypatch, "low", word) is None


@pytest.mark.parametrize(("reason", "counts"), [("issue 7", "broken"), ("harm: issue 7", "kept")])
def test_harm_in_a_known_failure(reason: str, counts: str) -> None:
    """It fails, unless its reason tells of harm."""
    line = Line("TOK-11", "p", "high", "fail", 1.0, "x", known="failing", reason=reason, harm=True)
    report: Any = SimpleNamespace(outcome="failed", longrepr="TOK-11  fail: p")
    item_module._as_known(report, line)
    assert line.counts_as == counts
    assert report.outcome == ("failed" if counts == "broken" else "skipped")
    said = "did harm that the reason there does not mention"
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
    """`xfail` excuses neither harm nor breakdowns."""
    line = Line("TILL-01", "p", "high", word, 1.0, "x", harm=harm)
    report: Any = SimpleNamespace(outcome="skipped", longrepr="TILL-01", wasxfail="issue 7")
    line = item_module._by_its_mark(report, line)
    item_module._as_known(report, line)
    assert (report.outcome, line.counts_as) == (outcome, counts)
    assert getattr(report, "wasxfail", "") == ("issue 7" if outcome == "skipped" else "")
