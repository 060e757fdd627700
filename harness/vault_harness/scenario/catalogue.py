"""The scenarios' data: ids, promises, severities, sources, and the times each one plays with."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from vault_harness.engine import Capability
from vault_harness.errors import SettingsError
from vault_harness.subjects import CAPABILITIES, DECLARATIONS

Severity = Literal["critical", "high", "medium", "low"]

_ID = re.compile(r"[A-Z]{2,5}-\d{2}")

_WORDS = {
    "needs": CAPABILITIES,
    "declares": DECLARATIONS,
    "engine_needs": frozenset(str(capability) for capability in Capability),
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One scenario of the catalogue.

    Attributes:
        id: Such as ``TOK-11``.
        promise: What a good client does, in one line.
        severity: How bad it is to break that promise.
        source: The bug or the document that the scenario guards against.
        needs: Capabilities that the subject must claim.
        declares: Times that the subject must declare.
        process: Whether it needs a subject with a process of its own.
        seconds: How long it takes, about; long ones are started first.
        ttl: The token's TTL, seconds.
        max_ttl: Its max TTL, seconds.
        role: Further parameters of the AppRole.
        deadline: ``VAULT_CLIENT_TIMEOUT`` for the subject, seconds.
        ids: ``environment`` gives role-id and secret-id by value, ``files`` by file.
        storage: Vault's storage: ``inmem``, or ``raft`` where data must survive a restart.
        engine_needs: Capabilities that the engine must have.
        environ: Further environment variables for the subject.
    """

    id: str
    promise: str
    severity: Severity
    source: str
    needs: frozenset[str] = frozenset({"read"})
    declares: frozenset[str] = frozenset()
    process: bool = False
    seconds: float = 10.0
    ttl: float = 20.0
    max_ttl: float = 600.0
    role: Mapping[str, Any] = field(default_factory=dict)
    deadline: float = 2.0
    ids: Literal["environment", "files"] = "environment"
    storage: Literal["inmem", "raft"] = "inmem"
    engine_needs: frozenset[str] = frozenset()
    environ: Mapping[str, str] = field(default_factory=dict)


def load(path: Path) -> dict[str, Entry]:
    """Read a catalogue.

    Raises:
        SettingsError: It is no valid catalogue; the cause names the scenario and the field.
            Nothing of it is used then.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"The catalogue cannot be read: {error}", looked_at=str(path)
        ) from error
    return {name: _entry(path, name, table) for name, table in tables.items()}


def _entry(path: Path, name: str, table: object) -> Entry:
    def wrong(what: str) -> SettingsError:
        return SettingsError(
            f"{name}: {what}",
            looked_at=str(path),
            remedy="Compare with another entry; vault_harness.scenario.catalogue.Entry names the "
            "fields",
        )

    if not _ID.fullmatch(name):
        raise wrong("an id is a group and a number, such as TOK-11")
    if not isinstance(table, dict):
        raise wrong("is not a table")
    known = {f.name for f in fields(Entry)} - {"id"}
    if unknown := sorted(set(table) - known):
        raise wrong(f"unknown field {unknown[0]}")
    if missing := sorted({"promise", "severity", "source"} - set(table)):
        raise wrong(f"field {missing[0]} is missing")
    try:
        entry = TypeAdapter(Entry).validate_python({"id": name, **table})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise wrong(f"field {first['loc'][0]}: {first['msg']}") from None
    for field_name, words in _WORDS.items():
        if foreign := sorted(getattr(entry, field_name) - words):
            raise wrong(
                f"field {field_name}: there is no {foreign[0]}, only {', '.join(sorted(words))}"
            )
    for field_name in ("ttl", "max_ttl", "deadline", "seconds"):
        if not 0 < getattr(entry, field_name) < float("inf"):
            raise wrong(f"field {field_name}: must be a number of seconds above 0")
    return entry
