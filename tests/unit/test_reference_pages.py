"""The generated pages are current."""

from __future__ import annotations

import pytest

from tests.reference import FOLDER, reference_pages

PAGES = reference_pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_current(name: str) -> None:
    """`python -m tests.reference` would not change the page."""
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name]
