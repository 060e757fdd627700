"""Questions to a person who has no answer: Ctrl-D is a no, and no mistake of the program."""

from __future__ import annotations

import getpass
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vault_harness.cli._backup_options import lock_of, opener_of
from vault_harness.errors import SettingsError

Program = Callable[..., Any]  # of conftest.py


class Terminal(io.StringIO):
    """A person at the keyboard, who types these lines and then Ctrl-D."""

    def isatty(self) -> bool:
        return True


def ends(prompt: str) -> str:
    """What `getpass.getpass` does at Ctrl-D."""
    raise EOFError(prompt)


def test_ctrl_d_deletes_nothing(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is a no, on a line of its own."""
    data = tmp_path / "vault-data" / "kept"
    data.parent.mkdir()
    data.write_text("")
    monkeypatch.setattr(sys, "stdin", Terminal())
    ended = program("destroy")
    assert (ended.code, ended.err) == (1, "nothing was deleted\n")
    assert ended.out.endswith("[y/N] \n")
    assert data.exists()


@pytest.mark.parametrize("holder", [True, False])
def test_what_else_opens_backups_is_said_before_it_is_deleted(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, holder: bool
) -> None:
    """The key of a transit seal is in no backup: without its holder none of them opens."""
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    (tmp_path / "vault-data" / ("holder" if holder else "vault")).mkdir(parents=True)
    ended = program("destroy")
    assert ended.code == 1
    told, _, asked = ended.out.rpartition("delete Vault's data")
    assert (f"open only with what is in {tmp_path / 'vault-data' / 'holder'}" in told) == holder
    assert "[y/N]" in asked


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_no(program: Program, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """So is an answer that is no yes."""
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    ended = program("destroy")
    assert (ended.code, ended.err) == (1, "nothing was deleted\n")


@pytest.mark.parametrize("asked", [lock_of, opener_of])
def test_ctrl_d_for_a_passphrase(
    asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is locked or opened, and it is told how else a passphrase is given."""
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", ends)
    monkeypatch.delenv("HARNESS_BACKUP_PASSPHRASE", raising=False)
    with pytest.raises(SettingsError, match="no passphrase was given") as told:
        asked(None, None)
    assert "--passphrase-file" in told.value.remedy


def test_ctrl_d_at_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A passphrase that was typed once only may have a typing error in it."""
    typed = iter(["four words and a number"])
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(typed, None) or ends(prompt))
    monkeypatch.delenv("HARNESS_BACKUP_PASSPHRASE", raising=False)
    with pytest.raises(SettingsError, match="no passphrase was given"):
        lock_of(None, None)
