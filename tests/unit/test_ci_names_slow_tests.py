"""CI names what has slow tests: its workers then need not read thousands of others."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SLOW = re.compile(r"\bmark\.slow\b")


def test_every_slow_test_is_in_what_ci_names() -> None:
    """By the folders and files that it gives to pytest where it asks for slow tests."""
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace("\\\n", " ")
    asking = [line for line in text.splitlines() if re.search(r'-m (slow|"slow|"")', line)]
    named = [ROOT / word for line in asking for word in line.split() if word.startswith("tests/")]
    files = (ROOT / "tests").rglob("test_*.py")
    slow = [file for file in files if SLOW.search(file.read_text(encoding="utf-8"))]
    assert len(slow) > 50
    assert [file for file in slow if not any(map(file.is_relative_to, named))] == []
