from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import pytest

from vault_harness.judge.catalogue import Entry, load
from vault_harness.judge.report.compare import main
from vault_harness.local.engine.shape import CAPABILITIES
from vault_harness.settings import checkout, scenarios_folder


def journal(path: Path, words: dict[str, str]) -> str:
    one = {"promise": "p", "severity": "high", "seconds": 1.0}
    scenarios = [{"id": id, "word": word, **one} for id, word in words.items()]  # noqa: A001
    head = {"schema_version": 2, "suite_version": "0.1.0", "complete": True, "summary": ""}
    head |= {"subject": "mine", "engine": path.stem}
    path.write_text(json.dumps({**head, "scenarios": scenarios}))
    return str(path)


@pytest.mark.parametrize(
    ("second", "options", "code", "told"),
    [
        ({"A-01": "pass", "A-02": "fail"}, [], 0, "2 scenarios judged by both, 0 verdicts differ"),
        (
            {"A-01": "fail", "A-02": "fail"},
            [],
            1,
            "by both, 1 verdicts differ: A-01",
        ),
        (
            {"A-01": "pass", "A-02": "skipped"},
            [],
            0,
            "1 scenarios judged by both, 0",
        ),
        ({"A-01": "pass", "A-02": "skipped"}, ["--whole"], 1, "1 judged by the first alone: A-02"),
        ({"A-01": "pass"}, ["--whole"], 1, "1 judged by the first alone: A-02"),
        ({"A-01": "pass", "A-02": "fail"}, ["--whole"], 0, "0 judged by the first alone"),
        ({"B-01": "pass"}, [], 1, "0 scenarios judged by both"),
    ],
)
def test_exit_code_of_a_comparison(
    second: dict[str, str],
    options: list[str],
    code: int,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With ``--whole`` a missing verdict fails too."""
    first = journal(tmp_path / "process.json", {"A-01": "pass", "A-02": "fail"})
    assert main([first, journal(tmp_path / "docker.json", second), *options]) == code
    assert told in capsys.readouterr().out


def table(entries: Collection[Entry]) -> str:
    """Return what each engine skips, in Markdown."""
    needed = frozenset[str]().union(*(entry.engine_needs for entry in entries))
    rows = ["| engine | cannot | skips |", "| --- | --- | --- |"]
    for engine, able in CAPABILITIES.items():
        lacking = needed - {str(one) for one in able}
        skipped = sorted(entry.id for entry in entries if entry.engine_needs & lacking)
        cannot = ", ".join(sorted(lacking)) or "-"
        rows.append(f"| {engine} | {cannot} | {', '.join(skipped) or 'nothing'} |")
    return "\n".join(rows) + "\n"


def test_table_of_the_documentation() -> None:
    root = checkout()
    assert root is not None
    made = table(load(scenarios_folder() / "catalogue.toml").values())
    assert made in (root / "docs" / "explanation" / "engines.md").read_text()
