from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tomllib

import pytest

from tests.engine.scenario.conftest import ROOT, Suite
from tests.running import ran
from vault_harness.judge.report.score import load_score
from vault_harness.local.engine.ports import PortLease

pytestmark = pytest.mark.slow  # a run each

KV = ("--vault-only", "KV-03", "-n", "0")


def known(suite: Suite, text: str) -> tuple[str, str]:
    file = suite.directory / "known.toml"
    file.write_text(text)
    return "--vault-known", str(file)


def test_known_failure_that_passes(suite: Suite) -> None:
    run = suite.run("Good", *KV, *known(suite, '[known-failing]\nKV-03 = "issue 7"'))
    assert (run.words, run.code) == ({"KV-03": "pass"}, 1)
    assert "KV-03 is known to fail, and passes" in run.out
    assert "issue 7" in run.out


def test_the_run_that_writes_known_failures_succeeds(suite: Suite) -> None:
    """So does the next run.

    Both run the known failures and report them, without failing the run or the JUnit file.
    """
    file = suite.directory / "known.toml"
    for options in (("--vault-write-known",), ()):
        run = suite.run("Blurred", *KV, "--vault-known", str(file), *options)
        assert (run.words, run.code) == ({"KV-03": "fail"}, 0)
        assert next(run.junit.iter("testsuite")).get("failures") == "0"
        assert "1 fail (KV-03; 1 as known)" in run.out
    assert "a deleted secret is reported as deleted" in file.read_text()
    reason = tomllib.loads(file.read_text())["known-failing"]["KV-03"]
    assert run.scenarios["KV-03"]["known"] == {"kind": "failing", "reason": reason}
    assert "fail as known: KV-03" in run.journal["summary"]
    assert run.journal["complete"]


def test_a_known_failure_that_is_no_longer_asked_is_named(suite: Suite) -> None:
    option, file = known(suite, '[known-failing]\nKV-04 = "issue 7"')
    run = suite.run("Good", "--vault-only", "KV-03,KV-04", "-n", "0", option, file)
    assert (run.words, run.code) == ({"KV-03": "pass", "KV-04": "skipped"}, 0)
    why = "skipped: the subject does not claim: update"
    said = f"KV-04 is known to fail, and is no longer asked: {why} ({file}:2)"
    assert said in run.out


def test_a_run_with_a_closed_output_keeps_its_exit_code(suite: Suite) -> None:
    """As in ``| head``."""
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = subprocess.run(
            suite.command("Blurred", "--vault-only", "KV-03,TOK-19", "--vault-workers", "2"),
            cwd=ROOT,
            env=suite.environ(),
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads((suite.directory / "report" / "journal.json").read_text())["complete"]


def test_external_vault_that_does_not_answer(suite: Suite) -> None:
    nobody = PortLease()
    address = f"http://{nobody.listen}"
    vault = {"HARNESS_ENGINE": "external", "VAULT_ADDR": address, "VAULT_TOKEN": "hvs.operator"}
    with contextlib.ExitStack() as closing:
        closing.callback(nobody.release)
        done = ran(suite.command("Good"), cwd=ROOT, env=suite.environ() | vault)
    said = done.stdout + done.stderr
    assert done.returncode == 4, said
    assert said.count("the external Vault did not answer within") == 1
    assert (said.count(address), "check VAULT_ADDR" in said) == (1, True)
    assert ("Traceback" in said, "hvs.operator" in said) == (False, False)
    assert not (suite.directory / "report" / "journal.json").exists()


def of_its_own(suite: Suite, text: str) -> subprocess.CompletedProcess[str]:
    """Run these scenarios in place of the suite's, with its catalogue."""
    folder = suite.directory / "its-own"
    folder.mkdir()
    for name in ("conftest.py", "catalogue.toml"):
        (folder / name).write_text((ROOT / "scenarios" / name).read_text())
    (folder / "test_x.py").write_text(text)
    words = suite.command("Good", "-n", "0")
    words[words.index("scenarios")] = str(folder)
    words += ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
    return subprocess.run(
        words, cwd=suite.directory, env=suite.environ(), capture_output=True, text=True, check=False
    )


def test_scenarios_that_cannot_be_read(suite: Suite) -> None:
    """That is no verdict, though pytest calls it interrupted."""
    done = of_its_own(suite, "import nothing_of_that_name\n")
    assert done.returncode == 3, done.stdout + done.stderr
    assert not (suite.directory / "report" / "score.json").exists()


BREAKS_DOWN = """
import pytest
from vault_harness.judge.oracles import same_token

@pytest.mark.scenario("TOK-01")
def test_it_breaks_down(lab):
    raise RuntimeError("of the harness, and not of the client")

@pytest.mark.scenario("POL-01")
def test_it_reads(lab):
    lab.start()
    lab.require("it was asked", lambda history: bool(history.operations))
    lab.judge(same_token(since=lab.steady_since))
"""


def test_a_scenario_in_which_the_harness_breaks_down(suite: Suite) -> None:
    """The others are judged and scored; the exit code is not that of a pass."""
    done = of_its_own(suite, BREAKS_DOWN)
    assert done.returncode == 3, done.stdout + done.stderr
    report = suite.directory / "report"
    words = {
        one["id"]: one["word"]
        for one in json.loads((report / "journal.json").read_text())["scenarios"]
    }
    assert words == {"POL-01": "pass", "TOK-01": "error"}
    score = load_score(report / "score.json")
    assert (score.complete, score.grade) == (True, None)
    assert "no verdict on TOK-01: the harness broke down" in score.why
    assert "no verdict on TOK-01: the harness broke down" in done.stdout
