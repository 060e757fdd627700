"""Read the configuration of a program that renders files or listens: ``agent:CONFIG``."""

from __future__ import annotations

import json
import shutil
import string
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vault_harness.errors import HarnessError, SettingsError, named
from vault_harness.judge.subjects.protocol import Hello, claims, version_of
from vault_harness.local.programs import find_vault
from vault_harness.settings import Settings
from vault_harness.toml_lines import line_of

_STRICT = ConfigDict(extra="forbid", frozen=True)


class Rendered(BaseModel):
    """A secret that the program writes into a file.

    Attributes:
        file: The name may have placeholders.
        key: The key whose value is the whole file; if empty, the file is a JSON object.
    """

    model_config = _STRICT

    path: str
    file: str
    key: str = ""


class Listener(BaseModel):
    """Where the program answers requests without a token."""

    model_config = _STRICT

    url: str = "http://127.0.0.1:${port}"


class Sink(BaseModel):
    """The file into which the program writes a token."""

    model_config = _STRICT

    file: str


class AgentConfig(BaseModel):
    """A program, its files, and the place of its secrets. Texts may have placeholders.

    Attributes:
        command: Program and arguments; no shell is used.
        files: Texts to write into the program's folder before it starts, by name.
        rendered: A read opens the file.
        listener: A read is a request to it.
        sink: A read is a request to Vault with its token.
        auth: Further ways to log in, as in the answer to ``hello``.
    """

    model_config = _STRICT

    command: tuple[str, ...] = Field(min_length=1)
    files: Mapping[str, str] = Field(default_factory=dict)
    rendered: tuple[Rendered, ...] = ()
    listener: Listener | None = None
    sink: Sink | None = None
    auth: tuple[str, ...] = ()
    declares: Mapping[str, float] = Field(default_factory=dict)
    leaves: frozenset[Literal["token", "file"]] = frozenset()
    version: str = ""

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: Mapping[str, str]) -> Mapping[str, str]:
        for name in files:
            if "/" in name or name in {"", ".", ".."}:
                raise ValueError(f"{name!r} is no name of a file: it may have no folder")
        return files

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [bool(self.rendered), self.listener is not None, self.sink is not None]
        if sum(ways) != 1:
            raise ValueError("give one of rendered, listener and sink: that is where a read looks")
        if "file" in self.leaves and not self.rendered:
            raise ValueError(
                "only an agent that renders files can leave one behind: remove file from leaves"
            )
        return self

    def claims(self) -> Hello:
        """Return the claims that follow from the place of its secrets."""
        # A file does not say why it is empty or how old it is.
        words = ["read", "cached"] if self.rendered else ["read", "outcomes"]
        found = claims(words, dict(self.declares), self.auth, self.leaves)
        return replace(found, version=version_of(self.version))


def load_agent(path: Path) -> AgentConfig:
    try:
        written = path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
        table = tomllib.loads(written)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"the configuration of the agent cannot be read: {error}",
            looked_at=str(path),
            remedy=f"name a TOML file; {named('docs', 'how-to/agent')} has one for bao agent, "
            "and names others",
        ) from error
    try:
        config = AgentConfig.model_validate(table)
        config.claims()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        text = first["msg"].removeprefix("Value error, ")
        place = f"{path}:{line_of(written, first['loc'])}" if where else str(path)
        raise _invalid(place, f"{where}: {text}" if where else text) from None
    except HarnessError as error:
        raise _invalid(str(path), error.cause) from error
    return config.model_copy(update={"command": (_program(config, path), *config.command[1:])})


def _invalid(place: str, what: str) -> SettingsError:
    return SettingsError(
        f"the configuration of the agent is not valid: {what}",
        looked_at=place,
        remedy=f"{named('docs', 'how-to/agent')} names every field",
    )


def _program(config: AgentConfig, path: Path) -> str:
    """Find it beside the configuration, on PATH, or in OpenBao's package."""
    word = config.command[0]
    if "/" in word:
        found = shutil.which(str(path.absolute().parent / word))
    else:
        found = shutil.which(word)
        if found is None and word == "bao":
            found = str(find_vault(Settings()).path)
    if found is None:
        raise SettingsError(
            f"the agent's program {word!r} is not there, or may not be executed",
            looked_at=f"PATH, and {path.absolute().parent}",
            remedy="install it, or name its file, relative to the configuration",
        )
    return found


class Placeholders:
    """Fills in values that are known only at the start: ``${port}``, ``${VAULT_ADDR}``."""

    def __init__(self, known: Mapping[str, str], looked_at: str) -> None:
        self._known = known
        self._looked_at = looked_at

    def fill(self, text: str) -> str:
        try:
            return string.Template(text).substitute(self._known)
        except KeyError as error:
            cause = f"there is no placeholder ${{{error.args[0]}}}"
        except ValueError as error:
            cause = f"a placeholder is broken: {error}"
        raise SettingsError(
            cause,
            looked_at=self._looked_at,
            remedy=f"known are {', '.join(sorted(self._known))}; write $$ for a dollar sign",
        )


def secret_in(text: str, key: str, rendered: Rendered) -> str | None:
    """Return None if the file lacks the key."""
    if rendered.key:
        return text if rendered.key == key else None
    found: Any = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    value = found.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"the value of {key} is no string")
    return value
