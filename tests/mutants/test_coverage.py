"""The page of what the suite covers agrees with the data."""

from __future__ import annotations

from tests.mutants.clients import Mutant
from tests.mutants.coverage import (
    NEVER,
    PAGE,
    POINTS,
    ROOT,
    SHOWN,
    TOUCHED,
    TRIED,
    UNSEEN,
    current,
    page,
)
from tests.subjects.lazy_client import LazyClient
from vault_harness.judge.catalogue import Entry, load
from vault_harness.judge.explore.schedule import FAULTS as EXPLORED
from vault_harness.judge.report.events import (
    ASKED,
    BY_VAULT,
    CARRIERS,
    MEETING_NONE,
    NO_REQUEST,
    NOT_BY_VAULT,
    ON_THE_WAY,
)
from vault_harness.judge.report.touched import Table, load_table

NOTHING = Table()
MAKE = f"python -m vault_harness.judge.report.touched JOURNAL... {TOUCHED.relative_to(ROOT)}"
FAULTS = {*ON_THE_WAY, *NOT_BY_VAULT, *BY_VAULT}


def entry(**more: object) -> Entry:
    given = {
        "id": "TOK-11",
        "promise": "One login",
        "severity": "medium",
        "source": "hashicorp/vault#26172: the token | of yesterday",
        **more,
    }
    return Entry.model_validate(given)


def test_page_is_up_to_date() -> None:
    """After a change of scenarios or mutants, run ``python -m tests.mutants.coverage``."""
    assert PAGE.read_text(encoding="utf-8") == current()


def test_row_of_a_scenario() -> None:
    """It has promise, obligation, incidents and mutants."""
    mutant = Mutant(LazyClient, "TOK-11", "a login")
    mutants = {"b": mutant, "a": mutant, "c": Mutant(LazyClient, "TOK-12", "a login")}
    made = page({"TOK-11": entry(incidents=["openbao/openbao#3747"])}, mutants, NOTHING)
    assert (
        "| [TOK-11](../scenarios/test_tok.py) | One login | SHOULD, medium "
        "| [hashicorp/vault#26172](https://github.com/hashicorp/vault/issues/26172), "
        "[openbao/openbao#3747](https://github.com/openbao/openbao/issues/3747) | a, b |"
    ) in made.splitlines()
    assert "1 scenarios, 0 MUST and 1 SHOULD; 3 mutants." in made.splitlines()


def test_incidents_are_sorted_by_number() -> None:
    """The ninth comes before the tenth; each names all of its scenarios."""
    two = {
        "TOK-11": entry(source="a/b#10, a/b#9: told"),
        "TOK-12": entry(id="TOK-12", source="a/b#9: told again"),
    }
    rows = [line for line in page(two, {}, NOTHING).splitlines() if line.startswith("| [a/b#")]
    assert [row.split(" | ")[1].removesuffix(" |") for row in rows] == ["TOK-11, TOK-12", "TOK-11"]


def row(table: Table, asked: str, fault: str) -> str:
    made = page({}, {}, table).splitlines()
    head = next(line for line in made if line.startswith("| |") and fault in line.split(" | "))
    body = next(line for line in made[made.index(head) :] if line.startswith(f"| {asked} |"))
    cells = [cell.strip(" |") for cell in body.split(" | ")]
    return cells[[cell.strip(" |") for cell in head.split(" | ")].index(fault)]


def test_each_scenario_was_looked_at() -> None:
    known = set(load_table(TOUCHED).scenarios)
    entries = set(load(ROOT / "scenarios" / "catalogue.toml"))
    assert known - entries == set(), f"not in the catalogue: take their lines out of {TOUCHED}"
    assert entries - known == set(), f"run them, with each client that passes them, and: {MAKE}"


def test_all_that_was_seen_is_on_the_page() -> None:
    """Every seen request and fault has a row and a column."""
    table = load_table(TOUCHED)
    pairs = {pair for pairs in table.scenarios.values() for pair in pairs}
    requests = {asked for asked, _ in pairs if asked != NO_REQUEST}
    assert requests <= {*CARRIERS, *table.asked}
    assert table.asked <= {*ASKED}
    assert {what for asked, what in pairs if asked == NO_REQUEST} <= {*MEETING_NONE}
    assert {what for asked, what in pairs if asked in ASKED} <= FAULTS
    assert {what for asked, what in pairs if asked in CARRIERS} <= {*ON_THE_WAY}


def test_what_cannot_be_was_not_seen() -> None:
    """A cell with a reason for being empty is empty."""
    pairs = {pair for pairs in load_table(TOUCHED).scenarios.values() for pair in pairs}
    for why, requests, faults in NEVER:
        assert {*requests} <= {*ASKED, *CARRIERS}, why
        assert {*faults} <= FAULTS, why
        assert {(one, what) for one in requests for what in faults} & pairs == set(), why
    assert {*UNSEEN[0]} <= {*ASKED}
    assert {*UNSEEN[1]} <= FAULTS


def test_explore_knows_what_a_cell_says_it_tries() -> None:
    assert {*TRIED} <= FAULTS
    assert {*TRIED.values()} <= {*EXPLORED}
    assert {*POINTS} <= {*ASKED}


def test_cell_with_many_scenarios() -> None:
    """It names the scenarios in the fewest cells, and counts the others."""
    of_all = frozenset({("read", "503"), ("read", "500")})
    few = {f"SEA-0{number}": frozenset({("read", "503")}) for number in range(2, 2 + SHOWN)}
    table = Table(frozenset({"read"}), {"SEA-01": of_all, **few})
    assert row(table, "read", "503") == f"{', '.join(f'[{one}]' for one in sorted(few))} +1"
    assert row(table, "read", "500") == "[SEA-01]"
    assert "[SEA-01]: #sea" in page({}, {}, table).splitlines()


def test_cells_without_a_scenario() -> None:
    """Tried by explore, not asked, empty by nature, and unknown differ."""
    table = Table(frozenset({"first login", "token lookup", "write"}), {})
    assert row(table, "first login", "429") == "explore"
    assert row(table, "first login", "400") == "-"
    assert row(table, "write", "429") == "-"
    assert row(table, "first login", "403, dead token") == "(e)"
    assert "| (e) | never: it bears no token |" in page({}, {}, table).splitlines()
    assert row(table, "token lookup", "refused") == "?"


def test_what_nobody_asks_for_has_no_row() -> None:
    """An empty row would suggest a gap."""
    made = page({}, {}, Table(frozenset({*ASKED} - {"health"}), {}))
    assert "Asked for by none of these clients: health." in made.splitlines()
    assert not any(line.startswith("| health |") for line in made.splitlines())
