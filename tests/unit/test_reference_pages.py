from __future__ import annotations

from tests.reference import FOLDER, reference_pages


def test_the_pages_are_current() -> None:
    """`python -m tests.reference` would change nothing."""
    pages = reference_pages()
    written = {name: (FOLDER / name).read_text(encoding="utf-8") for name in pages}
    assert [name for name in pages if written[name] != pages[name]] == []
