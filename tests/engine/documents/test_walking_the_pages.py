from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.engine.operations.test_walking_the_guide import SECRETS, Shell
from tests.engine.operations.test_walking_the_quick_start import not_printed

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
MARK = "-- next block --"
STEP = re.compile(r"^```sh\n(.*?)^```\n(?:\n*^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^```\w+\n(# ([\w.-]+)\n.*?)^```$", re.MULTILINE | re.DOTALL)


def steps(page: Path) -> list[tuple[str, str]]:
    """Return a page's blocks of commands, each with the output that the page shows after it."""
    return STEP.findall(page.read_text(encoding="utf-8"))


PAGES = [
    page
    for page in (DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md")))
    if any("./dev " in commands for commands, _ in steps(page))
]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    for name in ("dev", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    return Shell(tmp_path)


@pytest.mark.long
@pytest.mark.slow  # every command of a page
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_as_it_is_written(page: Path, shell: Shell) -> None:
    for text, name in FILE.findall(page.read_text(encoding="utf-8")):
        (shell.directory / name).write_text(text, encoding="utf-8")
    try:
        script = f"\necho '{MARK}'\n".join(commands for commands, _ in steps(page))
        out, err = shell.run(script, deadline=600)
    finally:
        shell.close()
    printed = out.split(MARK)
    promised = [text for _, text in steps(page)]
    missing = [not_printed(*pair) for pair in zip(promised, printed, strict=True)]
    assert missing == [[] for _ in promised], out + err
    assert [secret for secret in SECRETS if secret in out] == []


def test_the_tutorial_is_walked() -> None:
    assert len([text for _, text in steps(DOCS / "tutorial.md") if text]) >= 7
    assert len(PAGES) >= 14
