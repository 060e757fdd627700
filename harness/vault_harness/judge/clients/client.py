"""Read a published client's folder, install the client, and compare its runs with its score."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vault_harness.errors import ClientNotMade, ProgramMissing, SettingsError
from vault_harness.files import tail
from vault_harness.judge.explore.schedule import Schedule, load_schedule
from vault_harness.judge.report.formats import Score
from vault_harness.judge.report.score import SCORE, Change, changes, load_score, score_of
from vault_harness.settings import scenarios_folder

FILE, NOTES, SCHEDULES = "client.toml", "notes.toml", "schedules"
FOLDER = "{folder}"
"""In commands: the folder in which the client was made."""

QUIET_RUNS = 5
"""Runs that a published verdict rests on if the first run is no pass."""

_SAYS = {"pass", "fail", "flaky"}
"""Verdicts on the client; other words are none."""

_Model = TypeVar("_Model", bound=BaseModel)


class Note(BaseModel):
    """Why a client breaks a promise, written by hand.

    Attributes:
        mechanism: File and function in its source.
        upstream: Where its authors discuss it.
        by: The library, or its adapter (or the example that it follows).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mechanism: str = Field(min_length=20)
    upstream: tuple[str, ...] = ()
    by: Literal["library", "adapter"] = "library"


class Client(BaseModel):
    """A published client.

    Attributes:
        title: The name that its users know.
        version: The version that is judged; the adapter pins it.
        tools: Programs on PATH that make it.
        install: Commands that make it, run in the folder of the copy.
        run: The command that runs its adapter, with `FOLDER` for that folder.
        agent: Instead of `run`, the file in that folder that describes an agent.
        adapter: What the adapter or that file does, for its page.
        flaky: Scenarios whose verdict is known to differ from run to run, with the reason.
        notes: By the id of a scenario, or by the name of a schedule that explore found.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    folder: Path
    title: str
    language: str
    version: str
    home: str
    tools: tuple[str, ...]
    install: tuple[tuple[str, ...], ...]
    run: tuple[str, ...] = ()
    agent: str = ""
    adapter: str
    flaky: dict[str, str] = {}
    notes: dict[str, Note] = {}

    @property
    def score_file(self) -> Path:
        return self.folder / SCORE

    def score(self) -> Score | None:
        """Read its published score; None if there is none yet."""
        return load_score(self.score_file) if self.score_file.is_file() else None

    def schedules(self) -> dict[str, Schedule]:
        """Read the schedules with which explore broke it, by the names of their files."""
        files = sorted((self.folder / SCHEDULES).glob("*.toml"))
        return {file.stem: load_schedule(file) for file in files}

    def differs(self, id: str, verdict: str) -> bool:  # noqa: A002 - it is one
        return verdict == "flaky" or id in self.flaky

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.run) is bool(self.agent):
            raise ValueError("give one of run and agent: that is how it is judged")
        return self

    def subject(self, made_in: Path) -> str:
        """Return its ``--subject``."""
        if self.agent:
            return f"agent:{made_in / self.agent}"
        return f"command:{shlex.join(word.replace(FOLDER, str(made_in)) for word in self.run)}"


def known_clients(folder: Path | None = None) -> dict[str, Client]:
    """Return all published clients by name, by default those of the suite."""
    root = scenarios_folder() / "clients" if folder is None else folder
    return {file.parent.name: _load(file) for file in sorted(root.glob(f"*/{FILE}"))}


def find(name: str) -> Client:
    clients = known_clients()
    if name not in clients:
        raise SettingsError(
            f"there is no client {name}",
            looked_at=str(scenarios_folder() / "clients"),
            remedy=f"take one of {', '.join(clients)}",
        )
    return clients[name]


def _load(file: Path) -> Client:
    folder = file.parent
    notes = folder / NOTES
    tables = _read(notes) if notes.is_file() else {}
    data = {
        **_read(file),
        "name": folder.name,
        "folder": folder,
        "notes": {id: _validated(notes, Note, table) for id, table in tables.items()},  # noqa: A001
    }
    return _validated(file, Client, data)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"the data of a client cannot be read: {error}", looked_at=str(file)
        ) from error


def _validated(file: Path, model: type[_Model], data: object) -> _Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise SettingsError(
            f"the data of a client is not valid: {field}: {first['msg']}",
            looked_at=str(file),
            remedy="compare with that of another client",
        ) from None


STEP = 900.0
"""Seconds for one command: a registry may be slow, and Rust compiles everything."""

_DATA = {FILE, NOTES, SCORE}
"""Files that do not affect the build."""

_LEFT_OUT = {"node_modules", "target", "venv", "__pycache__", SCHEDULES}
_MADE, _LOG = ".made", "install.log"
_PYTHON = "{python}"
"""In commands: the running Python."""


def missing_tools(client: Client) -> list[str]:
    return [tool for tool in client.tools if shutil.which(tool) is None]


def install(client: Client, *, cache: Path | None = None) -> Path:
    """Make a client if necessary, and return the folder in which it was made.

    Args:
        cache: Folder of all made clients, in the user's cache by default. A client made from the
            same adapter and pins is used again.
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


def broken_down(run: Mapping[str, Any]) -> list[str]:
    """Return the scenarios that ended with an error of the harness."""
    return sorted(str(one["id"]) for one in run["scenarios"] if one["word"] == "error")


def proved_nothing(score: Score, published: Score | None = None) -> bool:
    """Return whether a run says nothing about the client, because no fault touched it.

    This happens if its adapter does not start. Scenarios with the published verdict do not count.
    """
    known = {} if published is None else published.scenarios
    words = {
        one.verdict
        for id, one in score.scenarios.items()  # noqa: A001 - it is one
        if id not in known or known[id].verdict != one.verdict
    }
    said = {one.verdict for one in score.scenarios.values()} & _SAYS
    return "not exercised" in words and not said


def score_of_client(client: Client, run: Mapping[str, Any]) -> Score:
    """Return the score of a run under the client's name, since its command names a machine."""
    score = score_of(run)
    named = score.client.model_copy(update={"subject": f"clients {client.name}"})
    return score.model_copy(update={"client": named})


def differences(client: Client, published: Score, new: Score) -> list[Change]:
    """Return the verdicts that differ from the published ones, except flaky ones."""
    return [
        change
        for change in changes(published, new)
        if change.old in _SAYS
        and change.new in _SAYS
        and not client.differs(change.id, published.scenarios[change.id].verdict)
    ]
