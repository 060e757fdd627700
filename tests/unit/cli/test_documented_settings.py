from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import AliasChoices

from vault_harness.recorder.fault import RequestKind
from vault_harness.settings import Settings

ROOT = Path(__file__).parents[3]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
WORDS = {word for path in DOCUMENTS for word in re.findall(r"[A-Z][A-Z0-9_]+", path.read_text())}


@pytest.mark.parametrize("field", Settings.model_fields)
def test_a_setting_is_documented(field: str) -> None:
    other = Settings.model_fields[field].validation_alias
    names = other.choices if isinstance(other, AliasChoices) else []
    assert WORDS & {f"HARNESS_{field.upper()}", *map(str, names)}


def test_the_document_lists_exactly_the_kinds_of_requests() -> None:
    text = (ROOT / "docs" / "scenarios.md").read_text()
    (row,) = re.findall(r"^\| what for \| (.*) \|$", text, re.MULTILINE)
    named = set(re.findall(r"`([a-z]+)`", row))
    assert named == {*get_args(RequestKind), "health", "any"}
