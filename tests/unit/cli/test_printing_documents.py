from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vault_harness.cli.tasks import by_name
from vault_harness.settings import checkout, documents

Program = Callable[..., Any]  # of conftest.py
PACKAGE = (checkout() or Path()) / "harness" / "vault_harness"
NAMES = {
    each.relative_to(documents()).with_suffix("").as_posix() for each in documents().rglob("*.md")
}


def test_all_are_listed(program: Program) -> None:
    ended = program("docs")
    assert (ended.code, ended.err) == (0, "")
    assert {line.split()[0] for line in ended.out.splitlines()} == NAMES


@pytest.mark.parametrize("name", ["judge", "judge.md", "docs/judge.md", "clients/hvac", "hvac"])
def test_one_is_printed(name: str, program: Program) -> None:
    file = "clients/hvac" if "hvac" in name else "judge"
    text = (documents() / f"{file}.md").read_text(encoding="utf-8")
    assert program("docs", name).out == text


def test_an_unknown_document_lists_the_known_ones(program: Program) -> None:
    ended = program("docs", "../README")
    assert (ended.code, ended.out) == (4, "")
    assert "there is no document ../README" in ended.err
    assert "judge" in ended.err


def test_texts_name_a_document_by_its_task() -> None:
    told = " ".join(task.description for task in by_name().values())
    named = set(re.findall(r"`docs ([a-z/-]+)`", told))
    calls = (
        node.args
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "named"
    )
    words = [[ast.unparse(each).strip("'") for each in args] for args in calls]
    named |= {rest[0] for first, *rest in words if first == "docs"}
    assert {"judge", "how-to/test-your-client"} <= named <= NAMES
    assert "docs/" not in told
