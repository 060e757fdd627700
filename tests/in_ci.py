"""The shell in what teams copy into their CI: the steps of ``action.yml``, the lines for GitLab."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[1]
ACTION = (ROOT / "action.yml").read_text(encoding="utf-8")
JUDGE = (ROOT / "docs" / "judge.md").read_text(encoding="utf-8")


def step(name: str) -> str:
    """What one step of the action runs."""
    text = ACTION.split(f"- name: {name}\n")[1].split("\n\n")[0]
    return dedent(text.split("run: |\n")[1])


def gitlab(part: str) -> str:
    """What GitLab's runner runs as ``script`` or ``after_script``: all its lines in one shell."""
    snippet = JUDGE.split("On GitLab:")[1].split("```")[1]
    found = re.search(rf"^  {part}:\n((?:    - .*\n)+)", snippet, re.MULTILINE)
    assert found is not None
    return re.sub(r"^    - ", "", found[1], flags=re.MULTILINE)
