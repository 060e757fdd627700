from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_harness.judge.report.causes import SECRETS, THEMES, VALUES, theme_of

ROOT = Path(__file__).parents[3]
SOURCES = [
    *sorted((ROOT / "harness" / "vault_harness" / "judge").rglob("*.py")),
    *sorted((ROOT / "scenarios").glob("*.py")),
]
PLACES = {"Finding": 0, "none_of": 0, "lacking": 0, "at_most": 2, "takes_at_most": 1}
"""Which argument of a call is the promise, or tells its theme."""


def text_of(node: ast.expr) -> str | None:
    """Return the text of a literal, with the literal parts of an f-string."""
    if isinstance(node, ast.JoinedStr):
        parts = (ast.walk(part) for part in node.values)
        texts = (one.value for part in parts for one in part if isinstance(one, ast.Constant))
        return "".join(text for text in texts if isinstance(text, str))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def promises_in(source: Path) -> Iterator[str]:
    """Return the promises in a file, except those that are always harm."""
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        found: ast.expr | None = None
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            harm = any(
                word.arg == "harm" and getattr(word.value, "value", None) is True
                for word in node.keywords
            )
            place = PLACES.get(name, len(node.args))
            found = node.args[place] if place < len(node.args) and not harm else None
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "promise":
            found = node.value
        if found is not None and (text := text_of(found)) is not None:
            yield text


def test_every_promise_of_the_suite_has_a_theme() -> None:
    found = {text: source.name for source in SOURCES for text in promises_in(source)}
    assert len(found) > 90
    lacking = {text: name for text, name in found.items() if theme_of(text) not in THEMES}
    assert not lacking, f"give these a theme in vault_harness/judge/report/causes.py: {lacking}"


@pytest.mark.parametrize(
    ("promise", "broken"),
    [
        ("the steady state holds again after the faults", "it does not recover after a fault"),
        ("a new login in time", "it does not recover after a fault"),
        ("the token survives: no login", "it takes more logins or credentials than it needs"),
        (
            "at most 1 login before 0.3 of a token's life",
            "it takes more logins or credentials than it needs",
        ),
        ("at most 4 refused logins with the same secret-id", "it asks too much of Vault"),
        ("a token is replaced before it ends", "it lets tokens or leases run out"),
        ("at most 3 renewals", "it asks too much of Vault"),
        ("a renewal that hangs holds up no read for 1 s", "calls outlast their deadline"),
        ("no wrong value is ever handed out", "it does not see what changed"),
        ("close ends in time", "it does not clean up"),
        ("a failure then is unavailable", "it misnames failures"),
        ("health ends in time", "calls outlast their deadline"),
        ("at most 2 credentials", "it takes more logins or credentials than it needs"),
        ("no read fails", "calls fail that could succeed"),
    ],
)
def test_theme_by_the_words(promise: str, broken: str) -> None:
    assert theme_of(promise).broken == broken


def test_harm_is_about_values_or_secrets() -> None:
    assert theme_of("no read fails", harm=True) is VALUES
    assert theme_of("no secret in a log or a message", harm=True) is SECRETS


@given(st.text())
def test_a_promise_of_somebody_else_has_a_theme_too(promise: str) -> None:
    """The theme is the promise itself."""
    found = theme_of(promise)
    assert found in THEMES or found.broken == promise


def test_remedies_are_short() -> None:
    """They fit two lines of a terminal."""
    assert all(len(theme.remedy) <= 150 for theme in (*THEMES, VALUES))
