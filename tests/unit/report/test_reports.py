"""What a run leaves behind: lines, summary, texts of failures, timeline, journal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.report.conftest import TOKEN, Record
from tests.unit.scenario.conftest import Story
from vault_harness.errors import SettingsError
from vault_harness.judge import report as reports
from vault_harness.judge.logs import LogLine
from vault_harness.judge.plugin.options import Options
from vault_harness.judge.report import (
    Line,
    Summary,
    collect_parts,
    explain,
    line_of,
    wire_of,
)
from vault_harness.judge.report.explanation import timeline
from vault_harness.judge.report.html import write_page
from vault_harness.judge.report.html.data import scenario
from vault_harness.judge.report.timing import lines_of
from vault_harness.judge.verdict import Finding, SetAside, Verdict
from vault_harness.recorder.fault import Signature
from vault_harness.recorder.observations import Stall

Make = Callable[..., Record]


def line(
    id: str,  # noqa: A002 - it is an id
    word: str = "pass",
    why: str = "",
    *,
    rate: str = "",
    leaks: tuple[str, ...] = (),
    about_leaks: bool = False,
) -> Line:
    return Line(id, "A promise", "critical", word, 1.25, why, rate, leaks, about_leaks)


def shown(record: Record, *, all_of_it: bool = False) -> list[str]:
    return [line.text for line in lines_of(record, all_of_it=all_of_it)]


# Lines and the summary


def test_line() -> None:
    """It fits the columns of the header."""
    text = str(line("TOK-11", "not exercised"))
    assert text == "TOK-11   not exercised    1.2 s  A promise"
    assert text.index("not") == reports.HEADER.index("verdict")
    assert text.index("A promise") == reports.HEADER.index("promise")
    assert str(line("TOK-11", "flaky", rate="3 of 5")).startswith("TOK-11   flaky 3 of 5 ")


def test_interruption_says_what_has_no_verdict() -> None:
    """The rest is only counted."""
    summary = Summary("it", [line("TOK-01")], unfinished=["KV-01", "NET-01", "TOK-02"])
    assert summary.interruption({"NET-01", "TOK-01", "KV-01"}) == (
        "interrupted: 1 of 4 scenarios have a verdict, 2 were under way (KV-01, NET-01), "
        "1 had not begun; this is no pass, whatever is written above"
    )


def test_summary_of_a_good_run() -> None:
    """Skips are no verdicts."""
    lines = [line("TOK-01"), line("TOK-02"), line("KV-02", "skipped")]
    summary = Summary("reference", lines, "openbao 2.7.2", "process", 59.6)
    assert str(summary) == (
        "reference: 2 of 2 scenarios pass; 1 skipped (openbao 2.7.2, process engine, 60 s)"
    )


def test_summary_of_a_bad_run() -> None:
    lines = [
        line("TOK-02", "fail"),
        line("TOK-01", "fail"),
        line("NET-01", "not exercised"),
        line("NET-02", "flaky", rate="1 of 2"),
        line("SEA-01", "error"),
        line("KV-01", leaks=("its log has token-1",)),
        replace(line("NET-09", "fail"), forgiven=True),
    ]
    summary = Summary("mine", lines, seconds=3.0, broken=["scenarios/test_x.py::test_y"])
    assert str(summary) == (
        "mine: 1 of 7 scenarios pass; fail: NET-09 (SHOULD), TOK-01, TOK-02; flaky: NET-02; "
        "not exercised: NET-01; error: SEA-01; secrets came out in KV-01; "
        "the harness broke down in scenarios/test_x.py::test_y (3 s)"
    )


# Secrets that came out


def test_leak_fails_the_row_that_is_about_it() -> None:
    """It fails no other row."""
    lines = [line("KV-01", leaks=("+1.00 s: said token-1",)), line("PRC-04", about_leaks=True)]
    summary = Summary("mine", lines)
    (changed,) = summary.settle_leaks()
    assert (changed.id, changed.word) == ("PRC-04", "fail")
    assert changed.why == "a secret came out in KV-01    +1.00 s: said token-1"
    assert [one.word for one in summary.lines] == ["pass", "fail"]
    assert summary.leaks() == ["KV-01    +1.00 s: said token-1"]
    assert Summary("mine", [line("PRC-04", about_leaks=True)]).settle_leaks() == []


def test_skipped_row_about_leaks_stays_skipped() -> None:
    """The leak is told."""
    lines = [line("KV-01", leaks=("l",)), line("PRC-04", "skipped", about_leaks=True)]
    summary = Summary("mine", lines)
    assert (summary.settle_leaks(), len(summary.leaks())) == ([], 1)


def test_line_says_that_harm_was_done(record: Make) -> None:
    """The row about leaks does not."""
    harmful = Finding("no wrong value", "it gave v1", 1.0, harm=True)
    made = record("fail", verdict=Verdict("fail", [Finding("p", "late", 1.0), harmful]))
    assert line_of(made).harm
    assert not line_of(made, about_leaks=True).harm
    assert not line_of(record("fail", verdict=Verdict("fail", [Finding("p", "late")]))).harm


def test_leak_with_colours_is_one_line() -> None:
    """Control characters of a client's log are escaped."""
    summary = Summary("mine", [line("KV-01", leaks=("its log has \x1b[31mtoken-1\n::error::",))])
    assert summary.leaks() == [r"KV-01    its log has \x1b[31mtoken-1\n::error::"]


# The command


@pytest.mark.parametrize(
    "subject", ["reference", "command:./my client --flag='a b' $HOME `id`; echo", "http://h:1"]
)
def test_command_can_be_pasted(subject: str) -> None:
    chosen = Options(
        subject=subject,
        declared={"max_stale": 6.5},
        only=frozenset(),
        report=Path("report"),
        seed=42,
        repeat=1,
        confirm=0,
        ttl_scale=8.0,
        wire="h2",
        allow_not_exercised=False,
        strict=False,
        known_file=None,
        write_known=False,
        shard=None,
        durations=False,
        workers=0,
        run="1",
    )
    assert shlex.split(chosen.again("TOK-11"))[1:] == [
        *("scenarios", "--only", "TOK-11", "--subject", subject),
        *("--declare", "max_stale=6.5", "--seed", "42", "--ttl-scale", "8", "--wire", "h2"),
    ]


# A failure's text


def test_text_of_a_failure(story: Story, record: Make) -> None:
    story.fault(Signature())
    story.sent("login", 12.0, 403, secret_id="secret-id-1")
    verdict = Verdict(
        "fail",
        [Finding("at most 1 login", "2 logins (+12.00)", 12.0)],
        [],
        ["read answered 403"],
        [SetAside(Finding("p", "late", 15.0), "the machine stood still")],
    )
    log = (LogLine(12.01, "one"), LogLine(12.5, "two\ttabs"))
    text = explain(record("fail", verdict=verdict, log=log), again="./dev scenarios --only TOK-11")
    assert text.splitlines() == [
        "TOK-11  fail: One login",
        "  guards against: vault#26172",
        "  seen:",
        "    +12.00 s: 2 logins (+12.00) (promised: at most 1 login)",
        "  faults:",
        "    the fault: +10.00 s to +20.00 s",
        "  what is known to have happened:",
        "    read answered 403",
        "  from +9.00 s to +13.00 s (T = 20 s, max TTL 600 s, deadline 2 s):",
        "    +10.00 s  FAULT the fault",
        "    +12.00 s  Vault saw login with secret-id-1: 403",
        "    +12.00 s  FINDING 2 logins (+12.00)",
        "  from +19.00 s to +21.00 s (T = 20 s, max TTL 600 s, deadline 2 s):",
        "    +20.00 s  undone: the fault",
        "  does not count:",
        "    +15.00 s: late (promised: p) [the machine stood still]",
        "  the subject logged last:",
        "    +12.01 s  one",
        "    +12.50 s  two\\ttabs",
        "  run it again: ./dev scenarios --only TOK-11",
    ]


def test_the_text_separates_findings_at_the_clients_end(record: Make) -> None:
    own = Finding("one login", "two logins", 1.0)
    at_the_end = Finding("its tokens are dead once it is closed", "one lives", 9.0, closing=True)
    both = explain(record("fail", verdict=Verdict("fail", [own, at_the_end])))
    asked = "  seen at the client's end, as every scenario asks"
    assert "  seen:\n    +1.00 s: two logins" in both
    assert f"{asked}:\n    +9.00 s: one lives" in both
    alone = explain(record("fail", verdict=Verdict("fail", [at_the_end])))
    assert f"{asked}; its own promise was kept:\n    +9.00 s: one lives" in alone


def test_text_of_a_confirmation(record: Make) -> None:
    made = record("fail", verdict=Verdict("fail", [Finding("p", "nothing", None)]))
    run = {"word": "fail", "why": "two logins (promised: one login)", "too_slow": "", "seconds": 1}
    slow = {"word": "pass", "why": "", "too_slow": "this machine is too slow", "seconds": 1}
    made["confirmation"] = [run, slow, run]
    assert (
        "  its runs:\n"
        "    first run: fail: two logins (promised: one login)\n"
        "    quiet run 1: pass [does not count, this machine is too slow]\n"
        "    quiet run 2: fail: two logins (promised: one login)"
    ) in explain(made)


def test_text_of_what_was_not_exercised(story: Story, record: Make) -> None:
    """A fault that was never undone is told."""
    story.fault(Signature(), ended=None)
    verdict = Verdict("not exercised", untouched=["no steady state"])
    text = explain(record("not exercised", verdict=verdict))
    assert "TOK-11  not exercised: One login" in text
    assert "  not exercised, because:\n    no steady state" in text
    assert "    the fault: +10.00 s not undone" in text
    assert "seen:" not in text
    assert "logged last" not in text


def test_finding_is_shown_however_much_is_left_out(story: Story, record: Make) -> None:
    for number in range(60):
        story.sent("login", 100.0 + number / 100, secret_id=f"secret-id-{number}")
        story.sent("read", 100.0 + number / 100, token="token-1")
    verdict = Verdict("fail", [Finding("p", "a dead token", 100.3)])
    shown = explain(record("fail", verdict=verdict)).splitlines()
    assert [line.strip() for line in shown[-28:] if "login" not in line] == [
        "... 18 more lines, all of them in the journal ...",
        "+100.30 s  Vault saw read of p with token-1: 200",
        "+100.30 s  FINDING a dead token",
        "... 17 more lines, all of them in the journal ...",
    ]


def test_finding_before_any_fault_is_shown(story: Story, record: Make) -> None:
    story.fault(Signature())
    path = "auth/token/revoke-self"
    story.sent("revoke", 5.0, 204, token="token-1", path=path)
    story.sent("read", 5.4, 403, token="token-1")
    aside = [SetAside(Finding("p", "a dead token", 5.4), "before any fault")]
    verdict = Verdict("not exercised", [], ["before any fault: +5.40 s: a dead token"], [], aside)
    made = record("not exercised", verdict=verdict)
    text = explain(made)
    means = "it broke that promise before any fault: fix that first, and this"
    assert f"    before any fault: +5.40 s: a dead token\n    {means}" in text
    assert scenario(made)["reason"]["seen"] == "before any fault: +5.40 s: a dead token"
    assert scenario(made)["reason"]["note"].startswith(means)
    assert (
        "    +5.00 s  Vault saw revoke with token-1: 204\n"
        "    +5.40 s  Vault saw read of p with token-1: 403\n"
        "    +5.40 s  SET ASIDE a dead token\n"
    ) in text


def test_repeated_stalls_share_a_line(story: Story, record: Make) -> None:
    story.history.stalls += [Stall(float(at), 0.3) for at in range(1, 6)]
    assert shown(record()) == [
        "+1.00 s  5 times to +5.00 s: the machine stood still (+1.00, +2.00, +3.00, +4.00 ...)"
    ]


def test_request_that_lay_unread(story: Story, record: Make) -> None:
    """It tells how long it waited."""
    story.sent("revoke", 5.0, 204, token="token-1", waited=3.4)
    assert shown(record()) == ["+5.00 s  Vault saw revoke with token-1: 204, 3.40 s after it came"]


def test_message_of_several_lines(story: Story, record: Make) -> None:
    story.call(4.0, 6.0, "error", message="first\nsecond\x1b[31m")
    (told,) = shown(record())
    assert told.endswith(
        "read backend/django ended error after 2.00 s, at +6.00 s: first\\nsecond\\x1b[31m"
    )


# The timeline


def test_moments_that_matter(story: Story, record: Make) -> None:
    """Good reads are left out."""
    story.history.mark("secret-id-1 delivered").at = 0.5
    story.call(1.0, verb="start", path="")
    story.sent("login", 1.1, ttl=20.0, token="token-1")
    story.calls(2.0, 3.0)
    story.several("read", 2.0, 3.0)
    story.call(4.0, 6.0, "unavailable", message="refused")
    story.sent("read", 4.1, None, closed="server", token="token-1", path="ecommerce/data/x")
    story.sent("renew", 5.0, None)
    assert shown(record()) == [
        "+0.50 s  secret-id-1 delivered",
        "+1.00 s  start ended ok after 0.01 s, at +1.01 s, gave v1",
        "+1.10 s  Vault saw login with token-1: 200, TTL 20 s",
        "+4.00 s  read backend/django ended unavailable after 2.00 s, at +6.00 s: refused",
        "+4.10 s  Vault saw read of ecommerce/data/x with token-1: no answer (server)",
        "+5.00 s  Vault saw renew: no answer (pending)",
    ]


def test_namespace_of_a_request(story: Story, record: Make) -> None:
    story.sent("read", 4.0, 403, token="token-1", path="kv/data/x").namespace = "team"
    told = "+4.00 s  Vault saw read of kv/data/x in namespace team with token-1: 403"
    assert shown(record()) == [told]


def test_refused_logins_at_the_database_are_shown(story: Story, record: Make) -> None:
    """Accepted ones are not."""
    story.used(1.0)
    story.used(2.0, accepted=False)
    assert shown(record()) == ["+2.00 s  the database refused credential-1"]


def test_call_that_still_runs(story: Story, record: Make) -> None:
    story.call(4.0, outcome=None)
    assert shown(record(), all_of_it=True) == ["+4.00 s  read backend/django has not ended"]


def test_many_alike_share_a_line(story: Story, record: Make) -> None:
    story.several("login", *[1.0 + at / 100 for at in range(30)], status=400)
    story.history.mark("a new secret-id").at = 2.0
    story.several("login", 3.0)
    assert shown(record()) == [
        "+1.00 s  30 times to +1.29 s: Vault saw login: 400 (+1.00, +1.01, +1.02, +1.03 ...)",
        "+2.00 s  a new secret-id",
        "+3.00 s  Vault saw login: 200",
    ]


def test_everything_of_one_scenario(story: Story, record: Make, tmp_path: Path) -> None:
    story.calls(2.0)
    story.several("read", 2.0)
    log = (LogLine(2.5, "hello"), LogLine(9.0, "bye"))
    parts = tmp_path / "parts-1"
    reports.write_part(parts, record(log=log))
    journal = collect_parts(tmp_path, parts, Summary("reference"))
    text = timeline(journal, "tok-11")
    assert text.splitlines()[-4:] == [
        "+2.00 s  Vault saw read of p: 200",
        "+2.00 s  read backend/django ended ok after 0.01 s, at +2.01 s, gave v1",
        "+2.50 s  log: hello",
        "+9.00 s  log: bye",
    ]
    assert "bye" not in timeline(journal, "TOK-11", until=8.0)
    assert "hello" in timeline(journal, "TOK-11", since=2.2, raw=True)


def test_timeline_of_what_is_not_there(record: Make, tmp_path: Path) -> None:
    """The error has the known ids."""
    reports.write_part(tmp_path / "parts-1", record())
    journal = collect_parts(tmp_path, tmp_path / "parts-1", Summary("reference"))
    with pytest.raises(SettingsError, match="name one of TOK-11"):
        timeline(journal, "TOK-99")


@pytest.mark.parametrize(
    "events",
    [{"faults": [{"name": "x"}]}, {"marks": [5]}, {"marks": 5}, {"rotations": [{}]}],
)
def test_timeline_of_a_journal_that_was_merged_by_hand(
    events: Record, record: Make, tmp_path: Path
) -> None:
    reports.write_part(tmp_path / "parts-1", {**record(), **events})
    journal = collect_parts(tmp_path, tmp_path / "parts-1", Summary("reference"))
    with pytest.raises(SettingsError, match="an event of TOK-11 is not of the form") as told:
        timeline(journal, "TOK-11")
    assert str(journal) in str(told.value)


def test_what_a_client_says_at_length(record: Make) -> None:
    """It is cut in every text."""
    verdict = Verdict("fail", [Finding("p", "x" * 90_000, 1.0)], ["y" * 90_000])
    made = record("fail", verdict=verdict)
    for text in (explain(made), "\n".join(shown(made))):
        assert len(text) < 6_000
        assert "x ... 88500 more letters, all of them in the journal ..." in text


# The journal


def test_journal(story: Story, record: Make, tmp_path: Path) -> None:
    """The parts are removed."""
    story.fault(Signature(), ended=20.0)
    story.put(0.0, "v1")
    story.call(1.0)
    story.sent("read", 1.0)
    verdict = Verdict("fail", [Finding("p", "s", 1.0, harm=True)], [], ["e"])
    parts = tmp_path / "parts-1"
    reports.write_part(parts, record("fail", verdict=verdict, why="s"))
    lines = [line("TOK-11", "fail", "s"), line("KV-02", "skipped", "no cache")]
    summary = Summary("reference", lines, seconds=2.0)
    target = collect_parts(tmp_path, parts, summary)
    journal = json.loads(target.read_text())
    assert target == tmp_path / "journal.json"
    assert journal["summary"] == str(summary)
    kv, tok = journal["scenarios"]
    assert (kv["id"], kv["word"], kv["why"]) == ("KV-02", "skipped", "no cache")
    assert (tok["id"], tok["seed"], tok["subject"]) == ("TOK-11", 7, "reference")
    (finding,) = tok["findings"]
    assert (finding["promise"], finding["seen"], finding["at"]) == ("p", "s", 1.0)
    assert tok["faults"] == [{"name": "the fault", "began": 10.0, "ended": 20.0, "detail": {}}]
    assert tok["operations"][0]["value"] == "v1"
    assert tok["exchanges"][0]["kind"] == "read"
    assert tok["rotations"] == [{"at": 0.0, "path": "backend/django", "value": "v1", "done": 0.01}]
    assert [path.name for path in tmp_path.iterdir()] == ["journal.json"]


def test_journal_has_a_line_for_each_scenario(record: Make, tmp_path: Path) -> None:
    parts = tmp_path / "parts-1"
    reports.write_part(parts, record(log=(LogLine(1.0, 'one\ntwo "three"'),)))
    reports.write_part(parts, record(id="KV-02"))
    lines = [line("TOK-11", "pass"), line("KV-02", "pass")]
    text = collect_parts(tmp_path, parts, Summary("reference", lines)).read_text()
    alone = [one.strip().rstrip(",") for one in text.splitlines() if '"promise"' in one]
    assert [json.loads(one) for one in alone] == json.loads(text)["scenarios"]
    assert [json.loads(one)["id"] for one in alone] == ["KV-02", "TOK-11"]


def test_journal_has_no_secrets(story: Story, record: Make, tmp_path: Path) -> None:
    """They are in no path, message, reason or log."""
    story.sent("lookup", 1.0, path=f"auth/token/lookup/{TOKEN}")
    story.call(1.0, outcome="error", message=f"got {TOKEN}")
    log = (LogLine(1.0, f"token {TOKEN}"),)
    parts = tmp_path / "parts-1"
    reports.write_part(parts, record("error", why=f"why {TOKEN}", log=log))
    text = collect_parts(tmp_path, parts, Summary("reference")).read_text()
    assert TOKEN not in text
    assert text.count("<token-1>") == 4
    assert (tmp_path / "TOK-11.log").read_text() == "+     1.00 s  token <token-1>\n"


PEM = f"-----BEGIN PRIVATE KEY-----\n{'MIIEvQIB' * 8}\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "secret",
    ['a"b' * 5, "a" * 20 + "\\" + "b" * 9, "\u00fc" * 12, PEM],
    ids=["quotes", "a backslash", "beyond ASCII", "several lines"],
)
def test_secret_that_json_escapes_is_none_of_the_journal(
    story: Story, record: Make, tmp_path: Path, secret: str
) -> None:
    story.call(1.0, outcome="error", message=f"got {secret}, twice {secret}")
    story.history.mark(json.dumps({"kept": secret}))
    story.fault(Signature()).detail = {secret: secret}  # a key too
    log = (LogLine(1.0, f"{secret!r}"), *(LogLine(1.0, one) for one in secret.splitlines()))
    parts = tmp_path / "parts-1"
    reports.write_part(parts, record("error", why=f"why {secret}", log=log, secret=secret))
    target = collect_parts(tmp_path, parts, Summary("reference"))
    texts = [target.read_text(), str(json.loads(target.read_text()))]
    texts.append((tmp_path / "TOK-11.log").read_text())
    escaped = [json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)]
    parts_of_it = {secret, *escaped, *secret.splitlines()[:2][-1:]}
    assert not [(one, text) for one in parts_of_it for text in texts if one in text]
    assert "<token-1>" in texts[0]


@pytest.mark.parametrize("secret", [TOKEN, "cut"])
def test_half_of_a_character(story: Story, record: Make, tmp_path: Path, secret: str) -> None:
    """A client cut a character in half."""
    story.call(1.0, outcome="error", message=f"cut \ud83d, {TOKEN}")
    log = (LogLine(1.0, f"cut \ud83d \u00fc {TOKEN}"),)
    parts = tmp_path / "parts-1"
    made = record("error", why="cut \ud83d", log=log, secret=secret * 3)
    reports.write_part(parts, made)
    journal = reports.load(collect_parts(tmp_path, parts, Summary("reference")))
    (found,) = journal["scenarios"]
    assert found["why"] == "cut \\ud83d"
    assert found["operations"][0]["message"].startswith("cut \\ud83d, ")
    explain(found).encode()
    write_page([journal], tmp_path / "index.html")
    assert "cut \\ud83d \u00fc" in (tmp_path / "TOK-11.log").read_text(encoding="utf-8")


def test_parts_of_a_killed_run_are_forgotten(record: Make, tmp_path: Path) -> None:
    reports.write_part(tmp_path / "parts-1", record(id="SEA-01", log=(LogLine(1.0, "x"),)))
    (tmp_path / "SEA-02.log").write_text("old")
    target = collect_parts(tmp_path, tmp_path / "parts-2", Summary("reference"))
    assert json.loads(target.read_text())["scenarios"] == []
    assert [path.name for path in tmp_path.iterdir()] == ["journal.json"]


def start(folder: Path, run: str = "1") -> None:
    planned = {f"TOK-{n}": 1.0 for n in range(11, 99)}
    reports.begin(folder, subject="mine", run=run, planned=planned)


def test_what_no_run_left_is_left_alone(record: Make, tmp_path: Path) -> None:
    own = ["parts.txt", "shop.log", "parts-list/a", "parts/b", "parts-7", "TOK-11.log.old"]
    for name in own:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    start(tmp_path)
    reports.write_part(tmp_path / "parts-1", record())
    collect_parts(tmp_path, tmp_path / "parts-1", Summary("mine"))
    left = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert left == {*own, "journal.json"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("score.json", '{"mine": 1}'),
        ("badge.json", '{"mine": 1}'),
        ("index.html", "<title>coverage</title>"),
        ("journal.json", '{"schema_version": 1, "entries": []}'),
        ("journal.json", '{"suite_version": 1, "scenarios": []}'),
    ],
)
def test_folder_of_somebody_elses_is_refused(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=f"the report would replace {name}") as caught:
        start(tmp_path)
    assert "is it committed, move it out of this folder" in (caught.value.remedy or "")
    assert [file.read_text() for file in tmp_path.iterdir()] == [text]


def test_report_of_other_tests_is_replaced(tmp_path: Path) -> None:
    """It is a ``junit.xml``."""
    (tmp_path / "junit.xml").write_text("<testsuites/>")
    start(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["journal.json"]


def test_folder_of_a_run_is_used_again(tmp_path: Path) -> None:
    """That run may have been killed."""
    start(tmp_path)
    (tmp_path / "score.json").write_text("{}")
    start(tmp_path)
    collect_parts(tmp_path, tmp_path / "parts-1", Summary("mine"))
    (tmp_path / "score.json").write_text("{}")
    start(tmp_path, "2")
    assert [path.name for path in tmp_path.iterdir()] == ["journal.json"]
    (tmp_path / "journal.json").unlink()  # as `report` leaves a page without a journal
    write_page([], tmp_path / "index.html")
    start(tmp_path, "3")
    assert [path.name for path in tmp_path.iterdir()] == ["journal.json"]


def test_parts_of_a_run_with_the_same_name_are_forgotten(record: Make, tmp_path: Path) -> None:
    """The name is the process id."""
    start(tmp_path)
    reports.write_part(tmp_path / "parts-1", record(id="SEA-01"))
    start(tmp_path)
    target = collect_parts(tmp_path, tmp_path / "parts-1", Summary("mine"))
    assert json.loads(target.read_text())["scenarios"] == []


# What was spoken


@pytest.mark.parametrize(
    ("wire", "spoken", "said"),
    [
        ("plain", [], ""),
        ("tls", ["http/1.1"], "TLS"),
        ("h2", ["h2", None], "HTTP/2"),
        ("h2", ["http/1.1"], "HTTP/2 offered, the client speaks HTTP/1.1 over TLS"),
    ],
)
def test_what_was_spoken(wire: str, spoken: list[str | None], said: str) -> None:
    """HTTP/2 is named only if the client spoke it."""
    record = {"wire": wire, "handshakes": [{"protocol": protocol} for protocol in spoken]}
    assert wire_of(record) == said
    summary = Summary("mine", [], wires={said} - {""})
    assert said in str(summary)
    assert ("TLS" in str(summary)) == ("TLS" in said)
