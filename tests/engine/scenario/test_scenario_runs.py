"""Runs of the suite from end to end: verdicts, exit codes, output, journal and JUnit file."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.engine.scenario.conftest import Run, Suite

pytestmark = pytest.mark.xdist_group("scenario runs")  # they look at one run, which takes seconds
# One client, four scenarios: two verdicts and a skip


def test_verdicts(mixed: Run) -> None:
    """What the client does right passes, what it leaks fails, what it does not claim is skipped."""
    assert mixed.words == {"KV-01": "pass", "KV-02": "skipped", "KV-03": "pass", "TOK-19": "fail"}
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
        "python:clients_of_this_test:Leaky: 2 of 3 scenarios pass; fail: TOK-19; 1 skipped (openbao"
    )


def test_text_of_the_failure(mixed: Run) -> None:
    """What was promised, what was seen, and the command that runs this scenario again."""
    failure = next(
        case for case in mixed.junit.iter("testcase") if case.find("failure") is not None
    )
    text = "".join(failure.itertext())
    assert "TOK-19  fail: A client that is ended cleanly revokes its token" in text
    assert "1 tokens alive five seconds after the end (promised: at most 0 " in text
    assert text.strip() in mixed.out.replace("\r", "")
    seed = mixed.scenarios["TOK-19"]["seed"]
    words = shlex.split(text.partition("run it again: ")[2].splitlines()[0])
    assert words[1:] == [
        "scenarios",
        "--only",
        "TOK-19",
        "--subject",
        "python:clients_of_this_test:Leaky",
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
    assert [r["value"] for r in mixed.scenarios["KV-01"]["rotations"]] == ["v1", "v2"]
    finding = mixed.scenarios["TOK-19"]["findings"][0]
    assert finding["seen"] == "1 tokens alive five seconds after the end"


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
    """Neither by the terminal nor by the journal nor by the JUnit file."""
    assert len(mixed.seen) >= 6, "secret-ids, tokens and values of several scenarios"
    for name in ("journal.json", "junit.xml"):
        text = (mixed.report / name).read_text()
        assert [secret for secret in mixed.seen if secret in text] == []
    assert [secret for secret in mixed.seen if secret in mixed.out] == []


def test_nothing_but_the_report_is_left(mixed: Run) -> None:
    """No part of a journal, no file that is half written."""
    assert sorted(path.name for path in mixed.report.iterdir()) == ["journal.json", "junit.xml"]


# Other clients


@pytest.mark.slow  # a run of its own
@pytest.mark.parametrize("workers", ["0", "1", "4"])
def test_any_number_of_workers(suite: Suite, mixed: Run, workers: str) -> None:
    """The verdicts are the same."""
    run = suite.run("Leaky", "--vault-only", "TOK-19,KV-01,KV-02,KV-03", "-n", workers)
    assert run.words == mixed.words
    assert run.code == mixed.code


@pytest.mark.slow  # a run of its own
def test_good_client(suite: Suite) -> None:
    """All pass, and so does the run; the seed that was given is the one that was used."""
    run = suite.run("Good", "--vault-only", "TOK-19,TOK-11,KV-03", "--vault-seed", "4711")
    assert set(run.words.values()) == {"pass"}
    assert run.code == 0
    assert {scenario["seed"] for scenario in run.scenarios.values()} == {4711}
    (evidence,) = run.scenarios["TOK-11"]["evidence"]
    assert re.match(r"token revoked: read answered 403 at \+\d", evidence)


@pytest.mark.slow  # a run of its own
def test_fault_that_never_touched_the_client(suite: Suite) -> None:
    """No pass, and the run fails; unless that is allowed, and then it is no pass either."""
    run = suite.run("Memory", "--vault-only", "TOK-11")
    assert (run.words, run.code) == ({"TOK-11": "not exercised"}, 1)
    assert "token revoked (from +" in run.out
    assert "never touched the subject's traffic" in run.out
    allowed = suite.run("Memory", "--vault-only", "TOK-11", "--vault-allow-not-exercised")
    assert (allowed.words, allowed.code) == ({"TOK-11": "not exercised"}, 0)
    assert "0 of 1 scenarios pass; not exercised: TOK-11" in allowed.out


@pytest.mark.slow  # a run of its own
def test_client_that_cannot_start(suite: Suite) -> None:
    """Nothing could be tested, and what the client said of it is told."""
    run = suite.run("Unready", "--vault-only", "TOK-19")
    assert (run.words, run.code) == ({"TOK-19": "not exercised"}, 1)
    assert "the subject does not start: " in run.out
    assert "there is no configuration file" in run.out


@pytest.mark.slow  # a run of its own
def test_client_that_tells_its_token(suite: Suite) -> None:
    """The leak is found, and not repeated by the one who found it."""
    run = suite.run("Babbling", "--vault-only", "KV-03")
    assert (run.words, run.code) == ({"KV-03": "fail"}, 1)
    assert "[contains token-1]" in run.out
    texts = [run.out, *((run.report / name).read_text() for name in ("journal.json", "junit.xml"))]
    assert [secret for secret in run.seen for text in texts if secret in text] == []


@pytest.mark.slow  # a run of its own
def test_client_that_takes_the_worker_along(suite: Suite) -> None:
    """Other scenarios go on, and the run says what is missing from the table."""
    run = suite.run("Deadly", "--vault-only", "TOK-19,KV-03", "-n", "2")
    assert run.code == 1
    summary = run.journal["summary"]
    assert "0 of 0 scenarios pass; the harness broke down in scenarios/" in summary


@pytest.mark.slow  # a run of its own
def test_journal_of_the_last_run_only(suite: Suite) -> None:
    """Parts that a killed run left behind are not of this one."""
    parts = suite.directory / "report" / "parts"
    parts.mkdir(parents=True)
    (parts / "SEA-01.json").write_text('{"id": "SEA-01", "word": "fail"}')
    run = suite.run("Good", "--vault-only", "TOK-19")
    assert run.words == {"TOK-19": "pass"}
