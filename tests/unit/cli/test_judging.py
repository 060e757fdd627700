from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Program
from vault_harness.cli.judge import ADAPTERS
from vault_harness.judge.catalogue import CATALOGUE, load
from vault_harness.settings import scenarios_folder


def leave(folder: Path, verdicts: dict[str, str], **more: object) -> None:
    """Write the journal of a run."""
    one = {"promise": "", "severity": "high", "seconds": 1.0, "findings": []}
    scenarios = [{"id": id, "word": word, **one} for id, word in verdicts.items()]  # noqa: A001
    head = {"schema_version": 2, "suite_version": "0.4.0", "summary": "", "engine": "process"}
    ids = load(scenarios_folder() / CATALOGUE)
    left_out = {id: "low" for id in ids if id not in verdicts}  # noqa: A001
    journal = {
        **head,
        "subject": "reference",
        "left_out": left_out,
        "complete": True,
        "scenarios": scenarios,
        **more,
    }
    (folder / "report").mkdir()
    (folder / "report" / "journal.json").write_text(json.dumps(journal))


def only(words: tuple[str, ...]) -> list[str]:
    """Return the scenarios that these words for pytest choose."""
    return [words[at + 1] for at, word in enumerate(words) if word == "--vault-only"]


def test_everything_but_passes_and_skips_runs_again(program: Program, tmp_path: Path) -> None:
    words = ["pass", "skipped", "fail", "flaky", "not exercised", "error"]
    leave(tmp_path, {f"TOK-{11 + n}": word for n, word in enumerate(words)})
    ended = program("judge", "--subject", "reference", "--last-failed")
    assert only(ended.became) == ["TOK-13", "TOK-14", "TOK-15", "TOK-16"]
    assert "4 scenarios did not pass last time: TOK-13, TOK-14, TOK-15, TOK-16" in ended.err


def test_a_run_that_was_interrupted(program: Program, tmp_path: Path) -> None:
    """Scenarios that it did not reach run again."""
    leave(tmp_path, {"TOK-11": "pass", "TOK-12": "fail", "TOK-13": "pass"})
    file = tmp_path / "report" / "journal.json"
    journal = json.loads(file.read_text())
    del journal["scenarios"][1:]
    file.write_text(json.dumps({**journal, "complete": False}))
    assert only(program("scenarios", "--last-failed").became) == ["TOK-12", "TOK-13"]


def test_nothing_to_choose_from(program: Program, tmp_path: Path) -> None:
    """Everything runs."""
    ended = program("scenarios", "--last-failed")
    assert (only(ended.became), "has no run of this client" in ended.err) == ([], True)
    leave(tmp_path, {"TOK-11": "pass"})
    ended = program("scenarios", "--last-failed")
    assert (only(ended.became), "last run passed" in ended.err) == ([], True)
    ended = program("scenarios", "--subject", "http://127.0.0.1:1", "--last-failed")
    assert (only(ended.became), "has no run of this client" in ended.err) == ([], True)


def test_a_choice_is_made_once(program: Program) -> None:
    ended = program("scenarios", "--only", "TOK", "--last-failed")
    assert (ended.code, ended.became) == (4, ())
    assert "--only and --last-failed both choose scenarios" in ended.err


@pytest.mark.parametrize("language", ADAPTERS)
def test_the_last_line_is_the_next_command(language: str, program: Program, tmp_path: Path) -> None:
    ended = program("subject", "new", language)
    assert (ended.code, ended.err) == (0, "")
    assert (tmp_path / ADAPTERS[language][0]).is_file()
    assert ended.out.splitlines()[-1].startswith("next: ./dev subject.check ")


def test_a_file_that_is_there(program: Program, tmp_path: Path) -> None:
    mine = tmp_path / "vault_adapter.py"
    mine.write_text("mine")
    ended = program("subject.new", "python")
    assert (ended.code, mine.read_text()) == (4, "mine")
    assert "vault_adapter.py is here already" in ended.err


def test_another_language(program: Program, tmp_path: Path) -> None:
    ended = program("subject", "new", "cobol")
    assert (ended.code, list(tmp_path.iterdir())) == (4, [])
    assert "name one of python, go, node, java" in ended.err


def test_a_check_for_which_there_is_no_server(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check is skipped, and the run reports what is missing."""
    monkeypatch.setenv("HARNESS_VAULT_BINARY", "/nowhere")
    assert program("judge", "--subject", "command:true").became
