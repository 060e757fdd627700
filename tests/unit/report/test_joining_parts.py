"""One run of several parts: what is joined, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vault_harness.cli import _judge
from vault_harness.errors import SettingsError
from vault_harness.report.join import join, journals_in, lines_of
from vault_harness.report.outcome import Outcome, outcome
from vault_harness.report.score import score_of


def part(path: Path, word: str, name: str, without: str, **more: Any) -> Path:
    """The journal of a part with one critical scenario, which leaves another one out."""
    one = {"id": name, "promise": "p", "severity": "critical", "word": word, "seconds": 2.0}
    head = {"suite_version": "0.1.0", "subject": "mine", "engine": "process", "complete": True}
    head |= {"schema_version": 2, "summary": ""}
    left = {"left_out": {without: "critical"}, "seconds": 60.0}
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps({**head, **left, "scenarios": [one], **more}))
    return path


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Both parts of a run."""
    first = part(tmp_path / "shards" / "1" / "journal.json", "pass", "TOK-11", "KV-01")
    return [first, part(tmp_path / "shards" / "2" / "journal.json", "fail", "KV-01", "TOK-11")]


def test_parts_are_one_run(two: list[Path]) -> None:
    """All scenarios, nothing left out, and so a grade that neither part had."""
    whole = join(two)
    assert [one["id"] for one in whole["scenarios"]] == ["KV-01", "TOK-11"]
    assert (whole["complete"], whole["left_out"]) == (True, {})
    assert whole["summary"].startswith("mine: 1 of 2 scenarios pass; fail: KV-01 (")
    assert [score_of(json.loads(path.read_text())).grade for path in two] == [None, None]
    assert score_of(whole).grade == "C"
    assert outcome(lines_of(whole["scenarios"])) is Outcome.BROKEN


def test_parts_in_a_folder(tmp_path: Path, two: list[Path]) -> None:
    """Wherever below it; a folder without any is told."""
    assert journals_in([tmp_path / "shards"]) == two
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match=r"no journal\.json in this folder"):
        journals_in([tmp_path / "empty"])


def test_a_part_that_lacks(two: list[Path]) -> None:
    """What it would have judged stays left out, so there is no grade."""
    assert join(two[:1])["left_out"] == {"KV-01": "critical"}


def test_a_part_that_never_came(tmp_path: Path, two: list[Path]) -> None:
    """A job that was lost left no journal: what the others kept is no pass of the whole."""
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
    """The same one twice, or parts of two runs."""
    part(two[0], "pass", "TOK-11", "KV-01", shard=shards[0])
    part(two[1], "pass", "KV-01", "TOK-11", shard=shards[1])
    with pytest.raises(SettingsError, match=said):
        join(two)


def test_a_part_that_was_killed(two: list[Path]) -> None:
    """Its journal is the one that it began with, and what it had planned is named."""
    more = {"complete": False, "engine": "", "scenarios": [], "planned": {"KV-01": 3.0}}
    part(two[1], "pass", "KV-01", "TOK-11", **more)
    whole = join(two)
    assert (whole["complete"], whole["engine"]) == (False, "process")
    assert "incomplete: KV-01 did not come to an end" in whole["summary"]


def test_a_part_that_did_not_end(two: list[Path]) -> None:
    """The whole did not, either, and its line says so, whatever else it has to name."""
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
    """It is named."""
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
    """The whole would be told as of one server, one client, one set of claims and times."""
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
    # One in which nobody started knows none of that.
    part(two[1], "not exercised", "KV-01", "TOK-11", client={"subject": "mine"})
    assert join(two)["complete"]


def test_what_the_parts_spoke(two: list[Path]) -> None:
    """All of it stands on the whole, whichever part had it; and HTTP and TLS make no whole."""
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
    """As in the whole run: which part has which scenario says nothing of the client."""
    part(two[1], "pass", "KV-01", "TOK-11")
    journals = [json.loads(path.read_text()) for path in two]
    journals[0]["scenarios"][0]["about_leaks"] = True
    journals[1]["scenarios"][0]["leaks"] = LEAK
    for path, journal in zip(two, journals, strict=True):
        path.write_text(json.dumps(journal))
    whole = join(two)
    rows = {one["id"]: (one["word"], one.get("why", "")) for one in whole["scenarios"]}
    why = "a secret came out in KV-01    its log has token-1"
    assert rows == {"TOK-11": ("fail", why), "KV-01": ("pass", "")}
    assert "; fail: TOK-11; secrets came out in KV-01" in whole["summary"]
    assert outcome(lines_of(whole["scenarios"])) is Outcome.BROKEN
    # One that is known is known in the whole, too, wherever its row passed.
    known = {"known": {"kind": "failing", "reason": "issue 7"}}
    journals[0]["scenarios"][0] |= known
    two[0].write_text(json.dumps(journals[0]))
    assert outcome(lines_of(join(two)["scenarios"])) is Outcome.KEPT
    part(two[1], "pass", "KV-01", "TOK-11")  # nothing came out: it is kept, and its line must go
    assert outcome(lines_of(join(two)["scenarios"])) is Outcome.BROKEN


@pytest.mark.parametrize(
    ("lacking", "more"),
    [("a part", {}), ("its end", {"complete": False}), ("a scenario", {"left_out": {"X-01": "l"}})],
)
def test_row_about_leaks_is_no_news_in_less_than_all(
    lacking: str, more: dict[str, Any], two: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is known to fail and passes: what is not there may have the leak."""
    known = {"about_leaks": True, "known": {"kind": "failing", "reason": "issue 7"}}
    part(two[0], "pass", "TOK-11", "KV-01", shard="1/2")
    part(two[1], "pass", "KV-01", "TOK-11", shard="2/2", **more)
    journal = json.loads(two[0].read_text())
    journal["scenarios"][0] |= known
    two[0].write_text(json.dumps(journal))
    paths = two[:1] if lacking == "a part" else two
    assert "known to fail, and pass" not in join(paths)["summary"]
    monkeypatch.chdir(two[0].parent)
    if lacking == "a scenario":  # as a run of these alone ends
        _judge._join(paths, Path("all/index.html"))
        return
    with pytest.raises(SystemExit) as ended:
        _judge._join(paths, Path("all/index.html"))
    assert ended.value.code == Outcome.CRASHED


def test_leaks_that_are_known_of_a_row_that_no_part_has(two: list[Path]) -> None:
    """Each part said so."""
    part(two[1], "pass", "KV-01", "TOK-11", leaks_known=True)
    assert join(two)["leaks_known"]
    assert not join(two[:1])["leaks_known"]


def test_the_same_part_twice(two: list[Path]) -> None:
    """Which of two verdicts counts nobody knows."""
    with pytest.raises(SettingsError, match="TOK-11 was judged by another part too"):
        join([two[0], two[0]])


def test_what_was_known_is_known(two: list[Path]) -> None:
    """A known failure does not fail the whole either, but for harm; nor does a SHOULD."""
    journal = json.loads(two[1].read_text())
    journal["scenarios"][0]["known"] = {"kind": "failing", "reason": "issue 7"}
    assert outcome(lines_of(journal["scenarios"])) is Outcome.KEPT
    harm = {"promise": "no wrong value", "seen": "x", "at": 1.0, "harm": True}
    journal["scenarios"][0]["findings"] = [harm]
    assert outcome(lines_of(journal["scenarios"])) is Outcome.BROKEN
    journal["scenarios"][0]["known"]["reason"] = "harm: issue 7"
    assert outcome(lines_of(journal["scenarios"])) is Outcome.KEPT
    journal["scenarios"][0] |= {"known": None, "forgiven": True}
    assert outcome(lines_of(journal["scenarios"])) is Outcome.KEPT


def test_a_first_part_that_was_killed(tmp_path: Path, two: list[Path]) -> None:
    """It does not know its engine: that of the others is the whole's, and they must agree."""
    more = {"complete": False, "engine": "", "scenarios": [], "planned": {"TOK-11": 3.0}}
    part(two[0], "pass", "TOK-11", "KV-01", **more)
    whole = join(two)
    assert whole["engine"] == "process"
    third = part(tmp_path / "3" / "journal.json", "pass", "SEA-01", "KV-01", engine="docker")
    with pytest.raises(SettingsError, match="engine is docker, elsewhere process"):
        join([*two, third])
