from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.engine.scenario.conftest import CATALOGUE, Run
from vault_harness.judge.report.formats import Journal
from vault_harness.judge.report.score import load_score

pytestmark = pytest.mark.xdist_group("scenario runs")  # they share a run of seconds


def test_verdicts(mixed: Run) -> None:
    assert mixed.words == {"KV-01": "pass", "KV-02": "skipped", "KV-03": "fail", "TOK-19": "pass"}
    assert mixed.code == 1


def test_table_and_summary(mixed: Run) -> None:
    lines = mixed.out.splitlines()
    for id, word in mixed.words.items():  # noqa: A001 - it is one
        (line,) = [line for line in lines if re.match(rf"{id} +{word} +\d+\.\d s  ", line)]
        assert mixed.scenarios[id]["why" if word == "skipped" else "promise"] in line
    assert mixed.scenarios["KV-02"]["why"] == "the subject does not claim: cached"
    verdict = "2 of 3 scenarios pass; 1 fail (KV-03); 1 skipped"
    assert f"python:clients_of_this_test:Blurred: {verdict}" in lines
    assert mixed.journal["summary"].startswith(
        "python:clients_of_this_test:Blurred: 2 of 3 scenarios pass; "
        "fail: KV-03; 1 skipped (openbao"
    )


def test_text_of_the_failure(mixed: Run) -> None:
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
    """Each history is on one clock, from three witnesses, with the run's seed."""
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


def test_junit_of_a_run(mixed: Run) -> None:
    suite = next(mixed.junit.iter("testsuite"))
    counts = {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")}
    assert counts == {"tests": "4", "failures": "1", "skipped": "1", "errors": "0"}
    called = [str(case.get("name")).partition(" ") for case in suite.iter("testcase")]
    assert {name[0] for name in called} == set(mixed.words)
    assert all(name[2].startswith("test_") for name in called)


def test_no_secret_is_printed(mixed: Run) -> None:
    assert len(mixed.seen) >= 6, "secret-ids, tokens and values of several scenarios"
    files = [(mixed.report / name).read_text() for name in ("journal.json", "junit.xml")]
    for text in (*files, mixed.page, json.dumps(mixed.on_the_page)):
        assert [secret for secret in mixed.seen if secret in text] == []
    assert [secret for secret in mixed.seen if secret in mixed.out] == []


def test_nothing_but_the_report_is_left(mixed: Run) -> None:
    """No part of a journal, by this run or a killed one, and no half-written file."""
    names = {path.name for path in mixed.report.iterdir() if path.suffix != ".log"}
    assert names == {
        *("index.html", "journal.json", "junit.xml", "score.json", "badge.json"),
        *("causes.txt", "failures.txt"),
    }
    assert {path.stem for path in mixed.report.glob("*.log")} <= set(mixed.words)


def test_the_verdict_is_the_last_line(mixed: Run) -> None:
    assert re.search(r"\n=+ verdict =+\n", mixed.out)
    below = re.split(r"\n=+ verdict =+\n", mixed.out)[1]
    assert "1 fail (KV-03)" in below
    assert "::" not in below
    told = below.strip().splitlines()
    assert len(told) <= 25
    assert told[-1] == "exit code 1: 1 scenario failed and is not known to fail"


def test_page_of_a_run(mixed: Run) -> None:
    for name, scenario in mixed.scenarios.items():
        (shown,) = mixed.on_the_page[name]
        assert shown["word"] == scenario["word"]
        assert len(shown["exchanges"]) == len(scenario.get("exchanges", ()))
        assert shown["again"] == scenario["again"]
    (failed,) = mixed.on_the_page["KV-03"]
    assert f"run it again: {failed['again']}\n" in mixed.out
    assert failed["log"] or not mixed.scenarios["KV-03"]["log"]


def test_score_of_a_run(mixed: Run) -> None:
    """A part of the suite has no grade."""
    Journal.model_validate(mixed.journal)
    score = load_score(mixed.report / "score.json")
    assert {id: one.verdict for id, one in score.scenarios.items()} == mixed.words  # noqa: A001
    assert score.grade is None
    left_out = f"{len(CATALOGUE.keys() - mixed.words.keys())} scenarios left out of this run"
    assert score.why[0] == left_out
    claims = ["herd", "namespace", "outcomes", "read", "read_all", "tls"]
    assert score.client.capabilities == claims
    assert f"no grade: {left_out}" in mixed.out
    assert json.loads((mixed.report / "badge.json").read_text())["message"] == "no grade"
