"""What is known of one real client: the data in its folder."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vault_harness.errors import SettingsError
from vault_harness.report.formats import Score
from vault_harness.report.score import SCORE, load_score
from vault_harness.settings import scenarios_folder

FILE, NOTES = "client.toml", "notes.toml"
FOLDER = "{folder}"
"""Stands in commands for the folder in which the client was made."""


_Model = TypeVar("_Model", bound=BaseModel)


class Note(BaseModel):
    """Why a client breaks a promise, written by hand.

    Attributes:
        mechanism: What in its source does it: file and function.
        upstream: Where its authors know of it, if they do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mechanism: str = Field(min_length=20)
    upstream: tuple[str, ...] = ()


class Client(BaseModel):
    """A real client.

    Attributes:
        name: Of its folder.
        folder: With its adapter and its data.
        title: What its users call it.
        language: What it is written in.
        version: Which one is judged; the adapter pins it.
        home: Where its source is.
        tools: Programs that it is made with, which must be on PATH.
        install: Commands that make it, in their order, run in the folder of the copy.
        run: The command that runs its adapter, with `FOLDER` for that folder.
        agent: Or the file in that folder that describes a program which nobody asks: an agent.
        adapter: What the adapter, or that file, does, for its page.
        flaky: Scenarios whose verdict is known to differ from run to run, with the reason.
        notes: By scenario, why it breaks what it breaks.
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
        """Where its score is, once it was judged."""
        return self.folder / SCORE

    def score(self) -> Score | None:
        """What its last published run came to; None if there was none yet.

        Raises:
            SettingsError: The file is no score.
        """
        return load_score(self.score_file) if self.score_file.is_file() else None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.run) is bool(self.agent):
            raise ValueError("give one of run and agent: that is how it is judged")
        return self

    def subject(self, made_in: Path) -> str:
        """How the suite is told of it.

        Args:
            made_in: The folder in which it was made.
        """
        if self.agent:
            return f"agent:{made_in / self.agent}"
        return f"command:{shlex.join(word.replace(FOLDER, str(made_in)) for word in self.run)}"


def known_clients(folder: Path | None = None) -> dict[str, Client]:
    """All real clients by name.

    Args:
        folder: With a folder for each; the suite's own by default.

    Raises:
        SettingsError: The data of one is not valid.
    """
    root = scenarios_folder() / "clients" if folder is None else folder
    return {file.parent.name: _load(file) for file in sorted(root.glob(f"*/{FILE}"))}


def find(name: str) -> Client:
    """A real client by its name.

    Raises:
        SettingsError: There is none of this name.
    """
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
