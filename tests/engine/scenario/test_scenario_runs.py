"""Runs of the suite from end to end: verdicts, exit codes, output, journal and JUnit file."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.engine.scenario.conftest import ROOT, Run, Suite
from vault_harness.report.formats import Journal
from vault_harness.report.score import load_score
from vault_harness.scenario.catalogue import load

LIFE = load(ROOT / "scenarios" / "catalogue.toml")["TOK-19"].ttl
"""Seconds, of its token."""

pytestmark = pytest.mark.xdist_group("scenario runs")  # they look at one run, which takes seconds
# One client, four scenarios: two verdicts and a skip


def test_verdicts(mixed: Run) -> None:
    """What it does right passes, what it does wrong fails, what it does not claim is skipped."""
    assert mixed.words == {"KV-01": "pass", "KV-02": "skipped", "KV-03": "fail", "TOK-19": "pass"}
    assert mixed.code == 1


def test_table_and_summary(mixed: Run) -> None:
    """A line for each scenario, the reason of each skip, and a line to paste."""
    lines = mixed.out.splitlines()
    for id, word in mixed.words.items():  # noqa: A001 - it is one
        (line,) = [line for line in lines if re.match(rf"{id} +{word} +\d+\.\d s  ", line)]
        assert mixed.scenarios[id]["promise"] in line
    assert "KV-02    the subject does not claim: cached" in lines
    summary = mixed.journal["summary"]
    assert summary in lines
    assert summary.startswith(
        "python:clients_of_this_test:Blurred: 2 of 3 scenarios pass; "
        "fail: KV-03; 1 skipped (openbao"
    )


def test_text_of_the_failure(mixed: Run) -> None:
    """What was promised, what was seen, and the command that runs this scenario again."""
    failure = next(
        case for case in mixed.junit.iter("testcase") if case.find("failure") is not None
    )
    text = "".join(failure.itertext())
    assert f"KV-03  fail: {mixed.scenarios['KV-03']['promise']}" in text
    assert "reported as missing: DeletedError: " in text
    assert "(promised: a deleted secret is reported as deleted" in text
    assert text.strip() in mixed.out.replace("\r", "")
    seed = mixed.scenarios["KV-03"]["seed"]
    words = shlex.split(text.partition("run it again: ")[2].splitlines()[0])
    assert words[1:] == [
        "scenarios",
        "--only",
        "KV-03",
        "--subject",
        "python:clients_of_this_test:Blurred",
        "--seed",
        str(seed),
    ]


def test_journal_of_a_run(mixed: Run) -> None:
    """Every scenario's history on one clock, from three witnesses, with the run's one seed."""
    judged = [s for s in mixed.journal["scenarios"] if s["word"] != "skipped"]
    assert len({scenario["seed"] for scenario in judged}) == 1
    assert mixed.journal["engine"] == "process"
    for scenario in judged:
        assert scenario["exchanges"][0]["kind"] == "login"
        assert scenario["operations"][0]["verb"] == "start"
        assert scenario["audit"]
        for events in ("operations", "exchanges"):
            times = [event["began"] for event in scenario[events]]
            assert times == sorted(times)
            assert times[0] >= 0.0
            assert times[-1] <= scenario["seconds"]
    own = [r for r in mixed.scenarios["KV-01"]["rotations"] if r["path"] == "backend/django"]
    assert [rotation["value"] for rotation in own] == ["seeded", "v1", "v2", "closing"]
    finding = mixed.scenarios["KV-03"]["findings"][0]
    assert finding["seen"].startswith("it was reported as missing: ")
    assert abs(mixed.scenarios["KV-01"]["clock_gap"]) < 0.05


def test_audit_log_and_recorder_agree(mixed: Run) -> None:
    """Two witnesses saw the same login at the same time."""
    scenario = mixed.scenarios["KV-01"]
    (login,) = [e for e in scenario["exchanges"] if e["kind"] == "login"]
    times = [r["at"] for r in scenario["audit"] if r["path"] == "auth/approle/login"]
    assert min(abs(at - login["began"]) for at in times) < 1.0


def test_junit_of_a_run(mixed: Run) -> None:
    """A test case for each scenario, failed and skipped as in the table."""
    suite = next(mixed.junit.iter("testsuite"))
    counts = {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")}
    assert counts == {"tests": "4", "failures": "1", "skipped": "1", "errors": "0"}


def test_no_secret_is_told(mixed: Run) -> None:
    """Neither by the terminal nor by the journal, the page or the JUnit file."""
    assert len(mixed.seen) >= 6, "secret-ids, tokens and values of several scenarios"
    files = [(mixed.report / name).read_text() for name in ("journal.json", "junit.xml")]
    for text in (*files, mixed.page, json.dumps(mixed.on_the_page)):
        assert [secret for secret in mixed.seen if secret in text] == []
    assert [secret for secret in mixed.seen if secret in mixed.out] == []


def test_nothing_but_the_report_is_left(mixed: Run) -> None:
    """No part of a journal, no file that is half written."""
    names = {path.name for path in mixed.report.iterdir() if path.suffix != ".log"}
    assert names == {"index.html", "journal.json", "junit.xml", "score.json", "badge.json"}
    assert {path.stem for path in mixed.report.glob("*.log")} <= set(mixed.words)


def test_page_of_a_run(mixed: Run) -> None:
    """It holds each scenario's verdict, history and command as the journal has them."""
    for name, scenario in mixed.scenarios.items():
        (shown,) = mixed.on_the_page[name]
        assert shown["word"] == scenario["word"]
        assert len(shown["exchanges"]) == len(scenario.get("exchanges", ()))
        assert shown["again"] == scenario["again"]
    (failed,) = mixed.on_the_page["KV-03"]
    assert f"run it again: {failed['again']}\n" in mixed.out
    assert failed["log"] or not mixed.scenarios["KV-03"]["log"]


# Other clients


@pytest.mark.slow  # a run of its own
@pytest.mark.parametrize(
    "workers", [["-n", "0"], ["-n", "1"], ["-n", "4"], ["--vault-workers", "1"]], ids=" ".join
)
def test_any_number_of_workers(suite: Suite, mixed: Run, workers: list[str]) -> None:
    """The verdicts are the same, in forks and in workers of pytest-xdist."""
    run = suite.run("Blurred", "--vault-only", "TOK-19,KV-01,KV-02,KV-03", *workers)
    assert run.words == mixed.words
    assert run.code == mixed.code


@pytest.mark.slow  # a run of its own
def test_good_client(suite: Suite) -> None:
    """All pass, and so does the run; the seed that was given is the one that was used."""
    run = suite.run("Good", "--vault-only", "TOK-19,TOK-11,KV-03", "--vault-seed", "4711")
    assert set(run.words.values()) == {"pass"}
    assert run.code == 0
    assert {scenario["seed"] for scenario in run.scenarios.values()} == {4711}
    bit, met, *closing = run.scenarios["TOK-11"]["evidence"]
    assert [text.partition(":")[0] for text in closing] == ["the closing act"] * len(closing)
    assert len(closing) == 2
    assert re.match(r"token revoked: read answered 403 at \+\d", bit)
    assert met.startswith("a request that was refused for the lost token")


@pytest.mark.slow  # a run of its own
def test_client_that_cannot_start(suite: Suite) -> None:
    """Nothing could be tested, and what the client said of it is told."""
    run = suite.run("Unready", "--vault-only", "TOK-19")
    assert (run.words, run.code) == ({"TOK-19": "not exercised"}, 2)
    assert "the subject does not start: " in run.out
    assert "there is no configuration file" in run.out
    allowed = suite.run("Unready", "--vault-only", "TOK-19", "--vault-allow-not-exercised")
    assert (allowed.words, allowed.code) == ({"TOK-19": "not exercised"}, 0)
    assert "0 of 1 scenarios pass; not exercised: TOK-19" in allowed.out


@pytest.mark.slow  # a run of its own
def test_client_that_tells_its_token(suite: Suite) -> None:
    """The leak fails the run once, and no row but its own; it is not repeated by the finder."""
    run = suite.run("Babbling", "--vault-only", "KV-03,PRC-04")
    assert (run.words, run.code) == ({"KV-03": "pass", "PRC-04": "fail"}, 1)
    assert "[contains token-1]" in run.out
    assert "secrets came out in KV-03" in run.journal["summary"]
    texts = [run.out, *(path.read_text() for path in run.report.iterdir())]
    assert [secret for secret in run.seen for text in texts if secret in text] == []


@pytest.mark.slow  # a run of its own
def test_leak_fails_a_run_without_its_row(suite: Suite) -> None:
    """The scenario passes, and the run does not."""
    run = suite.run("Babbling", "--vault-only", "KV-03")
    assert (run.words, run.code) == ({"KV-03": "pass"}, 1)
    assert "secrets came out" in run.out


@pytest.mark.slow  # a run of its own
def test_client_that_keeps_its_token(suite: Suite) -> None:
    """Every scenario ends with the closing act, whatever it is about."""
    run = suite.run("Leaky", "--vault-only", "TOK-19,KV-03")
    assert (run.words, run.code) == ({"KV-03": "fail", "TOK-19": "fail"}, 1)
    (finding,) = run.scenarios["KV-03"]["findings"]
    assert finding["seen"] == "1 token of it alive after close: token-1"
    assert run.scenarios["TOK-19"]["no_closing"] == "the scenario itself ended the subject"


@pytest.mark.slow  # a run of its own
def test_should_that_is_not_kept(suite: Suite) -> None:
    """It is shown as what it is with its whole text, and fails the run only where that is asked."""
    run = suite.run("Leaky", "--vault-only", "TOK-19")
    assert (run.words, run.code) == ({"TOK-19": "fail"}, 0), run.out
    assert "0 of 1 scenarios pass; fail: TOK-19 (SHOULD)" in run.journal["summary"]
    assert "TOK-19  fail: A client that is ended cleanly revokes its token" in run.out
    strict = suite.run("Leaky", "--vault-only", "TOK-19", "--vault-strict")
    assert (strict.words, strict.code) == ({"TOK-19": "fail"}, 1), strict.out


@pytest.mark.slow  # a run of its own
@pytest.mark.parametrize("workers", [["-n", "0"], ["--vault-workers", "1"]], ids=" ".join)
def test_verdict_that_does_not_repeat(suite: Suite, workers: list[str]) -> None:
    """It is called flaky, with its rate, and fails the run; one that does repeat keeps its word."""
    run = suite.run("Moody", "--vault-only", "KV-03,TOK-19", "--vault-repeat", "4", *workers)
    assert (run.words, run.code) == ({"KV-03": "flaky", "TOK-19": "pass"}, 1)
    scenario = run.scenarios["KV-03"]
    assert scenario["rate"] == "2 of 4"
    assert [one["word"] for one in scenario["runs"]] == ["pass", "fail", "pass", "fail"]
    assert "1 of 2 scenarios pass; flaky: KV-03" in run.journal["summary"]
    assert re.search(r"^KV-03 +flaky 2 of 4 ", run.out, re.MULTILINE)


@pytest.mark.slow  # a run of its own
@pytest.mark.parametrize(
    ("client", "options", "ttl"),
    [
        ("Good", ["--vault-ttl-scale", "3"], 3 * LIFE),
        ("Slow", [], 60.0),  # as it declares
        ("Good", [], LIFE),
    ],
)
def test_longer_lives(suite: Suite, client: str, options: list[str], ttl: float) -> None:
    """By the command line, or because the client's timers are made for them."""
    run = suite.run(client, "--vault-only", "TOK-19", *options)
    scenario = run.scenarios["TOK-19"]
    assert (scenario["word"], scenario["times"]["ttl"]) == ("pass", ttl)
    (login,) = [e for e in scenario["exchanges"] if e["kind"] == "login"]
    assert login["ttl"] == ttl


@pytest.mark.slow  # a run of its own
def test_client_that_takes_the_worker_along(suite: Suite) -> None:
    """Other scenarios go on, and the run says what is missing from the table."""
    run = suite.run("Deadly", "--vault-only", "TOK-19,KV-03", "--vault-workers", "2")
    assert (run.code, run.journal["complete"]) == (3, False)
    summary = run.journal["summary"]
    assert "0 of 0 scenarios pass; the harness broke down in scenarios/" in summary
    assert "incomplete: KV-03, TOK-19 did not come to an end" in summary


@pytest.mark.slow  # a run of its own
def test_threads_of_a_clients_module(suite: Suite) -> None:
    """What a client begins when it is imported is there in every process that runs it."""
    run = suite.run("Beating", "--vault-only", "TOK-19,KV-03", "--vault-workers", "2")
    assert (run.words, run.code) == ({"KV-03": "pass", "TOK-19": "pass"}, 0)


@pytest.mark.slow  # a run of its own
def test_first_failure_ends_the_run(suite: Suite) -> None:
    """A scenario that is under way beside it is broken off, and is not in the journal."""
    run = suite.run("Blurred", "--vault-only", "KV-03,NET-03", "--vault-workers", "2", "-x")
    assert (run.words, run.code) == ({"KV-03": "fail"}, 1)
    assert "stopping after 1 failures" in run.out


@pytest.mark.slow  # a run of its own
def test_journal_of_the_last_run_only(suite: Suite) -> None:
    """Parts that a killed run left behind are not of this one."""
    parts = suite.directory / "report" / "parts"
    parts.mkdir(parents=True)
    (parts / "SEA-01.json").write_text('{"id": "SEA-01", "word": "fail"}')
    run = suite.run("Good", "--vault-only", "TOK-19")
    assert run.words == {"TOK-19": "pass"}


def test_score_of_a_run(mixed: Run) -> None:
    """What it leaves keeps to the formats; a part of the suite has no grade."""
    Journal.model_validate(mixed.journal)
    score = load_score(mixed.report / "score.json")
    assert {id: one.verdict for id, one in score.scenarios.items()} == mixed.words  # noqa: A001
    assert score.grade is None
    assert "TOK-11" in score.why[0]
    claims = ["herd", "namespace", "outcomes", "read", "read_all", "tls"]
    assert score.client.capabilities == claims
    assert f"grade none (claims {', '.join(claims)}; suite" in mixed.out
    assert json.loads((mixed.report / "badge.json").read_text())["message"] == "no grade"
