"""The page of what the suite covers says what the data say."""

from __future__ import annotations

from tests.mutants.clients import Mutant
from tests.mutants.coverage import PAGE, current, page
from tests.subjects.lazy_client import LazyClient
from vault_harness.scenario.catalogue import Entry


def entry(**more: object) -> Entry:
    """A scenario's data."""
    given = {
        "id": "TOK-11",
        "promise": "One login",
        "severity": "medium",
        "source": "hashicorp/vault#26172: the token | of yesterday",
        **more,
    }
    return Entry.model_validate(given)


def test_page_is_up_to_date() -> None:
    """After a change of scenarios or mutants: ``python -m tests.mutants.coverage``."""
    assert PAGE.read_text(encoding="utf-8") == current()


def test_row_of_a_scenario() -> None:
    """Promise, obligation, the incidents of source and field, and its mutants."""
    mutant = Mutant(LazyClient, "TOK-11", "a login")
    mutants = {"b": mutant, "a": mutant, "c": Mutant(LazyClient, "TOK-12", "a login")}
    made = page({"TOK-11": entry(incidents=["openbao/openbao#3747"])}, mutants)
    assert (
        "| [TOK-11](../scenarios/test_tok.py) | One login | SHOULD, medium "
        "| [hashicorp/vault#26172](https://github.com/hashicorp/vault/issues/26172), "
        "[openbao/openbao#3747](https://github.com/openbao/openbao/issues/3747) | a, b |"
    ) in made.splitlines()
    assert "1 scenarios, 0 MUST and 1 SHOULD; 3 mutants." in made.splitlines()


def test_incidents_are_sorted_by_number() -> None:
    """The ninth comes before the tenth, and each names all of its scenarios."""
    two = {
        "TOK-11": entry(source="a/b#10, a/b#9: told"),
        "TOK-12": entry(id="TOK-12", source="a/b#9: told again"),
    }
    rows = [line for line in page(two, {}).splitlines() if line.startswith("| [a/b#")]
    assert [row.split(" | ")[1].removesuffix(" |") for row in rows] == ["TOK-11, TOK-12", "TOK-11"]
