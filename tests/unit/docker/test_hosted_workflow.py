"""The hosted workflow as text; only a hosted runner can run it."""

import contextlib
import io
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

from vault_harness.settings import DEFAULT_TOXIPROXY_IMAGE, DEFAULT_VAULT_IMAGE

ROOT = Path(__file__).parents[3]
WORKFLOW = (ROOT / ".github" / "workflows" / "scenarios.yml").read_text()
JOBS = dict(
    re.findall(r"^  (\w+):\n((?:    .*\n|\n)+)", WORKFLOW.split("jobs:\n")[1], re.MULTILINE)
)


SUMMARY = ROOT / ".github" / "summary.py"


def summary_of(journal: Path) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(str(SUMMARY))["main"](journal)
    return printed.getvalue()


def test_a_bar_in_a_text_does_not_break_the_table(tmp_path: Path) -> None:
    scenario = {"id": "X-1", "word": "fail", "seconds": 1.0, "promise": "a|b", "why": "c\nd | e"}
    (tmp_path / "j.json").write_text(json.dumps({"summary": "1 fail", "scenarios": [scenario]}))
    row = summary_of(tmp_path / "j.json").splitlines()[-1]
    assert row == r"| X-1 | fail | 1.0 | a\|b<br>c<br>d \| e |"


def test_what_a_client_said_is_no_markup_of_the_page(tmp_path: Path) -> None:
    """Markup could hide the rows below."""
    why = "denied: <!DOCTYPE html><!-- \x1b[31m `x` [a](b)"
    scenario = {"id": "X-1", "word": "fail", "seconds": 1.0, "promise": "p", "why": why}
    summary = "command:./x <details>: 1 fail"
    (tmp_path / "j.json").write_text(json.dumps({"summary": summary, "scenarios": [scenario]}))
    text = summary_of(tmp_path / "j.json")
    assert "<" not in text.replace("<br>", "")
    assert r"p<br>denied: &lt;!DOCTYPE html>&lt;!-- \x1b\[31m \`x\` \[a\](b)" in text


def test_what_failed_comes_first(tmp_path: Path) -> None:
    """Each failure says if it fails no run."""
    known = {"known": {"kind": "failing", "reason": "issue 7"}}
    words: dict[str, dict[str, Any]] = {
        "A-01": {"word": "pass"},
        "B-01": {"word": "skipped", "why": "the subject does not claim: lease"},
        "C-01": {"word": "fail", **known},
        "D-01": {"word": "fail", "forgiven": True},
        "E-01": {"word": "pass", **known},
        "F-01": {"word": "not exercised"},
        "G-01": {"word": "fail"},
        "H-01": {"word": "error"},
        "I-01": {"word": "fail", **known, "findings": [{"promise": "x", "harm": True}]},
    }
    scenarios = [{"id": id, "seconds": 1.0, "promise": "p", **one} for id, one in words.items()]  # noqa: A001
    journal = {"summary": "", "scenarios": scenarios, "complete": True}
    (tmp_path / "j.json").write_text(json.dumps(journal))
    rows = re.findall(r"^\| (\S+) \| (.*?) \|", summary_of(tmp_path / "j.json"), re.MULTILINE)
    assert rows[2:] == [
        ("G-01", "fail"),
        ("I-01", "fail"),
        ("H-01", "error"),
        ("F-01", "not exercised"),
        ("E-01", "pass (fixed)"),
        ("C-01", "fail (known)"),
        ("D-01", "fail (SHOULD)"),
        ("B-01", "skipped"),
        ("A-01", "pass"),
    ]


def test_the_grade_comes_before_the_table(tmp_path: Path) -> None:
    """An incomplete run says that it has no grade."""
    scenario = {"id": "X-1", "word": "pass", "seconds": 1.0, "promise": "p"}
    for complete in (True, False):
        journal = {"summary": "1 of 1", "scenarios": [scenario], "complete": complete}
        (tmp_path / "journal.json").write_text(json.dumps(journal))
        score = {
            "grade": "B",
            "why": ["high, and broken: X-2"],
            "client": {"capabilities": ["read"]},
        }
        (tmp_path / "score.json").write_text(json.dumps(score))
        text = summary_of(tmp_path / "journal.json")
        assert ("grade B (claims read); high, and broken: X-2\n" in text) == complete
        assert ("**This run did not come to its end, and is no pass.**" in text) != complete
        assert "\n\n| id | verdict |" in text


def test_a_page_of_a_job_has_a_megabyte(tmp_path: Path) -> None:
    """Long messages are shortened."""
    why = "é" * 50_000
    scenarios = [
        {"id": f"X-{n:03}", "word": "fail", "seconds": 1.0, "promise": "p", "why": why}
        for n in range(126)
    ]
    (tmp_path / "j.json").write_text(json.dumps({"summary": why, "scenarios": scenarios}))
    text = summary_of(tmp_path / "j.json")
    assert len(text.encode()) < 1_000_000
    assert text.count("... all of it is in the journal") == 127
    assert "X-125" in text


def test_without_a_journal_the_step_fails(tmp_path: Path) -> None:
    command = [sys.executable, str(SUMMARY), str(tmp_path / "nothing")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (1, "no journal: the scenarios did not begin\n")


def test_verdicts_are_compared_when_a_leg_fails() -> None:
    assert "if: ${{ !cancelled() }}" in JOBS["verdicts"]


def test_lint_and_tests_run_too() -> None:
    assert "./dev lint" in JOBS["lint"]
    assert "tests" in matrix_of_steps()


def matrix_of_steps() -> set[str]:
    """Return the steps of `.ci/run` that run side by side."""
    found = re.search(r"step: \[(.*)\]", JOBS["steps"])
    assert found is not None
    return set(found[1].split(", "))


def test_each_step_exists() -> None:
    listed = subprocess.run(
        [ROOT / ".ci" / "run", "--list"], capture_output=True, text=True, check=True
    )
    assert matrix_of_steps() <= set(listed.stdout.split())


def test_each_leg_differs_in_one_thing() -> None:
    """It is compared with the containers leg."""
    legs = {}
    for text in JOBS["scenarios"].split("- leg: ")[1:]:
        name = text.split()[0]
        legs[name] = dict(re.findall(r"^ {12}(engine|vault|toxiproxy): (\S+)$", text, re.MULTILINE))
    base = legs.pop("containers")
    for name, leg in legs.items():
        # A leg may leave the product out: processes run the same programs.
        assert len(leg.items() - base.items()) == 1, name
    assert legs["hashicorp"]["vault"] == DEFAULT_VAULT_IMAGE
    assert legs["real-toxiproxy"]["toxiproxy"] == DEFAULT_TOXIPROXY_IMAGE
