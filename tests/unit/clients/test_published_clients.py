from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

import pytest

from vault_harness.errors import ClientNotMade, ProgramMissing, SettingsError
from vault_harness.judge.catalogue import CATALOGUE, load
from vault_harness.judge.clients import (
    PAGES,
    Client,
    broken_down,
    differences,
    find,
    install,
    known_clients,
    missing_tools,
    pages,
    proved_nothing,
    score_of_client,
)
from vault_harness.judge.clients.client import _cache
from vault_harness.judge.explore.points import Point
from vault_harness.judge.explore.schedule import Schedule, Step, to_toml
from vault_harness.judge.report.formats import Score, suite_version
from vault_harness.judge.report.score import score_of
from vault_harness.settings import scenarios_folder

ROOT = Path(__file__).parents[3]
SCORED = [client for client in known_clients().values() if client.score()]


def journal(**words: str) -> dict[str, object]:
    scenarios = [
        {"id": name.replace("_", "-"), "word": word, "severity": "critical", "findings": []}
        for name, word in words.items()
    ]
    return {"subject": "command:x", "complete": True, "scenarios": scenarios}


def client(folder: Path, **more: object) -> Client:
    """Return a client that builds a single file."""
    (folder / "main.txt").write_text("x")
    given: dict[str, object] = {
        "name": "c",
        "folder": folder,
        "title": "C",
        "language": "sh",
        "version": "1",
        "home": "https://example.org",
        "tools": ["sh"],
        "install": [["sh", "-c", "cp main.txt made"]],
        "run": ["{folder}/made"],
        "adapter": "reads",
        **more,
    }
    return Client.model_validate(given)


def test_pages_are_up_to_date() -> None:
    """``vault-harness clients --write`` writes them again."""
    made = pages(known_clients(), load(scenarios_folder() / CATALOGUE))
    found = {file.name: file.read_text("utf-8") for file in (ROOT / PAGES).glob("*.md")}
    assert found == made


@pytest.mark.parametrize(
    ("suite", "says"), [("9.8.7", "suite 9.8.7, "), (suite_version(), "suite")]
)
def test_page_says_when_its_score_is_of_an_older_release(
    tmp_path: Path, suite: str, says: str
) -> None:
    """Releases ask different things."""
    one = client(tmp_path, name="c")
    one.score_file.write_text(
        score_of({**journal(A_1="pass"), "suite_version": suite}).model_dump_json()
    )
    page = pages({"c": one}, {})["c.md"]
    assert f"| judged by | {says}" in page
    assert ("[older]" in page) == (suite != suite_version())


@pytest.mark.parametrize("one", SCORED, ids=lambda one: one.name)
def test_each_broken_critical_promise_has_its_mechanism(one: Client) -> None:
    score = one.score()
    assert score is not None
    broken = {
        name
        for name, judged in score.scenarios.items()
        if judged.severity == "critical" and judged.verdict in ("fail", "flaky")
    }
    assert broken <= set(one.notes)


@pytest.mark.parametrize("one", SCORED, ids=lambda one: one.name)
def test_a_note_is_about_a_broken_promise(one: Client) -> None:
    """A score of an older suite may wait for its client's next runs."""
    score = one.score()
    assert score is not None
    if score.suite_version == suite_version():
        about = one.notes.keys() - one.schedules().keys()
        kept = {name for name in about if score.scenarios[name].verdict == "pass"}
        assert kept == set(), "take these notes out"


@pytest.mark.parametrize("one", SCORED, ids=lambda one: one.name)
def test_each_schedule_that_breaks_a_client_has_its_mechanism(one: Client) -> None:
    schedules = one.schedules()
    assert schedules.keys() <= one.notes.keys()
    assert {schedule.subject for schedule in schedules.values()} <= {f"clients {one.name}"}


@pytest.mark.parametrize("one", SCORED, ids=lambda one: one.name)
def test_the_published_version_is_the_one_that_was_judged(one: Client) -> None:
    """The client told it in ``hello``."""
    score = one.score()
    assert score is not None
    assert score.client.version.removeprefix("v") == one.version


@pytest.mark.parametrize("one", SCORED, ids=lambda one: one.name)
def test_a_score_names_no_machine(one: Client) -> None:
    text = one.score_file.read_text("utf-8")
    assert f'"subject": "clients {one.name}"' in text
    assert not re.search(r"/root|/home|/tmp|seconds\"", text)


def published(folder: Path, **more: object) -> Client:
    """Return a client whose published score, of 0.3.0, has a broken critical promise."""
    one = client(folder, name="c", **more)
    score = score_of({**journal(A_1="fail"), "suite_version": "0.3.0"})
    one.score_file.write_text(score.model_dump_json())
    return one


def test_a_known_flip_has_its_question_mark(tmp_path: Path) -> None:
    """It is published as broken and declared flaky."""
    made = pages({"c": published(tmp_path, flaky={"A-1": "a race"})}, {})
    assert "| A-1 (1, A-1?) | none |" in made["README.md"]
    assert "(flaky)" in made["c.md"]


def test_faults_of_the_adapter_have_their_own_column(tmp_path: Path) -> None:
    note = {"mechanism": "the example ends the process", "by": "adapter"}
    made = pages({"c": published(tmp_path, notes={"A-1": note})}, {})
    assert "| none | A-1 (1, A-1) |" in made["README.md"]
    assert "The adapter's doing, not the library's. the example ends the process" in made["c.md"]


def test_schedules_that_break_a_client_are_on_its_page(tmp_path: Path) -> None:
    step = Step(Point("renew", "auth/token/renew-self", "renewal due", "first"), "lost")
    schedule = Schedule((step,), "clients c", "at most # logins")
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules" / "renew-lost.toml").write_text(to_toml(schedule))
    made = pages({"c": published(tmp_path)}, {})
    assert f"**Not kept: at most N logins.** {schedule} The mechanism is missing" in made["c.md"]
    assert "replay scenarios/clients/c/schedules/renew-lost.toml" in made["c.md"]


def test_a_run_without_a_verdict_proves_nothing(tmp_path: Path) -> None:
    """A published score without a verdict is the exception."""

    def score(**words: str) -> Score:
        return score_of_client(client(tmp_path), journal(**words))

    nothing = score(A_1="not exercised", A_2="not exercised", A_3="skipped")
    assert proved_nothing(nothing)
    assert proved_nothing(nothing, score(A_1="not exercised", A_2="pass"))
    assert not proved_nothing(nothing, nothing)
    assert not proved_nothing(score(A_1="not exercised", A_2="fail"))
    assert not proved_nothing(score(A_1="skipped"))


def test_scenarios_that_broke_down_are_named() -> None:
    assert broken_down(journal(A_1="error", A_2="fail", A_3="error")) == ["A-1", "A-3"]


def test_flaky_verdicts_are_no_difference(tmp_path: Path) -> None:
    one = client(tmp_path, flaky={"A-2": "a race"})
    published = score_of_client(one, journal(A_1="flaky", A_2="pass", A_3="pass"))
    new = score_of_client(one, journal(A_1="pass", A_2="fail", A_3="fail"))
    assert [change.id for change in differences(one, published, new)] == ["A-3"]


def test_a_client_is_made_once(tmp_path: Path) -> None:
    """It is built again only after a change of its adapter."""
    source = tmp_path / "source"
    source.mkdir()
    one = client(source)
    made_in = install(one, cache=tmp_path / "cache")
    assert (made_in / "made").read_text() == "x"
    assert not (source / "made").exists()
    (made_in / "made").write_text("kept")
    assert (install(one, cache=tmp_path / "cache") / "made").read_text() == "kept"
    (source / "main.txt").write_text("y")
    assert (install(one, cache=tmp_path / "cache") / "made").read_text() == "y"


def test_a_user_without_a_home_is_asked_for_xdg_cache_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nobody() -> NoReturn:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(SettingsError, match="no folder in which clients") as caught:
        _cache()
    assert "XDG_CACHE_HOME" in caught.value.remedy


def test_a_missing_toolchain_is_named(tmp_path: Path) -> None:
    one = client(tmp_path, tools=["sh", "no-such-compiler"])
    assert missing_tools(one) == ["no-such-compiler"]
    with pytest.raises(ProgramMissing, match="no-such-compiler"):
        install(one, cache=tmp_path / "cache")


def test_a_failed_command_shows_what_it_said(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    one = client(source, install=[["sh", "-c", "echo the registry is away; exit 3"]])
    with pytest.raises(ClientNotMade, match="the registry is away"):
        install(one, cache=tmp_path / "cache")


def test_an_adapter_is_started_as_a_command(tmp_path: Path) -> None:
    made_in = tmp_path / "a folder"
    assert client(tmp_path).subject(made_in) == f"command:'{made_in}/made'"
    agent = client(tmp_path, run=[], agent="agent.toml")
    assert agent.subject(made_in) == f"agent:{made_in}/agent.toml"


@pytest.mark.parametrize("given", [{"run": []}, {"agent": "agent.toml"}], ids=["none", "both"])
def test_a_client_has_either_run_or_agent(given: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one of run and agent"):
        client(tmp_path, **given)


def test_an_unknown_client_is_refused() -> None:
    with pytest.raises(SettingsError, match="hvac"):
        find("no-such-client")
