"""`clients` judges a client, and publishes its score."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context

from vault_harness.cli import clients as clients_module
from vault_harness.judge import clients
from vault_harness.settings import checkout

Runs = Callable[[dict[str, Any]], None]


def journal(engine: str, word: str) -> dict[str, Any]:
    one: dict[str, Any] = {"id": "TOK-11", "word": word, "severity": "critical", "findings": []}
    one |= {"promise": "One login", "seconds": 1.0}
    head = {"schema_version": 2, "suite_version": "0.1.0", "summary": ""}
    run = {"subject": "command:x", "engine": engine, "complete": True, "scenarios": [one]}
    return head | run


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    """Let the run of the suite write this journal."""

    def give(journal: dict[str, Any]) -> None:
        def run(words: list[str], *, env: object) -> int:
            report = Path(words[words.index("--vault-report") + 1])
            report.mkdir(parents=True, exist_ok=True)
            (report / "journal.json").write_text(json.dumps(journal))
            return 1

        monkeypatch.setattr(clients_module, "run_child", run)

    monkeypatch.setattr(clients, "install", lambda _client: tmp_path)
    return give


@pytest.mark.parametrize(
    ("word", "write", "said"),
    [
        ("error", True, "1 scenario ended with an error of the harness"),
        ("not exercised", True, "no scenario was exercised"),
        ("not exercised", False, "no scenario was exercised"),
    ],
)
def test_nothing_is_written_of_a_run_that_broke_down(
    word: str,
    write: bool,
    said: str,
    runs: Runs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nor of a client that does not start."""
    monkeypatch.setattr(clients_module, "_publish", lambda *_: pytest.fail("it is published"))
    runs(journal("process", word))

    with pytest.raises(SystemExit) as ended:
        clients_module.clients(Context(), name="hvac", write=write, report=str(tmp_path / "report"))

    assert ended.value.code == 3
    told = capsys.readouterr().err
    assert said in told
    assert ("TOK-11" in told) is (word == "error")


def test_pages_alone_are_written_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[Path, str] = {}
    monkeypatch.setattr(clients_module, "write_text", written.__setitem__)
    monkeypatch.setattr(clients_module, "_judged", lambda *_: pytest.fail("it is judged"))

    clients_module.clients(Context(), write=True)

    folder = (checkout() or Path()) / clients.PAGES
    assert written == {page: page.read_text("utf-8") for page in folder.glob("*.md")}
