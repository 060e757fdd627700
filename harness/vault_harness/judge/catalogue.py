"""The scenarios' data."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vault_harness.errors import SettingsError, named
from vault_harness.judge.subjects import CAPABILITIES, DECLARATIONS
from vault_harness.local.engine.shape import Capability

Severity = Literal["critical", "high", "medium", "low"]

Obligation = Literal["MUST", "SHOULD"]
"""Whether a broken promise fails the run or is only reported."""

CATALOGUE = "catalogue.toml"

DEFAULTS = "defaults"
"""The table with fields that all entries share."""

_ID = re.compile(r"[A-Z][A-Z0-9]{1,9}-\d{2,3}")

_WORDS = {
    "needs": CAPABILITIES,
    "declares": DECLARATIONS,
    "engine_needs": frozenset(str(capability) for capability in Capability),
}

_INCIDENT = re.compile(r"[\w.-]+/[\w.-]+#\d+")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")


class Entry(BaseModel):
    """One scenario of the catalogue. Times are in seconds; TTLs must be whole, as Vault truncates.

    Attributes:
        incidents: Further ones, such as ``hashicorp/vault#6837``.
        needs: Capabilities that the subject must claim.
        process: Whether the subject must be a process of its own.
        clock: Whether the scenario sets the wall clock of the subject's process.
        named: Whether the subject finds Vault by a host name that moves.
        seconds: Approximate duration, unless ``durations.json`` has it. Long scenarios start first.
        first: Whether it starts before all others, because it tells most.
        ttl: The token's, like `max_ttl`.
        auth: How the subject logs in. It must claim any way except ``approle``.
        ids: How role-id and secret-id are given: ``environment`` has the values, ``files`` the
            paths.
        storage: ``raft`` if data must survive a restart, ``postgresql`` if the storage itself fails
            (one node of OpenBao).
        seal: ``transit`` if another Vault, behind its own proxy, unseals this one.
        server: Further configuration of the server, in its JSON form; for one node only.
        lease_ttl: TTL of a database credential's lease. With it the scenario has a PostgreSQL. If
            `engine_needs` lacks ``database``, only a subject that claims ``lease`` gets it.
        rotation_period: Time between rotations of a static role's password, at least 5. With it the
            scenario has a PostgreSQL with two static roles.
        nodes: Three are a raft cluster, and clients reach its leader.
        direct: Whether the subject bypasses Toxiproxy, in which many clients would queue.
        wire: ``tls``, or ``h2`` (TLS that offers HTTP/2), whatever the run asks for.
        namespace: Vault namespace, with its own seal; empty for the root. With one, the subject
            must claim ``namespace``.
        leaks: Whether a leaked secret fails this scenario; others only report it.
        blueprint: File relative to the catalogue; by default the e-commerce platform's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    promise: str
    severity: Severity
    source: str
    incidents: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset({"read"})
    declares: frozenset[str] = frozenset()
    process: bool = False
    clock: bool = False
    named: bool = False
    seconds: float = 10.0
    first: bool = False
    ttl: float = 20.0
    max_ttl: float = 600.0
    role: Mapping[str, Any] = Field(default_factory=dict)
    deadline: float = 2.0
    auth: Literal["approle", "jwt", "token-file", "wrapped-secret-id"] = "approle"
    ids: Literal["environment", "files"] = "environment"
    storage: Literal["inmem", "raft", "postgresql"] = "inmem"
    seal: Literal["shamir", "transit"] = "shamir"
    server: Mapping[str, Any] = Field(default_factory=dict)
    lease_ttl: float | None = None
    lease_max_ttl: float = 600.0
    rotation_period: float | None = None
    nodes: Literal[1, 3] = 1
    direct: bool = False
    links: bool = False
    engine_needs: frozenset[str] = frozenset()
    environ: Mapping[str, str] = Field(default_factory=dict)
    wire: Literal["tls", "h2"] | None = None
    namespace: str = ""
    leaks: bool = False
    blueprint: Path | None = None
    mount: str = "ecommerce"
    approle: str = "backend"
    path: str = "backend/django"
    key: str = "SECRET_KEY"
    spare_path: str = "shared/email"
    spare_key: str = "EMAIL_HOST_PASSWORD"

    @field_validator("id")
    @classmethod
    def _id(cls, text: str) -> str:
        if not _ID.fullmatch(text):
            raise ValueError("an id is a group and a number, such as TOK-11")
        return text

    @field_validator("incidents")
    @classmethod
    def _incidents(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            if not _INCIDENT.fullmatch(one):
                raise ValueError(f"{one} names no incident; one is such as hashicorp/vault#6837")
        return given

    @field_validator(
        *("ttl", "max_ttl", "deadline", "seconds", "lease_ttl", "lease_max_ttl", "rotation_period")
    )
    @classmethod
    def _positive(cls, seconds: float | None) -> float | None:
        if seconds is not None and not 0 < seconds < float("inf"):
            raise ValueError("must be a number of seconds above 0")
        return seconds

    @field_validator("ttl", "max_ttl", "lease_ttl", "lease_max_ttl", "rotation_period")
    @classmethod
    def _whole(cls, seconds: float | None) -> float | None:
        if seconds is not None and seconds != int(seconds):
            raise ValueError("must be whole seconds: Vault cuts off the rest")
        return seconds

    @field_validator(*_WORDS)
    @classmethod
    def _known(cls, words: frozenset[str], info: Any) -> frozenset[str]:
        known = _WORDS[info.field_name]
        if foreign := sorted(words - known):
            raise ValueError(f"there is no {foreign[0]}, only {', '.join(sorted(known))}")
        return words

    @property
    def asks_for(self) -> frozenset[str]:
        namespace = {"namespace"} if self.namespace else set()
        return self.needs | ({self.auth} - {"approle"}) | namespace

    @property
    def logs_in(self) -> bool:
        """Return whether the subject hands out credentials of a database."""
        return self.lease_ttl is not None or self.rotation_period is not None

    @property
    def needs_postgresql(self) -> bool:
        return "database" in self.engine_needs or self.storage == "postgresql"

    @property
    def group(self) -> str:
        return self.id.split("-")[0]

    @property
    def all_incidents(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*_INCIDENT.findall(self.source), *self.incidents]))

    @property
    def obligation(self) -> Obligation:
        return "MUST" if self.severity in ("critical", "high") else "SHOULD"

    @property
    def shortest_life(self) -> float:
        """In seconds, of a token, a lease or a password."""
        lives = (self.ttl, self.lease_ttl, self.rotation_period)
        return min(life for life in lives if life is not None)

    def stretched(self, factor: float, least: float) -> Entry:
        """Return the entry `scaled`, with its shortest life at least `least` seconds long."""
        entry = self.scaled(factor)
        shortest = entry.shortest_life
        return entry.scaled(least / shortest) if least > shortest else entry

    def scaled(self, factor: float) -> Entry:
        """Multiply TTLs and max TTLs, rounded up to whole seconds, and no times of the client."""
        if factor == 1.0:
            return self

        def longer(seconds: float) -> float:
            return float(-(-seconds * factor // 1))

        def longer_if_any(seconds: float | None) -> float | None:
            return None if seconds is None else longer(seconds)

        def parameter(name: str, value: Any) -> Any:
            match = _DURATION.fullmatch(value) if isinstance(value, str) else None
            return f"{longer(float(match[1])):g}s" if match and name.startswith("token_") else value

        return self.model_copy(
            update={
                "ttl": longer(self.ttl),
                "max_ttl": longer(self.max_ttl),
                "lease_ttl": longer_if_any(self.lease_ttl),
                "lease_max_ttl": longer(self.lease_max_ttl),
                "rotation_period": longer_if_any(self.rotation_period),
                "seconds": self.seconds * factor,
                "role": {name: parameter(name, value) for name, value in self.role.items()},
            }
        )


def find_catalogue(beside: Path) -> Path:
    """Look beside a file of scenarios, and in the folders above."""
    for folder in beside.resolve().parents:
        if (folder / CATALOGUE).is_file():
            return folder / CATALOGUE
    raise SettingsError(
        f"there is no {CATALOGUE} for the scenarios of this file",
        looked_at=f"the folder of {beside} and those above it",
        remedy=f"write a {CATALOGUE} beside it, with a table for each id",
    )


def load(path: Path) -> dict[str, Entry]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"The catalogue cannot be read: {error}", looked_at=str(path)
        ) from error
    shared = tables.pop(DEFAULTS, {})
    entries = {name: _entry(path, name, shared, table) for name, table in tables.items()}
    took = load_durations(path)
    return {
        name: entry.model_copy(update={"seconds": took[name]}) if name in took else entry
        for name, entry in entries.items()
    }


def _entry(path: Path, name: str, shared: object, table: object) -> Entry:
    def wrong(what: str) -> SettingsError:
        return SettingsError(
            f"{name}: {what}",
            looked_at=str(path),
            remedy=f"Compare with another entry; {named('docs', 'scenarios')} names the fields",
        )

    if not isinstance(table, dict) or not isinstance(shared, dict):
        raise wrong("is not a table")
    given = {**shared, **table}
    if "id" in given:
        raise wrong("unknown field id: the table's name is the id")
    if isinstance(file := given.get("blueprint"), str):
        given["blueprint"] = path.parent / file
    try:
        return Entry.model_validate({"id": name, **given})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field, text = first["loc"][0], first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            raise wrong(f"field {field} is missing") from None
        if first["type"] == "extra_forbidden":
            raise wrong(f"unknown field {field}") from None
        raise wrong(text if field == "id" else f"field {field}: {text}") from None


DURATIONS = "durations.json"

DIGITS = 4


def load_durations(catalogue: Path) -> dict[str, float]:
    path = catalogue.with_name(DURATIONS)
    if not path.is_file():
        return {}
    try:
        found = {name: float(seconds) for name, seconds in json.loads(path.read_text()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise _wrong(path, f"the durations cannot be read: {error}") from error
    if wrong := sorted(name for name, seconds in found.items() if not 0 < seconds < float("inf")):
        raise _wrong(path, f"{wrong[0]} takes no number of seconds above 0")
    return found


def shard(seconds: Mapping[str, float], number: int, of: int) -> frozenset[str]:
    """Return the scenarios of part `number`, from 1. The same table always gives the same parts."""
    parts: list[tuple[float, int, list[str]]] = [(0.0, n, []) for n in range(1, of + 1)]
    for name in sorted(seconds, key=lambda name: (-seconds[name], name)):
        least = min(parts, key=lambda part: part[:2])
        parts[least[1] - 1] = (least[0] + seconds[name], least[1], [*least[2], name])
    return frozenset(parts[number - 1][2])


def parse_shard(text: str) -> tuple[int, int] | None:
    """Parse ``2/4``; return None for an empty text."""
    if not text:
        return None
    number, slash, of = text.partition("/")
    digits = slash and number.isdecimal() and of.isdecimal() and len(of) <= DIGITS
    if digits and len(number) <= DIGITS and 1 <= int(number) <= int(of):
        return int(number), int(of)
    raise SettingsError(
        f"--shard {text} does not make sense",
        looked_at="the command line and the configuration file",
        remedy="Give the part and how many there are: 1/4, 2/4, 3/4, 4/4",
    )


def _wrong(path: Path, cause: str) -> SettingsError:
    return SettingsError(
        cause,
        looked_at=str(path),
        remedy="make it again from the journal of a run: "
        f"python -m vault_harness.judge.report.durations JOURNAL {path}",
    )
