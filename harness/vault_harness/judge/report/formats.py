"""Define the files that a run leaves: their fields, versions and JSON Schemas.

``python -m vault_harness.judge.report.formats FOLDER`` writes the JSON Schemas.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vault_harness import files

SCHEMA_VERSION: Literal[2] = 2
"""Raised when a field is removed or changes its meaning, not for new fields."""

Word = Literal["pass", "fail", "flaky", "not exercised", "skipped", "error"]
Severity = Literal["critical", "high", "medium", "low"]
Grade = Literal["A+", "A", "B", "C", "D", "F"]


def suite_version() -> str:
    """Verdicts can be compared only within one version."""
    return metadata.version("vault-harness")


def release(version: str) -> str:
    """Return the part of a version that changes when the questions do: ``0.2`` of ``0.2.1``."""
    return ".".join(version.split(".")[:2])


class _Format(BaseModel):
    model_config = ConfigDict(extra="allow")


class Client(_Format):
    """The judged client."""

    subject: str = Field(description="What was given as --subject")
    version: str = Field(default="", description="What it says of its own version, if it does")
    capabilities: list[str] = Field(default=[], description="What it claims, in order")
    declares: dict[str, float] = Field(default={}, description="Times that it declares, in seconds")


class Surroundings(_Format):
    """The server, engine and machine of a run."""

    server: str = Field(description="Product and version, such as openbao 2.7.2")
    engine: str = Field(description="What ran the servers: process, docker, external")
    wire: str = Field(description="How client and server talk, plain, tls or h2")
    machine: str = Field(description="System and architecture, such as Linux x86_64")


class Finding(_Format):
    """A broken promise, or a leaked secret."""

    promise: str
    seen: str
    at: float | None = Field(default=None, description="Seconds since the scenario began")
    harm: bool = Field(default=False, description="Whether others see it: that alone is an F")
    closing: bool = Field(
        default=False,
        description="Whether it was found at the client's end, by what every scenario asks there",
    )


class Scenario(_Format):
    """One scenario of a journal. Times are seconds since it began; secrets are labels."""

    id: str
    promise: str
    severity: Severity
    word: Word = Field(description="The verdict")
    why: str = Field(default="", description="The reason of any verdict but pass, in one line")
    seconds: float
    known: dict[str, str] | None = Field(
        default=None, description="kind (failing, flaky) and reason, where its failure is known"
    )
    forgiven: bool = Field(default=False, description="It is no pass, and fails no run: a SHOULD")
    about_leaks: bool = Field(
        default=False, description="Whether secrets that come out anywhere fail it"
    )
    findings: list[Finding] = Field(default=[], description="Why it is fail")
    leaks: list[Finding] = Field(default=[], description="Secrets that came out in it")
    cannot: dict[str, Any] | None = Field(
        default=None,
        description="why (a reason) and needs (claims): it was skipped for the machine's sake",
    )
    untouched: list[str] = Field(default=[], description="Why it is not exercised")
    evidence: list[str] = Field(default=[], description="How the fault is known to have happened")
    times: dict[str, float] = Field(default={}, description="ttl, max_ttl, deadline, in seconds")
    rate: str = Field(default="", description="Of several runs: how many passed, as 4 of 5")
    confirmation: list[dict[str, Any]] = Field(
        default=[],
        description="word, why, seconds, and why it does not count (too_slow), of each run that "
        "the verdict rests on: the first one, and quiet ones; empty where one run was enough",
    )
    again: str = Field(default="", description="The command that runs it again")
    faults: list[dict[str, Any]] = []
    operations: list[dict[str, Any]] = Field(default=[], description="What the client was asked")
    exchanges: list[dict[str, Any]] = Field(default=[], description="What Vault was asked")
    audit: list[dict[str, Any]] = Field(default=[], description="What Vault's audit log says")


class Journal(_Format):
    """``journal.json``: all that happened in a run."""

    schema_version: Literal[2]
    suite_version: str
    complete: bool = Field(
        description="Whether every scenario that was chosen came to an end, be it an error"
    )
    summary: str = Field(description="The line to paste into a chat")
    subject: str
    product: str = Field(default="", description="The server, with its version")
    engine: str
    client: Client | None = None
    surroundings: Surroundings | None = None
    cores: int | None = Field(default=None, description="Of the machine")
    seconds: float | None = Field(default=None, description="How long the run took")
    shard: str | None = Field(
        default=None,
        pattern=r"^[1-9][0-9]{0,3}/[1-9][0-9]{0,3}$",
        description="Which part of a whole run, such as 2/4",
    )
    planned: dict[str, float] = Field(
        default={}, description="Of a run that has not ended: what it is to run, and for how long"
    )
    wires: list[str] = Field(default=[], description="What was spoken, where it was not plain HTTP")
    left_out: dict[str, str] = Field(
        default={}, description="Scenarios that were not chosen, with their severities"
    )
    leaks_known: bool = Field(
        default=False, description="Whether the row that is about_leaks is known to fail"
    )
    unfinished: list[str] = Field(
        default=[], description="Scenarios that were chosen and did not come to an end"
    )
    code: int | None = Field(default=None, description="The exit code of the run")
    scenarios: list[Scenario]


class Judged(_Format):
    """The part of a scenario that a score keeps: nothing that differs from run to run."""

    verdict: Word
    severity: Severity
    broken: list[str] = Field(default=[], description="The promises that it broke")
    harm: list[str] = Field(default=[], description="Secrets that came out, wrong values")
    cannot: str = Field(
        default="",
        description="Why it was skipped though the client claims all that it takes; else empty",
    )


class Score(_Format):
    """``score.json``: the result of a run, without times, to be committed and compared."""

    schema_version: Literal[2]
    suite_version: str
    complete: bool
    client: Client
    surroundings: Surroundings
    grade: Grade | None = Field(description="None where it cannot be told")
    why: list[str] = Field(
        description="What keeps the grade from being given, the causes that it counts, and what "
        "has no verdict"
    )
    scenarios: dict[str, Judged]


def machine() -> str:
    return f"{platform.system()} {platform.machine()}"


def client_of(subject: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    for record in records:
        if said := record.get("client"):
            return {"subject": subject, **said}
    return {"subject": subject, "version": "", "capabilities": [], "declares": {}}


def surroundings(product: str, engine: str, records: list[dict[str, Any]]) -> dict[str, str]:
    # A scenario about TLS always speaks TLS, so the most common wire is that of the run.
    wires = Counter(str(record["wire"]) for record in records if record.get("wire"))
    return {
        "server": product,
        "engine": engine,
        "wire": max(sorted(wires), key=wires.__getitem__, default="plain"),
        "machine": machine(),
    }


def cores() -> int:
    return os.cpu_count() or 1


def schemas() -> dict[str, str]:
    made: dict[str, type[BaseModel]] = {"journal.schema.json": Journal, "score.schema.json": Score}
    return {
        name: json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                **model.model_json_schema(),
            },
            indent=2,
        )
        + "\n"
        for name, model in made.items()
    }


def main(arguments: list[str]) -> None:
    for name, text in schemas().items():
        files.write_text(Path(arguments[0]) / name, text)


if __name__ == "__main__":
    main(sys.argv[1:])
