from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_harness.errors import SettingsError
from vault_harness.judge.catalogue import load, load_durations, parse_shard, shard
from vault_harness.judge.report.durations import main, measured

SCENARIOS = Path(__file__).parents[3] / "scenarios"

TABLES = st.dictionaries(st.text("ABC", min_size=1, max_size=4), st.floats(0.5, 60.0), max_size=30)


@given(TABLES, st.integers(1, 6))
def test_each_scenario_is_in_one_part(seconds: dict[str, float], of: int) -> None:
    """The parts differ by the longest scenario at most."""
    parts = [shard(seconds, number, of) for number in range(1, of + 1)]
    assert sorted(id for part in parts for id in part) == sorted(seconds)  # noqa: A001 - it is an id
    lengths = [sum(seconds[id] for id in part) for part in parts]  # noqa: A001 - it is an id
    assert max(lengths) - min(lengths) <= max(seconds.values(), default=0.0) + 1e-6


def test_parts_of_the_suite_are_about_as_long() -> None:
    seconds = {id: e.seconds for id, e in load(SCENARIOS / "catalogue.toml").items()}  # noqa: A001
    lengths = [sum(seconds[id] for id in shard(seconds, n, 4)) for n in (1, 2, 3, 4)]  # noqa: A001
    assert max(lengths) <= 1.05 * min(lengths)


def test_nothing_takes_longer_than_is_written_of_it() -> None:
    """The catalogue is written for slow clients."""
    written = tomllib.loads((SCENARIOS / "catalogue.toml").read_text(encoding="utf-8"))
    took = load_durations(SCENARIOS / "catalogue.toml")
    assert {id for id, seconds in took.items() if seconds > written[id]["seconds"]} == set()  # noqa: A001


@pytest.mark.parametrize("text", ["0/4", "5/4", "2", "2/", "/4", "a/b", "-1/4", "1/0", "1/10000"])
def test_parts_that_there_are_not(text: str) -> None:
    with pytest.raises(SettingsError, match=f"--shard {text} ") as caught:
        parse_shard(text)
    assert "1/4" in caught.value.remedy


def test_naming_a_part() -> None:
    """An empty text names none."""
    assert (parse_shard("2/4"), parse_shard("")) == ((2, 4), None)


def test_what_is_measured(tmp_path: Path) -> None:
    """Only a single pass is measured."""
    run = [
        {"id": "TOK-01", "word": "pass", "seconds": 30.6},
        {"id": "TOK-02", "word": "fail", "seconds": 99.0},
        {"id": "TOK-03", "word": "pass", "seconds": 99.0, "runs": [{}, {}]},
        {"id": "KV-01", "word": "pass", "seconds": 0.2},
    ]
    before = {"TOK-02": 33, "TOK-03": 30}
    assert measured({"scenarios": run}, before) == {
        "KV-01": 1,
        "TOK-01": 31,
        "TOK-02": 33,
        "TOK-03": 30,
    }
    head = {"schema_version": 2, "suite_version": "0.1.0", "complete": True, "summary": ""}
    head |= {"subject": "mine", "engine": "process"}
    whole = [{"promise": "p", "severity": "high", **one} for one in run]
    (tmp_path / "journal.json").write_text(json.dumps({**head, "scenarios": whole}))
    for broken in (None, '{"TOK-01": "long"}'):  # the error proposes this command
        if broken is not None:
            (tmp_path / "durations.json").write_text(broken)
        assert main([str(tmp_path / "journal.json"), str(tmp_path / "durations.json")]) == 0
        assert load_durations(tmp_path / "catalogue.toml") == {"KV-01": 1, "TOK-01": 31}


def test_durations_of_no_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "durations.json").write_text('{"TOK-01": 3}')
    assert main([str(tmp_path / "journal.json"), str(tmp_path / "durations.json")]) != 0
    assert "there is no such file" in capsys.readouterr().err
    assert load_durations(tmp_path / "catalogue.toml") == {"TOK-01": 3}


@pytest.mark.parametrize("text", ["[]", "{", '{"TOK-01": "long"}', '{"TOK-01": 0}'])
def test_tables_that_make_no_sense(tmp_path: Path, text: str) -> None:
    """The error has the command that makes one."""
    (tmp_path / "durations.json").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_durations(tmp_path / "catalogue.toml")
    assert "vault_harness.judge.report.durations" in caught.value.remedy
