"""What a run leaves behind: lines, a summary, the text of a failure, and the journal."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.faults import Signature
from vault_harness.scenario import Entry, Finding, Verdict
from vault_harness.scenario import report as reports
from vault_harness.scenario._secrets import Secrets
from vault_harness.scenario.report import Line, Summary, again, collect_parts, explain, timeline

TOKEN = "s.abcdefghijkl"


def line(id: str, word: str = "pass", why: str = "") -> Line:  # noqa: A002 - it is one
    """A scenario's line."""
    return Line(id, "A promise", "critical", word, 1.25, why)


def lab(story: Story, verdict: Verdict | None = None, log: str = "") -> Any:
    """What a report asks of a lab."""
    secrets = Secrets()
    secrets.add("token", TOKEN)
    return SimpleNamespace(
        entry=Entry(id="TOK-11", promise="One login", severity="critical", source="vault#26172"),
        history=story.history,
        verdict=verdict,
        secrets=secrets,
        ttl=20.0,
        deadline=2.0,
        subject_log=lambda: log,
        environment=SimpleNamespace(subject=SimpleNamespace(text="reference"), seed=7),
    )


# Lines and the summary


def test_line() -> None:
    """In columns under the header."""
    text = str(line("TOK-11", "not exercised"))
    assert text == "TOK-11   not exercised    1.2 s  A promise"
    assert text.index("not") == reports.HEADER.index("verdict")
    assert text.index("A promise") == reports.HEADER.index("promise")


def test_summary_of_a_good_run() -> None:
    """Skips are no verdicts, and are counted."""
    lines = [line("TOK-01"), line("TOK-02"), line("KV-02", "skipped")]
    summary = Summary("reference", lines, "openbao 2.7.2", "process", 59.6)
    assert str(summary) == (
        "reference: 2 of 2 scenarios pass; 1 skipped (openbao 2.7.2, process engine, 60 s)"
    )


def test_summary_of_a_bad_run() -> None:
    """By verdict, the ids in order; what broke down is not left out."""
    lines = [
        line("TOK-02", "fail"),
        line("TOK-01", "fail"),
        line("NET-01", "not exercised"),
        line("SEA-01", "error"),
        line("KV-01"),
    ]
    summary = Summary("mine", lines, seconds=3.0, broken=["scenarios/test_x.py::test_y"])
    assert str(summary) == (
        "mine: 1 of 5 scenarios pass; fail: TOK-01, TOK-02; not exercised: NET-01; error: SEA-01; "
        "the harness broke down in scenarios/test_x.py::test_y (3 s)"
    )


# The command


@pytest.mark.parametrize(
    "subject", ["reference", "command:./my client --flag='a b' $HOME `id`; echo", "http://h:1"]
)
def test_command_can_be_pasted(subject: str) -> None:
    """A shell reads every word as it was given."""
    words = shlex.split(again("TOK-11", subject=subject, declared={"max_stale": 6.5}, seed=42))
    assert words[1:] == [
        "scenarios",
        "--only",
        "TOK-11",
        "--subject",
        subject,
        "--declare",
        "max_stale=6.5",
        "--seed",
        "42",
    ]


# A failure's text


def test_text_of_a_failure(story: Story) -> None:
    """Promise, what was seen and when, fault, evidence, timeline, and how to run it again."""
    story.fault(Signature())
    story.sent("login", 12.0, 403, secret_id="secret-id-1")
    verdict = Verdict(
        "fail", [Finding("at most 1 login", "2 logins (+12.00)", 12.0)], [], ["read answered 403"]
    )
    text = explain(lab(story, verdict, "one\ntwo"), verdict, again="./dev scenarios --only TOK-11")
    assert text.splitlines() == [
        "TOK-11  fail: One login",
        "  guards against: vault#26172",
        "  seen:",
        "    +12.00 s: 2 logins (+12.00) (promised: at most 1 login)",
        "  faults:",
        "    the fault: +10.00 s to +20.00 s",
        "  the fault is known to have touched the subject:",
        "    read answered 403",
        "  timeline (T = 20 s, max TTL 600 s, deadline 2 s):",
        "    +10.00 s  FAULT the fault",
        "    +12.00 s  Vault saw login with secret-id-1: 403",
        "    +20.00 s  undone: the fault",
        "  the subject logged last:",
        "    one",
        "    two",
        "  run it again: ./dev scenarios --only TOK-11",
    ]


def test_text_of_what_was_not_exercised(story: Story) -> None:
    """Why, and that a fault was never undone."""
    story.fault(Signature(), ended=None)
    verdict = Verdict("not exercised", untouched=["no steady state"])
    text = explain(lab(story, verdict), verdict, again="x")
    assert "TOK-11  not exercised: One login" in text
    assert "  not exercised, because:\n    no steady state" in text
    assert "    the fault: +10.00 s not undone" in text
    assert "seen:" not in text
    assert "logged last" not in text


# The timeline


def test_moments_that_matter(story: Story) -> None:
    """Good reads are left out; what failed, what is no read, and remarks are told, in order."""
    story.history.mark("secret-id-1 delivered").at = 0.5
    story.call(1.0, verb="start", path="")
    story.sent("login", 1.1, ttl=20.0, token="token-1")
    story.calls(2.0, 3.0)
    story.several("read", 2.0, 3.0)
    story.call(4.0, 6.0, "unavailable", message="refused")
    story.sent("read", 4.1, None, closed="server", token="token-1")
    story.sent("renew", 5.0, None)
    assert timeline(story.history) == [
        "+0.50 s  secret-id-1 delivered",
        "+1.00 s  start ended ok after 0.01 s",
        "+1.10 s  Vault saw login with token-1: 200, TTL 20 s",
        "+4.00 s  read backend/django ended unavailable after 2.00 s: refused",
        "+4.10 s  Vault saw read with token-1: no answer (server)",
        "+5.00 s  Vault saw renew: no answer (pending)",
    ]


def test_call_that_still_runs(story: Story) -> None:
    """It has no end to tell."""
    story.call(4.0, outcome=None)
    assert timeline(story.history) == ["+4.00 s  read backend/django ended None"]


def test_long_timeline_is_cut_in_its_middle(story: Story) -> None:
    """The beginning and the end tell more."""
    story.several("login", *map(float, range(1, 31)))
    texts = timeline(story.history, most=6)
    assert [text.split()[0] for text in texts] == [
        "+1.00",
        "+2.00",
        "+3.00",
        "...",
        "+28.00",
        "+29.00",
        "+30.00",
    ]
    assert texts[3] == "... 24 more ..."
    assert len(timeline(story.history, most=30)) == 30


# The journal


def test_journal(story: Story, tmp_path: Path) -> None:
    """Every event on one clock, by scenario, and no part is left."""
    story.fault(Signature(), ended=20.0)
    story.put(0.0, "v1")
    story.call(1.0)
    story.sent("read", 1.0)
    verdict = Verdict("fail", [Finding("p", "s", 1.0, harm=True)], [], ["e"])
    part = line("TOK-11", "fail", "s")
    reports.write_part(tmp_path, lab(story, verdict), part)
    summary = Summary("reference", [part, line("KV-02", "skipped", "no cache")], seconds=2.0)
    target = collect_parts(tmp_path, summary)
    journal = json.loads(target.read_text())
    assert target == tmp_path / "journal.json"
    assert journal["summary"] == str(summary)
    kv, tok = journal["scenarios"]
    assert (kv["id"], kv["word"], kv["why"]) == ("KV-02", "skipped", "no cache")
    assert (tok["id"], tok["seed"], tok["subject"]) == ("TOK-11", 7, "reference")
    assert tok["findings"] == [{"promise": "p", "seen": "s", "at": 1.0, "harm": True}]
    assert tok["faults"] == [{"name": "the fault", "began": 10.0, "ended": 20.0, "detail": {}}]
    assert tok["operations"][0]["value"] == "v1"
    assert tok["exchanges"][0]["kind"] == "read"
    assert tok["rotations"] == [{"at": 0.0, "path": "backend/django", "value": "v1", "done": 0.01}]
    assert [path.name for path in tmp_path.iterdir()] == ["journal.json"]


def test_journal_has_no_secrets(story: Story, tmp_path: Path) -> None:
    """Wherever one got in: a path, a message, an audit record."""
    story.sent("lookup", 1.0, path=f"auth/token/lookup/{TOKEN}")
    story.call(1.0, outcome="error", message=f"got {TOKEN}")
    reports.write_part(tmp_path, lab(story), line("TOK-11", "error", f"why {TOKEN}"))
    text = collect_parts(tmp_path, Summary("reference")).read_text()
    assert TOKEN not in text
    assert text.count("<token-1>") == 3


def test_scenario_without_a_verdict(story: Story, tmp_path: Path) -> None:
    """The harness failed in it; what happened up to then is kept."""
    reports.write_part(tmp_path, lab(story), line("TOK-11", "error"))
    journal = json.loads(collect_parts(tmp_path, Summary("reference")).read_text())
    assert (journal["scenarios"][0]["word"], journal["scenarios"][0]["findings"]) == ("error", [])


def test_parts_of_a_killed_run_are_forgotten(story: Story, tmp_path: Path) -> None:
    """They would stand in the next run's journal."""
    reports.clear_parts(tmp_path)
    reports.write_part(tmp_path, lab(story), line("SEA-01"))
    reports.clear_parts(tmp_path)
    journal = json.loads(collect_parts(tmp_path, Summary("reference")).read_text())
    assert journal["scenarios"] == []


def test_journal_replaces_the_last_one(tmp_path: Path) -> None:
    """Whole: a reader never sees half of one."""
    collect_parts(tmp_path, Summary("one", [line("TOK-01")]))
    collect_parts(tmp_path, Summary("two"))
    journal = json.loads((tmp_path / "journal.json").read_text())
    assert (journal["subject"], journal["scenarios"]) == ("two", [])
    assert [path.name for path in tmp_path.iterdir()] == ["journal.json"]
