"""Joining the parts of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vault_harness.cli import report
from vault_harness.errors import SettingsError
from vault_harness.judge.report.join import join, journals_in
from vault_harness.judge.report.lines import lines_in
from vault_harness.judge.report.outcome import Outcome, outcome
from vault_harness.judge.report.score import score_of


def part(path: Path, word: str, name: str, without: str, **more: Any) -> Path:
    """Write the journal of a part that judges one critical scenario and leaves another out."""
    one = {"id": name, "promise": "p", "severity": "critical", "word": word, "seconds": 2.0}
    head = {"suite_version": "0.1.0", "subject": "mine", "engine": "process", "complete": True}
    head |= {"schema_version": 2, "summary": ""}
    left = {"left_out": {without: "critical"}, "seconds": 60.0}
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps({**head, **left, "scenarios": [one], **more}))
    return path


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    first = part(tmp_path / "shards" / "1" / "journal.json", "pass", "TOK-11", "KV-01")
    return [first, part(tmp_path / "shards" / "2" / "journal.json", "fail", "KV-01", "TOK-11")]


def test_parts_are_one_run(two: list[Path]) -> None:
    """They have a grade that neither part had."""
    whole = join(two)
    assert [one["id"] for one in whole["scenarios"]] == ["KV-01", "TOK-11"]
    assert (whole["complete"], whole["left_out"]) == (True, {})
    assert whole["summary"].startswith("mine: 1 of 2 scenarios pass; fail: KV-01 (")
    assert [score_of(json.loads(path.read_text())).grade for path in two] == [None, None]
    assert score_of(whole).grade == "C"
    assert outcome(lines_in(whole)) is Outcome.BROKEN


def test_parts_in_a_folder(tmp_path: Path, two: list[Path]) -> None:
    """Journals are found at any depth."""
    assert journals_in([tmp_path / "shards"]) == two
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match=r"no journal\.json in this folder"):
        journals_in([tmp_path / "empty"])


def test_a_part_that_lacks(two: list[Path]) -> None:
    """What a missing part would have judged stays left out."""
    assert join(two[:1])["left_out"] == {"KV-01": "critical"}


def test_a_part_that_never_came(tmp_path: Path, two: list[Path]) -> None:
    """It makes the whole incomplete."""
    for number, name in enumerate(("TOK-11", "KV-01"), 1):
        part(two[number - 1], "pass", name, "SEA-01", shard=f"{number}/3")
    whole = join(two)
    assert (whole["complete"], "shard" in whole) == (False, False)
    assert "incomplete: part 3/3 is not there" in whole["summary"]
    part(tmp_path / "shards" / "3" / "journal.json", "pass", "SEA-01", "KV-01", shard="3/3")
    assert join(journals_in([tmp_path / "shards"]))["complete"]


@pytest.mark.parametrize(
    ("shards", "said"),
    [(("1/2", "1/2"), "part 1/2 is here twice"), (("1/2", "2/3"), "parts of 2, others of 3")],
)
def test_parts_that_are_no_whole(two: list[Path], shards: tuple[str, str], said: str) -> None:
    """They are two copies of a part, or parts of two runs."""
    part(two[0], "pass", "TOK-11", "KV-01", shard=shards[0])
    part(two[1], "pass", "KV-01", "TOK-11", shard=shards[1])
    with pytest.raises(SettingsError, match=said):
        join(two)


def test_a_part_that_was_killed(two: list[Path]) -> None:
    """Its planned scenarios are named."""
    more = {"complete": False, "engine": "", "scenarios": [], "planned": {"KV-01": 3.0}}
    part(two[1], "pass", "KV-01", "TOK-11", **more)
    whole = join(two)
    assert (whole["complete"], whole["engine"]) == (False, "process")
    assert "incomplete: KV-01 did not come to an end" in whole["summary"]


def test_a_part_that_did_not_end(two: list[Path]) -> None:
    for more, said in (({}, "a run"), ({"shard": "2/2"}, "part 2/2")):
        part(two[1], "pass", "KV-01", "TOK-11", complete=False, **more)
        whole = join(two)
        assert not whole["complete"]
        assert f"incomplete: {said} did not come to its end" in whole["summary"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"subject": "yours"}, "subject is yours, elsewhere mine"),
        ({"suite_version": "0.2.0"}, "suite_version is 0.2.0, elsewhere 0.1.0"),
        ({"engine": "docker"}, "engine is docker, elsewhere process"),
    ],
)
def test_what_does_not_belong_together(two: list[Path], more: dict[str, Any], said: str) -> None:
    """They differ in subject, suite or engine."""
    part(two[1], "pass", "KV-01", "TOK-11", **more)
    with pytest.raises(SettingsError, match=said) as caught:
        join(two)
    assert caught.value.looked_at == str(two[1])


CLIENT = {"version": "1.0", "capabilities": ["read"], "declares": {}}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"product": "vault 1.20.4"}, "product is vault 1.20.4, elsewhere openbao 2.7.2"),
        ({"client": CLIENT | {"version": "2.0"}}, "the client's version is 2.0, elsewhere 1.0"),
        (
            {"client": CLIENT | {"declares": {"refresh": 20.0}}},
            r"what the client declares is \{'refresh': 20.0\}, elsewhere \{\}",
        ),
        (
            {"client": CLIENT | {"capabilities": ["health", "read"]}},
            "what the client claims is",
        ),
    ],
)
def test_parts_that_judged_by_different_measures(
    two: list[Path], more: dict[str, Any], said: str
) -> None:
    """They differ in server, client, claims or times."""
    alike = {"product": "openbao 2.7.2", "client": {"subject": "mine", **CLIENT}}
    part(two[0], "pass", "TOK-11", "KV-01", **alike)
    part(two[1], "pass", "KV-01", "TOK-11", **alike)
    assert join(two)["complete"]
    different = {**alike, **more}
    different["client"] = {"subject": "mine", **different["client"]}
    part(two[1], "pass", "KV-01", "TOK-11", **different)
    with pytest.raises(SettingsError, match=said) as caught:
        join(two)
    assert caught.value.looked_at == str(two[1])
    # A part in which no client started knows nothing of it.
    part(two[1], "not exercised", "KV-01", "TOK-11", client={"subject": "mine"})
    assert join(two)["complete"]


def test_what_the_parts_spoke(two: list[Path]) -> None:
    """HTTP and TLS cannot be joined."""
    part(two[0], "pass", "TOK-11", "KV-01", wires=[])
    part(two[1], "pass", "KV-01", "TOK-11", wires=["TLS"])
    whole = join(two)
    assert whole["wires"] == ["TLS"]
    assert "(process engine, TLS, 60 s)" in whole["summary"]
    plain = json.loads(two[0].read_text())
    plain["scenarios"][0]["wire"] = "plain"
    two[0].write_text(json.dumps(plain))
    with pytest.raises(SettingsError, match="client and Vault speak is TLS, elsewhere plain HTTP"):
        join(two)


LEAK = [{"promise": "no secret", "seen": "its log has token-1", "at": 1.0, "harm": True}]


def test_leak_of_one_part_fails_the_row_of_another(two: list[Path]) -> None:
    part(two[1], "pass", "KV-01", "TOK-11")
    journals = [json.loads(path.read_text()) for path in two]
    journals[0]["scenarios"][0]["about_leaks"] = True
    journals[1]["scenarios"][0]["leaks"] = LEAK
    for path, journal in zip(two, journals, strict=True):
        path.write_text(json.dumps(journal))
    whole = join(two)
    rows = {one["id"]: (one["word"], one.get("why", "")) for one in whole["scenarios"]}
    why = "a secret came out in KV-01    +1.00 s: its log has token-1"
    assert rows == {"TOK-11": ("fail", why), "KV-01": ("pass", "")}
    assert "; fail: TOK-11; secrets came out in KV-01" in whole["summary"]
    assert outcome(lines_in(whole)) is Outcome.BROKEN
    # A known leak is known in the whole too.
    known = {"known": {"kind": "failing", "reason": "issue 7"}}
    journals[0]["scenarios"][0] |= known
    two[0].write_text(json.dumps(journals[0]))
    assert outcome(lines_in(join(two))) is Outcome.KEPT
    part(two[1], "pass", "KV-01", "TOK-11")  # no leak: the row passes, and its line must go
    assert outcome(lines_in(join(two))) is Outcome.BROKEN


@pytest.mark.parametrize(
    ("lacking", "more"),
    [("a part", {}), ("its end", {"complete": False}), ("a scenario", {"left_out": {"X-01": "l"}})],
)
def test_row_about_leaks_is_no_news_in_less_than_all(
    lacking: str, more: dict[str, Any], two: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While something is missing, it is not called fixed."""
    known = {"about_leaks": True, "known": {"kind": "failing", "reason": "issue 7"}}
    part(two[0], "pass", "TOK-11", "KV-01", shard="1/2")
    part(two[1], "pass", "KV-01", "TOK-11", shard="2/2", **more)
    journal = json.loads(two[0].read_text())
    journal["scenarios"][0] |= known
    two[0].write_text(json.dumps(journal))
    paths = two[:1] if lacking == "a part" else two
    assert "known to fail, and pass" not in join(paths)["summary"]
    monkeypatch.chdir(two[0].parent)
    if lacking == "a scenario":  # a run of only these scenarios ends so
        report._join(paths, Path("all/index.html"))
        return
    assert report._join(paths, Path("all/index.html")) == Outcome.CRASHED


def test_leaks_that_are_known_of_a_row_that_no_part_has(two: list[Path]) -> None:
    """Every part said so."""
    part(two[1], "pass", "KV-01", "TOK-11", leaks_known=True)
    assert join(two)["leaks_known"]
    assert not join(two[:1])["leaks_known"]


def test_the_same_part_twice(two: list[Path]) -> None:
    """It is refused, since the verdicts may differ."""
    with pytest.raises(SettingsError, match="TOK-11 was judged by another part too"):
        join([two[0], two[0]])


def test_what_was_known_is_known(two: list[Path]) -> None:
    """Unknown harm fails the whole."""
    journal = json.loads(two[1].read_text())
    journal["scenarios"][0]["known"] = {"kind": "failing", "reason": "issue 7"}
    assert outcome(lines_in(journal)) is Outcome.KEPT
    harm = {"promise": "no wrong value", "seen": "x", "at": 1.0, "harm": True}
    journal["scenarios"][0]["findings"] = [harm]
    assert outcome(lines_in(journal)) is Outcome.BROKEN
    journal["scenarios"][0]["known"]["reason"] = "harm: issue 7"
    assert outcome(lines_in(journal)) is Outcome.KEPT
    journal["scenarios"][0] |= {"known": None, "forgiven": True}
    assert outcome(lines_in(journal)) is Outcome.KEPT


def test_a_first_part_that_was_killed(tmp_path: Path, two: list[Path]) -> None:
    """The engine is that of the others, which must agree."""
    more = {"complete": False, "engine": "", "scenarios": [], "planned": {"TOK-11": 3.0}}
    part(two[0], "pass", "TOK-11", "KV-01", **more)
    whole = join(two)
    assert whole["engine"] == "process"
    third = part(tmp_path / "3" / "journal.json", "pass", "SEA-01", "KV-01", engine="docker")
    with pytest.raises(SettingsError, match="engine is docker, elsewhere process"):
        join([*two, third])
