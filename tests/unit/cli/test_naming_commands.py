"""A remedy names a command that its reader can paste."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from vault_harness.errors import RUNNER_VARIABLE, named, runner


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/usr/bin/invoke", "invoke"),
        ("/usr/bin/inv", "invoke"),
        ("/lib/python3/site-packages/invoke/__main__.py", "invoke"),
        ("/lib/python3/site-packages/vault_harness/__main__.py", "python -m vault_harness"),
        ("/usr/bin/pytest", "vault-harness"),
        ("", "vault-harness"),
    ],
)
def test_the_runner_is_the_one_that_was_typed(
    program: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUNNER_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", [program])
    assert expected == runner()


def test_a_program_that_path_does_not_find_is_named_in_full(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(RUNNER_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["/opt/my env/bin/vault-harness"])
    assert runner() == "'/opt/my env/bin/vault-harness'"


def test_a_checkout_with_a_blank_in_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "my checkout" / "dev"
    program.parent.mkdir()
    program.touch()
    monkeypatch.setenv(RUNNER_VARIABLE, str(program))
    assert shlex.split(named("up")) == [str(program), "up"]


def test_arguments_survive_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNNER_VARIABLE, "invoke")
    words = [Path("/my backups/it's"), "*backend", "$HOME", 3]
    command = named("restore", "--source", *words)
    assert shlex.split(command) == ["invoke", "restore", "--source", *map(str, words)]
