"""Files of a run that were cut off, merged by hand, or made by another suite."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import SettingsError
from vault_harness.judge.report import Line, Summary, collect_parts, load
from vault_harness.judge.report.score import load_score

ONE = {"id": "TOK-11", "promise": "p", "severity": "critical", "word": "pass", "seconds": 1.0}
JOURNAL = {
    "schema_version": 2,
    "suite_version": "0.1.0",
    "complete": True,
    "summary": "",
    "subject": "mine",
    "engine": "process",
    "scenarios": [ONE],
}
SCORE = {
    "schema_version": 2,
    "suite_version": "0.1.0",
    "complete": True,
    "client": {"subject": "mine"},
    "surroundings": {"server": "s", "engine": "process", "wire": "plain", "machine": "m"},
    "grade": "A",
    "why": [],
    "scenarios": {"TOK-11": {"verdict": "pass", "severity": "critical"}},
}

Read = Callable[[Path], Any]


def refused(read: Read, content: str | bytes, folder: Path) -> SettingsError:
    file = folder / "x.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError) as caught:
        read(file)
    assert caught.value.looked_at == str(file)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("read", [load, load_score])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it is not JSON"),
        (json.dumps(JOURNAL)[:100], "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        ("[]", "it holds a JSON array, not an object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"scenarios": [], "seconds": NaN}', "NaN is no number"),
        ('{"scenarios": [], "scenarios": []}', "'scenarios' stands twice"),
        ("{}", "it has no scenarios"),
        (json.dumps({**JOURNAL, "scenarios": [ONE, ONE]}), "it has TOK-11 more than once"),
        (json.dumps({**JOURNAL, "scenarios": [5]}), "scenarios.0: "),
        (json.dumps({**JOURNAL, "scenarios": [{**ONE, "word": "fine"}]}), "scenarios.0.word: "),
        (json.dumps({**JOURNAL, "scenarios": [{**ONE, "findings": [5]}]}), "findings.0: "),
        (json.dumps({**JOURNAL, "complete": "false"}), "complete: "),
        ('{"scenarios": [], "seconds": 1e999}', "1e999 is too large a number"),
    ],
)
def test_what_cannot_be_read(read: Read, content: str | bytes, said: str, tmp_path: Path) -> None:
    """The error has the first fault and no traceback."""
    assert said in refused(read, content, tmp_path).cause


@pytest.mark.parametrize(
    ("version", "said", "remedy"),
    [
        (3, "made by a newer suite, 0.1.0: it has schema_version 3", "update"),
        (1, "made by an older suite", "run the scenarios again"),
        (True, "made by an older suite", "run the scenarios again"),
        (None, "an older suite, 0.1.0: it has no schema_version", "run the scen"),
    ],
)
@pytest.mark.parametrize("made", [JOURNAL, SCORE])
def test_formats_of_other_suites(
    made: dict[str, Any], version: int | None, said: str, remedy: str, tmp_path: Path
) -> None:
    """Its verdicts may mean something else."""
    other = {name: value for name, value in made.items() if name != "schema_version"}
    if version is not None:
        other["schema_version"] = version
    error = refused(load_score, json.dumps(other), tmp_path)
    assert said in error.cause
    assert remedy in error.remedy


def test_a_score_with_a_wrong_field(tmp_path: Path) -> None:
    wrong = {**SCORE, "scenarios": {"TOK-11": {"verdict": "pass", "severity": "grave"}}}
    error = refused(load_score, json.dumps(wrong), tmp_path)
    assert "neither a score nor a journal: scenarios.TOK-11.severity: " in error.cause


def test_new_fields_are_welcome(tmp_path: Path) -> None:
    file = tmp_path / "journal.json"
    file.write_text(json.dumps({**JOURNAL, "mood": "good", "scenarios": [{**ONE, "mood": 1}]}))
    assert load(file)["mood"] == "good"
    assert load_score(file).grade == "A+"


def test_a_scenario_with_one_line_keeps_the_format(tmp_path: Path) -> None:
    line = Line("TOK-11", "p", "high", "fail", 1.0, "x", leaks=("+1 s: y",), broken=("p",))
    written = load(collect_parts(tmp_path, tmp_path / "parts-1", Summary("mine", [line])))
    (found,) = written["scenarios"]
    assert (found["word"], found["leaks"][0]["seen"]) == ("fail", "+1 s: y")
    assert load_score(tmp_path / "journal.json").grade == "F"
