"""The table of which scenario catches which mutant, and how it grows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.catalogue import CATALOGUE, group_of
from tests.mutants.conftest import SCENARIOS
from tests.mutants.matrix import made_by_the_machine, missing, note, plan, read, render, written
from vault_harness.scenario.catalogue import load
from vault_harness.scenario.verdict import Verdict

IDS = ["FBK-01", "FBK-02", "KV-01", "KV-02", "KV-03", "KV-05"]


def test_each_mutant_is_caught_by_its_own_scenario() -> None:
    """In each row the scenario that must catch the mutant fails it."""
    rows = written()
    assert [name for name in rows if rows[name].get(CATALOGUE[name].scenario) != "F"] == []


def test_groups_in_the_table_have_all_their_mutants() -> None:
    """A new one needs its row: ``python -m tests.mutants.matrix GROUP --only-missing``."""
    rows = set(written())
    groups = {group_of(CATALOGUE[name].scenario) for name in rows}
    assert rows == {name for name, one in CATALOGUE.items() if group_of(one.scenario) in groups}


def test_what_is_written_is_read_again() -> None:
    """A call that runs little leaves all else as it is."""
    cells = written()
    assert cells
    assert read(render(cells, load(SCENARIOS / "catalogue.toml"))) == cells


def test_only_missing_cells_are_run() -> None:
    """A new mutant meets its group, an old one only the scenarios that came since."""
    cells = {
        "has-no-fallback": {"FBK-01": "F"},
        "falls-back-for-good": {"FBK-01": "F", "FBK-02": "·"},
    }
    planned = plan(cells, IDS, groups=["FBK"], only_missing=True)
    assert planned == {
        "has-no-fallback": ["FBK-02"],
        "falls-back-for-too-long": ["FBK-01", "FBK-02"],
        "falls-back-on-a-denial": ["FBK-01", "FBK-02"],
        "falls-back-on-a-denial-in-its-cache": ["FBK-01", "FBK-02"],
        "falls-back-at-a-refused-login": ["FBK-01", "FBK-02"],
        "falls-back-at-a-refused-login-in-its-cache": ["FBK-01", "FBK-02"],
        "falls-back-for-a-deleted-secret": ["FBK-01", "FBK-02"],
        "falls-back-for-a-deleted-secret-in-its-cache": ["FBK-01", "FBK-02"],
        "keeps-its-fallback-in-its-cache": ["FBK-01", "FBK-02"],
        "falls-back-for-good-in-a-later-outage": ["FBK-01", "FBK-02"],
        "falls-back-to-its-first-variable": ["FBK-01", "FBK-02"],
        "stays-away-in-its-cache": ["FBK-01", "FBK-02"],
        "falls-back-at-refused-connections-alone": ["FBK-01", "FBK-02"],
    }


def test_one_row_or_one_column_is_run() -> None:
    """A mutant and a scenario can be named, whatever the table has."""
    assert plan({}, IDS, mutants=["has-no-fallback"]) == {"has-no-fallback": ["FBK-01", "FBK-02"]}
    planned = plan({}, IDS, only=["KV-05"])
    assert planned == {
        name: ["KV-05"] for name, one in CATALOGUE.items() if group_of(one.scenario) == "KV"
    }


def test_what_a_machine_that_stood_still_may_have_made_is_doubted() -> None:
    """A client that got no core passes for a calm one: its cell stays missing."""
    assert made_by_the_machine(Verdict("pass", stood_still=0.3))
    assert not made_by_the_machine(Verdict("fail", stood_still=0.05))
    assert not made_by_the_machine(None)


def test_what_must_catch_a_mutant_can_be_run_alone() -> None:
    """A row begins with its own scenario."""
    planned = plan({}, IDS, own=True)
    assert planned == {
        name: [one.scenario] for name, one in CATALOGUE.items() if one.scenario in IDS
    }


def test_cells_that_were_not_run_are_empty() -> None:
    """A group that is half done shows it, and is read back so."""
    cells = {"has-no-fallback": {"FBK-01": "F"}}
    assert "| has-no-fallback | **F** |  |" in render(cells, IDS)
    assert read(render(cells, IDS)) == cells


def test_what_is_missing_is_counted_by_group() -> None:
    """Nothing is run to say how much is left."""
    planned = {"has-no-fallback": ["FBK-01", "FBK-02"], "caches-for-ever": ["KV-01"]}
    assert missing(planned) == "3 cells of 2 mutants are missing\nFBK: 2 of 1\nKV: 1 of 1\n"
    assert missing({}) == "0 cells of 0 mutants are missing\n"


def test_cells_that_are_noted_at_once_are_all_kept(tmp_path: Path) -> None:
    """Several write to one file, a cell each, and none takes another's away."""
    table = tmp_path / "MATRIX.md"
    wanted = [(name, one) for name in ("has-no-fallback", "falls-back-for-good") for one in IDS[:2]]
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda cell: note({cell[0]: {cell[1]: "F"}}, IDS, table), wanted))
    row = {"FBK-01": "F", "FBK-02": "F"}
    assert written(table) == {"has-no-fallback": row, "falls-back-for-good": row}
