"""What `clients` makes of the two runs of the suite by which a client is judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context

from vault_harness import clients, files
from vault_harness.cli import _clients
from vault_harness.settings import checkout

Runs = Callable[..., list[str]]


def journal(engine: str, word: str) -> dict[str, Any]:
    """A run of one scenario."""
    one: dict[str, Any] = {"id": "TOK-11", "word": word, "severity": "critical", "findings": []}
    one |= {"promise": "One login", "seconds": 1.0}
    head = {"schema_version": 2, "suite_version": "0.1.0", "summary": ""}
    run = {"subject": "command:x", "engine": engine, "complete": True, "scenarios": [one]}
    return head | run


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    """Lets the runs of the suite come to these journals; gives which engine each was told."""

    def give(*journals: dict[str, Any]) -> list[str]:
        left, told = list(journals), []

        def run(words: list[str], *, env: Mapping[str, str]) -> int:
            report = Path(words[words.index("--vault-report") + 1])
            report.mkdir(parents=True, exist_ok=True)
            (report / "journal.json").write_text(json.dumps(left.pop(0)))
            told.append(env.get("HARNESS_ENGINE", ""))
            return 1

        monkeypatch.setattr(_clients, "run_child", run)
        return told

    monkeypatch.setattr(clients, "install", lambda _client: tmp_path)
    monkeypatch.delenv("HARNESS_ENGINE", raising=False)
    return give


def test_nothing_is_written_of_a_run_that_broke_down(
    runs: Runs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A failure that was seen once and could not be asked again is neither broken nor flaky."""
    monkeypatch.setattr(_clients, "_publish", lambda *_: pytest.fail("it is published"))
    runs(journal("process", "fail"), journal("process", "error"))

    with pytest.raises(SystemExit) as ended:
        _clients.clients(Context(), name="hvac", write=True, report=str(tmp_path / "report"))

    assert ended.value.code == 3
    told = capsys.readouterr().err
    assert "1 scenario ended with an error of the harness" in told
    assert "TOK-11" in told


@pytest.mark.parametrize("write", [False, True])
def test_a_client_that_does_not_start_is_not_as_published(
    write: bool,
    runs: Runs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is known of it then, and nothing is written."""
    monkeypatch.setattr(_clients, "_publish", lambda *_: pytest.fail("it is published"))
    runs(journal("process", "not exercised"), journal("process", "not exercised"))

    with pytest.raises(SystemExit) as ended:
        _clients.clients(Context(), name="hvac", write=write, report=str(tmp_path / "report"))

    assert ended.value.code == 3
    assert "no scenario was exercised" in capsys.readouterr().err


def test_the_repetition_has_the_engine_of_the_first_run(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container engine that has come or gone meanwhile changes nothing."""
    published: list[Any] = []
    monkeypatch.setattr(_clients, "_publish", lambda *given: published.append(given))
    told = runs(journal("docker", "fail"), journal("docker", "fail"))

    _clients.clients(Context(), name="hvac", write=True, report=str(tmp_path / "report"))

    assert told == ["", "docker"]
    assert len(published) == 1


def test_pages_alone_are_written_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the scores and notes that there are, as after a change of a promise: nobody is judged."""
    written: dict[Path, str] = {}
    monkeypatch.setattr(files, "write_text", written.__setitem__)
    monkeypatch.setattr(_clients, "_judged", lambda *_: pytest.fail("it is judged"))

    _clients.clients(Context(), write=True)

    folder = (checkout() or Path()) / clients.PAGES
    assert written == {page: page.read_text("utf-8") for page in folder.glob("*.md")}
