"""The scenarios' data: ids, promises, severities, sources, and the times each one plays with."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vault_harness.commands import named
from vault_harness.engine import Capability
from vault_harness.errors import SettingsError
from vault_harness.scenario.durations import load_durations
from vault_harness.subjects import CAPABILITIES, DECLARATIONS

Severity = Literal["critical", "high", "medium", "low"]

Obligation = Literal["MUST", "SHOULD"]
"""Whether a client that breaks a promise fails a run, or is told of it."""

CATALOGUE = "catalogue.toml"
"""Name of the file, which stands beside the scenarios or in a folder above them."""

DEFAULTS = "defaults"
"""Name of the table with what all entries of a catalogue share."""

_ID = re.compile(r"[A-Z][A-Z0-9]{1,9}-\d{2,3}")

_WORDS = {
    "needs": CAPABILITIES,
    "declares": DECLARATIONS,
    "engine_needs": frozenset(str(capability) for capability in Capability),
}

_INCIDENT = re.compile(r"[\w.-]+/[\w.-]+#\d+")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")


class Entry(BaseModel):
    """One scenario of the catalogue.

    Attributes:
        id: Such as ``TOK-11``.
        promise: What a good client does, in one line.
        severity: How bad it is to break that promise.
        source: The bug or the document that the scenario guards against.
        incidents: Further incidents of the same kind, such as ``hashicorp/vault#6837``.
        needs: Capabilities that the subject must claim.
        declares: Times that the subject must declare.
        process: Whether it needs a subject with a process of its own.
        clock: Whether it sets the wall clock of the subject's process.
        named: Whether the subject finds Vault by a name that is led to another address.
        seconds: How long it takes, about, unless it was measured (``durations.json``); long ones
            are started first.
        first: Whether it is among the few that tell most, which are started before all others.
        ttl: The token's TTL, whole seconds: Vault counts no parts of one.
        max_ttl: Its max TTL, whole seconds.
        role: Further parameters of the AppRole.
        deadline: ``VAULT_CLIENT_TIMEOUT`` for the subject, seconds.
        auth: How the subject gets its token; anything but ``approle`` it must claim.
        ids: ``environment`` gives role-id and secret-id by value, ``files`` by file.
        storage: Vault's storage: ``inmem``, ``raft`` where data must survive a restart, or
            ``postgresql`` where the storage itself fails (one node of OpenBao).
        seal: ``transit`` for a Vault that unseals itself with the key of another one, which is
            reached through a proxy of its own.
        server: Further configuration of the server, in its JSON form; for one node only.
        lease_ttl: TTL of a database credential's lease, whole seconds; with one the scenario has a
            PostgreSQL, and the subject's role may ask for users of it. Where `engine_needs` has no
            ``database`` it goes on without, and has one for who claims ``lease``, if there can be.
        lease_max_ttl: Its max TTL, whole seconds.
        nodes: How many servers; three are a raft cluster, and clients are led to its leader.
        direct: Whether the subject is led past Toxiproxy to the recorder: for a crowd, which would
            queue in a proxy, and keep it from the other scenarios that share it.
        links: Whether each node of a cluster reaches the others through a proxy: `lab.link`.
        engine_needs: Capabilities that the engine must have.
        environ: Further environment variables for the subject.
        wire: What is spoken whatever the run asks for: ``tls``, or ``h2`` (TLS that offers HTTP/2).
        namespace: Where in Vault all of it is, with a seal of its own; empty for the root. With one
            the subject must claim ``namespace``.
        leaks: Whether a secret that comes out fails this scenario; others only tell it.
        blueprint: File of what Vault contains; the e-commerce one by default. A relative path is
            one beside the catalogue.
        mount: Mount point of the KV engine.
        approle: Name of the AppRole that the subject logs in with.
        path: The secret that is read by default, below the mount.
        key: Which key of it.
        spare_path: Another secret that the subject may read, which the closing act deletes.
        spare_key: Which key of it.
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

    @field_validator("ttl", "max_ttl", "deadline", "seconds", "lease_ttl", "lease_max_ttl")
    @classmethod
    def _positive(cls, seconds: float | None) -> float | None:
        if seconds is not None and not 0 < seconds < float("inf"):
            raise ValueError("must be a number of seconds above 0")
        return seconds

    @field_validator("ttl", "max_ttl", "lease_ttl", "lease_max_ttl")
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
        """What the subject must claim: capabilities, its way in, and a namespace if it has one."""
        namespace = {"namespace"} if self.namespace else set()
        return self.needs | ({self.auth} - {"approle"}) | namespace

    @property
    def needs_postgresql(self) -> bool:
        """Whether it is nothing without a PostgreSQL: for its leases, or as Vault's storage."""
        return "database" in self.engine_needs or self.storage == "postgresql"

    @property
    def group(self) -> str:
        """The letters of its id."""
        return self.id.split("-")[0]

    @property
    def all_incidents(self) -> tuple[str, ...]:
        """Those that its source names, and the further ones."""
        return tuple(dict.fromkeys([*_INCIDENT.findall(self.source), *self.incidents]))

    @property
    def obligation(self) -> Obligation:
        """``MUST`` for what is critical or high, ``SHOULD`` for the rest."""
        return "MUST" if self.severity in ("critical", "high") else "SHOULD"

    @property
    def shortest_life(self) -> float:
        """Seconds that a token lives, or a lease, if that is less: timers are made for both."""
        return self.ttl if self.lease_ttl is None else min(self.ttl, self.lease_ttl)

    def stretched(self, factor: float, least: float) -> Entry:
        """The same with lives that are so many times longer, and further where one is too short.

        Args:
            factor: As for `scaled`.
            least: Seconds that the shortest life has to have: ``min_ttl``.
        """
        entry = self.scaled(factor)
        shortest = entry.shortest_life
        return entry.scaled(least / shortest) if least > shortest else entry

    def scaled(self, factor: float) -> Entry:
        """The same scenario with longer lives, and the waits that follow from them.

        TTL and max TTL, and those among the AppRole's parameters, are multiplied and rounded up to
        whole seconds; times of the client (its deadline) are not.
        """
        if factor == 1.0:
            return self

        def longer(seconds: float) -> float:
            return float(-(-seconds * factor // 1))

        def parameter(name: str, value: Any) -> Any:
            match = _DURATION.fullmatch(value) if isinstance(value, str) else None
            return f"{longer(float(match[1])):g}s" if match and name.startswith("token_") else value

        return self.model_copy(
            update={
                "ttl": longer(self.ttl),
                "max_ttl": longer(self.max_ttl),
                "lease_ttl": None if self.lease_ttl is None else longer(self.lease_ttl),
                "lease_max_ttl": longer(self.lease_max_ttl),
                "seconds": self.seconds * factor,
                "role": {name: parameter(name, value) for name, value in self.role.items()},
            }
        )


def find_catalogue(beside: Path) -> Path:
    """The catalogue of a file of scenarios: beside it, or in the nearest folder above.

    Raises:
        SettingsError: There is none.
    """
    for folder in beside.resolve().parents:
        if (folder / CATALOGUE).is_file():
            return folder / CATALOGUE
    raise SettingsError(
        f"there is no {CATALOGUE} for the scenarios of this file",
        looked_at=f"the folder of {beside} and those above it",
        remedy=f"write a {CATALOGUE} beside it, with a table for each id",
    )


def load(path: Path) -> dict[str, Entry]:
    """Read a catalogue.

    Raises:
        SettingsError: It is not a valid catalogue; the cause names the scenario and the field.
            Nothing of it is used then.
    """
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
