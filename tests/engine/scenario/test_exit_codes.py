"""How runs end: what CI sees of a promise that is broken, known to be, or was never asked."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.engine.scenario.conftest import ROOT, Suite
from vault_harness.engine import PortLease
from vault_harness.waiting import wait_until

pytestmark = pytest.mark.slow  # a run each

KV = ("--vault-only", "KV-03", "-n", "0")


def known(suite: Suite, text: str) -> tuple[str, str]:
    """The option that names a file with this text."""
    file = suite.directory / "known.toml"
    file.write_text(text)
    return "--vault-known", str(file)


def test_known_failure(suite: Suite) -> None:
    """It is run, told, and fails neither the run nor the JUnit file."""
    run = suite.run("Blurred", *KV, *known(suite, '[known-failing]\nKV-03 = "issue 7"'))
    assert (run.words, run.code) == ({"KV-03": "fail"}, 0)
    assert run.scenarios["KV-03"]["known"] == {"kind": "failing", "reason": "issue 7"}
    assert "fail as known: KV-03" in run.journal["summary"]
    assert next(run.junit.iter("testsuite")).get("failures") == "0"
    assert run.journal["complete"]


def test_known_failure_that_passes(suite: Suite) -> None:
    """Its line must go, so the run fails, and says so."""
    run = suite.run("Good", *KV, *known(suite, '[known-failing]\nKV-03 = "issue 7"'))
    assert (run.words, run.code) == ({"KV-03": "pass"}, 1)
    assert "KV-03 is known to fail, and passes" in run.out
    assert "issue 7" in run.out


def test_writing_what_is_known(suite: Suite) -> None:
    """The run that writes the file is good, and so is the next."""
    file = suite.directory / "known.toml"
    for options in (("--vault-write-known",), ()):
        run = suite.run("Blurred", *KV, "--vault-known", str(file), *options)
        assert (run.words, run.code) == ({"KV-03": "fail"}, 0)
    assert "a deleted secret is reported as deleted" in file.read_text()


def test_known_failure_of_no_scenario(suite: Suite) -> None:
    """Refused before anything begins: it would never be noticed."""
    run = suite.run("Good", *KV, *known(suite, '[known-failing]\nNOPE-01 = "issue 7"'))
    assert run.code == 4
    assert "NOPE-01 is known to fail, and is no scenario" in run.out


@pytest.mark.parametrize(
    "workers", [["-n", "0"], ["-n", "2"], ["--vault-workers", "2"]], ids=" ".join
)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_run_that_is_ended(suite: Suite, workers: list[str], number: int, code: int) -> None:
    """By Ctrl-C, SIGTERM or without a goodbye: what it leaves is no pass, nor was there before."""
    report = suite.directory / "report"
    report.mkdir()
    for name in ("journal.json", "index.html", "junit.xml", "score.json"):
        (report / name).write_text(
            '{"schema_version": 1, "suite_version": "1", "complete": true, "scenarios": []}'
        )
    words = suite.command("Good", "--vault-only", "NET-03,SRV-04,KV-01", *workers)
    # Who runs these tests in the background of a script has Ctrl-C ignored, and so would the child.
    words = ["env", "--default-signal=INT", *words]
    child = subprocess.Popen(
        words, cwd=ROOT, env=suite.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with child, contextlib.ExitStack() as closing:
        closing.callback(child.kill)
        wait_until(lambda: any(report.glob("parts-*/turns")), "a scenario to begin", timeout=120)
        child.send_signal(number)
        assert child.stdout is not None
        said = child.stdout.read().decode()
        assert child.wait(60) == code, said
    if number != signal.SIGKILL:
        assert "KeyboardInterrupt" not in said
        assert list(report.glob("parts-*")) == []
        assert re.fullmatch(
            r"interrupted: \d of 3 scenarios have a verdict(, \d were under way \(.*\))?"
            r"(, \d had not begun)?; this is no pass, whatever stands above",
            said.strip().splitlines()[-1],
        )
    journal = json.loads((report / "journal.json").read_text())
    assert not journal["complete"]
    assert "NET-03" in str(journal.get("planned", journal["summary"]))
    left = [name for name in ("score.json", "badge.json") if Path(report / name).exists()]
    assert left == []


def test_external_vault_that_does_not_answer(suite: Suite) -> None:
    """It is told once, before anything begins: the address, and what to do."""
    nobody = PortLease()
    address = f"http://{nobody.listen}"
    vault = {"HARNESS_ENGINE": "external", "VAULT_ADDR": address, "VAULT_TOKEN": "hvs.operator"}
    with contextlib.ExitStack() as closing:
        closing.callback(nobody.release)
        done = subprocess.run(
            suite.command("Good"),
            cwd=ROOT,
            env=suite.environ() | vault,
            capture_output=True,
            text=True,
            check=False,
        )
    said = done.stdout + done.stderr
    assert done.returncode == 4, said
    assert said.count("the external Vault did not answer within") == 1
    assert (said.count(address), "check VAULT_ADDR" in said) == (1, True)
    assert ("Traceback" in said, "hvs.operator" in said) == (False, False)
    assert not (suite.directory / "report" / "journal.json").exists()


def test_scenarios_that_cannot_be_read(suite: Suite) -> None:
    """No verdict, though pytest calls it an interruption."""
    folder = suite.directory / "broken"
    folder.mkdir()
    for name in ("conftest.py", "catalogue.toml"):
        (folder / name).write_text((ROOT / "scenarios" / name).read_text())
    (folder / "test_x.py").write_text("import nothing_of_that_name\n")
    words = suite.command("Good", "-n", "0")
    words[words.index("scenarios")] = str(folder)
    words += ["--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        words, cwd=suite.directory, env=suite.environ(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stdout + done.stderr
