from __future__ import annotations

import re

import pytest

from tests.engine.scenario.conftest import LIFE, Suite, life_of_its_token

pytestmark = pytest.mark.slow  # a run each


@pytest.mark.parametrize("workers", [["-n", "3"], ["--vault-workers", "1"]], ids=" ".join)
def test_any_number_of_workers(suite: Suite, workers: list[str]) -> None:
    run = suite.run("Blurred", "--vault-only", "KV-01,KV-02,KV-03", *workers)
    assert run.words == {"KV-01": "pass", "KV-02": "skipped", "KV-03": "fail"}
    assert run.code == 1


def test_good_client(suite: Suite) -> None:
    run = suite.run("Good", "--vault-only", "TOK-19,TOK-11,KV-03", "--vault-seed", "4711")
    assert set(run.words.values()) == {"pass"}
    assert run.code == 0
    assert {scenario["seed"] for scenario in run.scenarios.values()} == {4711}
    bit, met, closing = run.scenarios["TOK-11"]["evidence"]
    assert closing.startswith("the closing act: ")
    assert re.match(r"token revoked: read answered 403 at \+\d", bit)
    assert met.startswith("a request that was refused for the lost token")


def test_client_that_cannot_start(suite: Suite) -> None:
    run = suite.run("Unready", "--vault-only", "TOK-19")
    assert (run.words, run.code) == ({"TOK-19": "not exercised"}, 2)
    assert "the subject does not start: " in run.out
    assert "there is no configuration file" in run.out
    allowed = suite.run("Unready", "--vault-only", "TOK-19", "--vault-allow-not-exercised")
    assert (allowed.words, allowed.code) == ({"TOK-19": "not exercised"}, 0)
    assert "0 of 1 scenarios pass; 1 not exercised (TOK-19)" in allowed.out


def test_a_leak_fails_the_run_once(suite: Suite) -> None:
    run = suite.run("Babbling", "--vault-only", "KV-03,PRC-04")
    assert (run.words, run.code) == ({"KV-03": "pass", "PRC-04": "fail"}, 1)
    assert "[contains token-1]" in (run.report / "causes.txt").read_text()
    assert "secrets came out in KV-03" in run.journal["summary"]
    texts = [run.out, *(path.read_text() for path in run.report.iterdir())]
    assert [secret for secret in run.seen for text in texts if secret in text] == []


def test_leak_fails_a_run_without_its_row(suite: Suite) -> None:
    run = suite.run("Babbling", "--vault-only", "KV-03")
    assert (run.words, run.code) == ({"KV-03": "pass"}, 1)
    assert "exit code 1: a secret came out in 1 scenario" in run.out
    told = {case.get("name"): case.find("failure") for case in run.junit.iter("testcase")}
    failed = [name for name, failure in told.items() if failure is not None]
    assert failed == ["no secret comes out"]


def test_client_that_says_that_it_keeps_its_token(suite: Suite) -> None:
    run = suite.run("Admitting", "--vault-only", "TOK-19,KV-03")
    assert (run.words, run.code) == ({"KV-03": "pass", "TOK-19": "skipped"}, 0)
    why = run.scenarios["TOK-19"]["why"]
    assert why == "it leaves its token behind when it ends, as it says"


def test_should_that_is_not_kept(suite: Suite) -> None:
    run = suite.run("Leaky", "--vault-only", "TOK-19")
    assert (run.words, run.code) == ({"TOK-19": "fail"}, 0), run.out
    assert "0 of 1 scenarios pass; fail: TOK-19 (SHOULD)" in run.journal["summary"]
    assert "TOK-19  fail: A client that shuts down cleanly revokes its token" in run.out
    strict = suite.run("Leaky", "--vault-only", "TOK-19", "--vault-strict")
    assert (strict.words, strict.code) == ({"TOK-19": "fail"}, 1), strict.out


def test_verdict_that_does_not_repeat(suite: Suite) -> None:
    """It is flaky with its rate, and fails the run."""
    run = suite.run("Moody", "--vault-only", "KV-03,TOK-19", "--vault-repeat", "2")
    assert (run.words, run.code) == ({"KV-03": "flaky", "TOK-19": "pass"}, 1)
    scenario = run.scenarios["KV-03"]
    assert scenario["rate"] == "1 of 2"
    # A failure that no quiet run confirms is flaky itself.
    assert {one["word"] for one in scenario["runs"]} == {"pass", "flaky"}
    assert "1 of 2 scenarios pass; flaky: KV-03" in run.journal["summary"]
    assert re.search(r"^KV-03 +flaky 1 of 2 ", run.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("client", "options", "ttl"),
    [
        ("Good", ["--vault-ttl-scale", "3"], 3 * LIFE),
        ("Slow", [], 60.0),  # as it declares
    ],
)
def test_longer_lives(suite: Suite, client: str, options: list[str], ttl: float) -> None:
    run = suite.run(client, "--vault-only", "TOK-19", *options)
    assert (run.scenarios["TOK-19"]["word"], life_of_its_token(run)) == ("pass", ttl)


def test_client_that_takes_the_worker_along(suite: Suite) -> None:
    run = suite.run("Deadly", "--vault-only", "TOK-19,KV-03", "--vault-workers", "2")
    assert (run.code, run.journal["complete"]) == (3, False)
    summary = run.journal["summary"]
    assert "0 of 0 scenarios pass; the harness broke down in scenarios/" in summary
    assert "incomplete: KV-03, TOK-19 did not come to an end" in summary


def test_threads_of_a_clients_module(suite: Suite) -> None:
    """Threads that a client starts at its import exist in every process that runs it."""
    run = suite.run("Beating", "--vault-only", "TOK-19,KV-03", "--vault-workers", "2")
    assert (run.words, run.code) == ({"KV-03": "pass", "TOK-19": "pass"}, 0)


def test_first_failure_ends_the_run(suite: Suite) -> None:
    """With -x a scenario beside the failure is stopped and not in the journal."""
    # Other failures are confirmed first, after NET-03.
    run = suite.run("Garbled", "--vault-only", "KV-03,NET-03", "--vault-workers", "2", "-x")
    assert (run.words, run.code) == ({"KV-03": "fail"}, 1)
    assert "stopping after 1 failures" in run.out
