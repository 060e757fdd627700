"""Makes a real client: a copy of its folder, and its own package manager in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from vault_harness.clients._client import FILE, NOTES, Client
from vault_harness.errors import ClientNotMade, ProgramMissing, SettingsError
from vault_harness.files import tail
from vault_harness.report.score import SCORE

STEP = 900.0
"""Seconds for one command: a registry may be slow, and Rust compiles everything."""

_DATA = {FILE, NOTES, SCORE}
"""Files of a client's folder of which nothing is made."""

_LEFT_OUT = {"node_modules", "target", "venv", "__pycache__"}
_MADE, _LOG = ".made", "install.log"
_PYTHON = "{python}"
"""Stands in commands for the Python that runs this."""


def missing_tools(client: Client) -> list[str]:
    """Programs that a client is made with, and that are not here."""
    return [tool for tool in client.tools if shutil.which(tool) is None]


def install(client: Client, *, cache: Path | None = None) -> Path:
    """Make a client, unless it is there already; returns the folder in which it was made.

    Args:
        client: Which.
        cache: Where; ``vault-harness/clients`` in the user's cache by default. One that was made
            from the same adapter and the same pins is taken as it is.

    Raises:
        ProgramMissing: A program that makes it is not here.
        ClientNotMade: One of its commands failed, or took longer than `STEP`.
    """
    if missing := missing_tools(client):
        raise ProgramMissing(
            f"{client.title} cannot be made here without {', '.join(missing)}",
            looked_at="PATH",
            remedy=f"install {', '.join(missing)}; it is a client in {client.language}",
        )
    folder = (cache or _cache()) / f"{client.name}-{_digest(client)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_suffix(".lock"), timeout=STEP):
            if not (folder / _MADE).is_file():
                _make(client, folder)
    except Timeout:
        raise ClientNotMade(
            f"{client.title} is being made by another process",
            looked_at=str(folder.with_suffix(".lock")),
            remedy="wait for it, then run this again",
        ) from None
    return folder


def _make(client: Client, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(client.folder, folder, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    for words in client.install:
        _step(client, folder, [word.replace(_PYTHON, sys.executable) for word in words])
    (folder / _MADE).touch()


def _step(client: Client, folder: Path, command: list[str]) -> None:
    log = folder / _LOG
    with log.open("ab") as output:
        try:
            code = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=STEP,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
    if code != 0:
        how = f"took longer than {STEP:g} s" if code is None else f"ended with exit code {code}"
        raise ClientNotMade(
            f"{client.title} cannot be made: {' '.join(command)} {how}",
            looked_at=f"{log}, which ends:\n{tail(log, 8)}",
            remedy="run the command by hand in that folder; it needs the registry of "
            f"{client.language}",
        )


def _digest(client: Client) -> str:
    """Changes with everything of which the client is made."""
    found = hashlib.sha256(repr(client.install).encode())
    for file in sorted(client.folder.rglob("*")):
        inside = file.relative_to(client.folder)
        if file.is_file() and file.name not in _DATA and not _LEFT_OUT & set(inside.parts):
            found.update(f"{inside}\0".encode() + file.read_bytes())
    return found.hexdigest()[:12]


def _cache() -> Path:
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise SettingsError(
            "there is no folder in which clients could be kept: HOME is not set, and this user has "
            "no name",
            looked_at="XDG_CACHE_HOME, HOME",
            remedy="let XDG_CACHE_HOME name a folder",
        ) from None
    return Path(base) / "vault-harness" / "clients"
