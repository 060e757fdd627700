from __future__ import annotations

import getpass
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vault_harness.cli.backup_options import Locking, Opening
from vault_harness.errors import SettingsError

Program = Callable[..., Any]  # of conftest.py


class Terminal(io.StringIO):
    """Types these lines, then Ctrl-D."""

    def isatty(self) -> bool:
        return True


def ends(prompt: str) -> str:
    """Raise what `getpass.getpass` raises at Ctrl-D."""
    raise EOFError(prompt)


def test_ctrl_d_deletes_nothing(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The next output is on a line of its own."""
    data = tmp_path / "vault-data" / "kept"
    data.parent.mkdir()
    data.write_text("")
    monkeypatch.setattr(sys, "stdin", Terminal())
    ended = program("destroy")
    assert (ended.code, ended.err) == (1, "nothing was deleted\n")
    assert ended.out.endswith("[y/N] \n")
    assert data.exists()


@pytest.mark.parametrize("holder", [True, False])
def test_the_prompt_says_which_backups_need_the_holder(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, holder: bool
) -> None:
    """The holder is that of a transit seal."""
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    (tmp_path / "vault-data" / ("holder" if holder else "vault")).mkdir(parents=True)
    ended = program("destroy")
    assert ended.code == 1
    told, _, asked = ended.out.rpartition("delete Vault's data")
    assert (f"open only with {tmp_path / 'vault-data' / 'holder'}" in told) == holder
    assert "[y/N]" in asked


@pytest.mark.parametrize("asked", [Locking().lock, Opening().opener])
def test_ctrl_d_for_a_passphrase(
    asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", ends)
    monkeypatch.delenv("HARNESS_BACKUP_PASSPHRASE", raising=False)
    with pytest.raises(SettingsError, match="no passphrase was given") as told:
        asked()
    assert "--passphrase-file" in told.value.remedy


def test_ctrl_d_at_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A passphrase that was typed only once may be mistyped."""
    typed = iter(["four words and a number"])
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(typed, None) or ends(prompt))
    monkeypatch.delenv("HARNESS_BACKUP_PASSPHRASE", raising=False)
    with pytest.raises(SettingsError, match="no passphrase was given"):
        Locking().lock()
