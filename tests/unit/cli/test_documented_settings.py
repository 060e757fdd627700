"""What can be chosen stands in a document, where somebody looks for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import AliasChoices

from vault_harness.faults import RequestKind
from vault_harness.settings import Settings

ROOT = Path(__file__).parents[3]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
WORDS = {word for path in DOCUMENTS for word in re.findall(r"[A-Z][A-Z0-9_]+", path.read_text())}


@pytest.mark.parametrize("field", Settings.model_fields)
def test_a_setting_stands_somewhere(field: str) -> None:
    """By its name, or by the one that other tools have for it too."""
    other = Settings.model_fields[field].validation_alias
    names = other.choices if isinstance(other, AliasChoices) else []
    assert WORDS & {f"HARNESS_{field.upper()}", *map(str, names)}


def test_what_a_fault_of_requests_can_be_for() -> None:
    """docs/scenarios.md has each kind in its row, and none that there is not."""
    text = (ROOT / "docs" / "scenarios.md").read_text()
    (row,) = re.findall(r"^\| what for \| (.*) \|$", text, re.MULTILINE)
    named = set(re.findall(r"`([a-z]+)`", row))
    assert named == {*get_args(RequestKind), "health", "any"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_begins_with_its_title(path: Path) -> None:
    """And with no row of a table that somebody meant to put into the last one of it."""
    assert path.read_text(encoding="utf-8").startswith("# ")
