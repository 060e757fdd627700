"""An installed package hides tasks on the project's own files."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from vault_harness.cli import develop as develop_module
from vault_harness.settings import checkout

Program = Callable[..., Any]  # of conftest.py
DEVELOP = {"test", "lint", "site", "bench"}


def test_both_checks_for_a_clone_agree() -> None:
    """The quick check is for lists of tasks."""
    assert develop_module.in_a_clone() == (checkout() is not None)


@pytest.fixture
def installed(program: Program, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program as installed from a wheel."""
    monkeypatch.setattr(develop_module, "in_a_clone", lambda: False)
    return program


def tasks_in(listed: str) -> set[str]:
    return {task["name"] for task in json.loads(listed)["tasks"]}


def test_it_shows_none(installed: Program) -> None:
    assert "develop" not in installed("--list").out
    assert "develop" not in installed().out
    listed = tasks_in(installed("--list-format", "json", "--list").out)
    assert listed
    assert not listed & DEVELOP


def test_a_clone_shows_them(program: Program) -> None:
    assert "\ndevelop\n" in program("--list").out
    assert tasks_in(program("--list-format", "json", "--list").out) >= DEVELOP


@pytest.mark.parametrize("words", [["lint"], ["test", "--slow"], ["--help", "bench"]], ids=" ".join)
def test_the_error_says_where_a_task_works(installed: Program, words: list[str]) -> None:
    ended = installed(*words)
    assert ended.code == 4
    assert "works on the project's own files" in ended.err
    assert "what to do: run it in a clone of the project" in ended.err
