"""The scenarios' data: ids, promises, severities, sources, and the times each one plays with."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from harness.errors import SettingsError

Severity = Literal["critical", "high", "medium", "low"]
_SEVERITIES = ("critical", "high", "medium", "low")


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
            remedy="Compare with another entry; harness.scenario.catalogue.Entry names the fields",
        )

    if not isinstance(table, dict):
        raise wrong("is not a table")
    known = {f.name for f in fields(Entry)} - {"id"}
    if unknown := sorted(set(table) - known):
        raise wrong(f"unknown field {unknown[0]}")
    if missing := sorted({"promise", "severity", "source"} - set(table)):
        raise wrong(f"field {missing[0]} is missing")
    if table["severity"] not in _SEVERITIES:
        raise wrong(f"severity must be one of {', '.join(_SEVERITIES)}")
    values: dict[str, Any] = {
        key: frozenset(value) if isinstance(value, list) else value for key, value in table.items()
    }
    return Entry(id=name, **values)
