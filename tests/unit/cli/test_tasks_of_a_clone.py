"""Tasks that work on the project itself: an installed package shows none, and says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from vault_harness.cli import _develop
from vault_harness.settings import checkout

Program = Callable[..., Any]  # of conftest.py
DEVELOP = {"test", "lint", "bench"}


def test_both_ways_to_tell_a_clone_agree() -> None:
    """The one that loads little is for lists of tasks."""
    assert _develop.in_a_clone() == (checkout() is not None)


@pytest.fixture
def installed(program: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program where it was installed from a wheel."""
    monkeypatch.setattr(_develop, "in_a_clone", lambda: False)
    return program


def tasks_in(listed: str) -> set[str]:
    """Names of the tasks that a list for programs has at its top."""
    return {task["name"] for task in json.loads(listed)["tasks"]}


def test_it_shows_none(installed: Program) -> None:
    """Neither to people nor to programs."""
    assert "develop" not in installed("--list").out
    assert "develop" not in installed().out
    listed = tasks_in(installed("--list-format", "json", "--list").out)
    assert listed
    assert not listed & DEVELOP


def test_a_clone_shows_them(program: Program) -> None:
    """In a group of their own."""
    assert "\ndevelop\n" in program("--list").out
    assert tasks_in(program("--list-format", "json", "--list").out) >= DEVELOP


@pytest.mark.parametrize("words", [["lint"], ["test", "--slow"], ["--help", "bench"]], ids=" ".join)
def test_who_asks_for_one_is_told_where_it_works(installed: Program, words: list[str]) -> None:
    """It read of it in the documents, which are installed too."""
    ended = installed(*words)
    assert ended.code == 2
    assert "works on the project's own files" in ended.err
    assert "what to do: run it in a clone of the project" in ended.err
