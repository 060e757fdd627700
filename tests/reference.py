"""Write the pages of docs/reference that are generated: ``python -m tests.reference``."""

from __future__ import annotations

import importlib
import os
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import AliasChoices

from tests.mutants.catalogue import CATALOGUE
from vault_harness import files
from vault_harness.cli.command import GROUPS, Command, example, usage
from vault_harness.cli.program import _in_order, _meaning, _spelled
from vault_harness.cli.tasks import by_name
from vault_harness.errors import RUNNER_VARIABLE
from vault_harness.judge.catalogue import Entry, load
from vault_harness.judge.report import formats
from vault_harness.settings import Settings, scenarios_folder

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
BOUNDS = ROOT / "scenarios" / "bounds.toml"
MADE = "This page is made from code by `python -m tests.reference`."


def reference_pages() -> dict[str, str]:
    makers: dict[str, Callable[[], str]] = {
        "tasks.md": _tasks,
        "settings.md": _settings,
        "catalogue.md": _catalogue,
        "bounds.md": _bounds,
        "formats.md": _formats,
    }
    before = os.environ.get(RUNNER_VARIABLE)
    os.environ[RUNNER_VARIABLE] = "./dev"  # a checkout names its tasks so
    try:
        return {name: f"{make().rstrip()}\n" for name, make in makers.items()}
    finally:
        os.environ.pop(RUNNER_VARIABLE)
        if before is not None:
            os.environ[RUNNER_VARIABLE] = before


def _tasks() -> str:
    opening = (
        f"# Tasks\n\n{MADE} `./dev --help TASK` prints the same. With the package installed,"
        " `./dev TASK` is `vault-harness TASK`."
    )
    parts = [opening]
    tasks = list(dict.fromkeys(by_name().values()))
    for group in GROUPS:
        members = [task for task in tasks if task.group == group]
        parts += [f"## {group.capitalize()}"] if members else []
        parts += [_task(task) for task in members]
    return "\n\n".join(parts)


def _task(task: Command) -> str:
    parts = [f"### {task.shortest}", task.summary, f"```text\n{usage(task)}\n```"]
    parts += [
        f"```text\n{text}\n```" if text.startswith("  ") else text
        for text in task.description.split("\n\n")
        if text
    ]
    rows = [(f"`{_spelled(task, name)}`", _meaning(task, name)) for name in _in_order(task)]
    parts += [_table(("option", "meaning"), rows)] if rows else []
    parts.append("```text\n" + "\n".join(map(example, task.examples)) + "\n```")
    return "\n\n".join(parts)


def _settings() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names = alias.choices if isinstance(alias, AliasChoices) else [f"HARNESS_{name.upper()}"]
        default = field.default
        plain = isinstance(default, int | float) or (isinstance(default, str) and default)
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        rows.append((_code(names), f"`{shown}`" if plain else "", str(field.description)))
    return (
        f"# Settings\n\n{MADE} All tasks read these environment variables. An empty variable"
        " counts as not set.\n\n" + _table(("variable", "default", "meaning"), rows)
    )


def _catalogue() -> str:
    entries = load(scenarios_folder() / "catalogue.toml").values()
    opening = (
        f"# Catalogue of scenarios\n\n{MADE} Each scenario asks a client to keep one promise."
        " A client that does not claim what the third column names skips the scenario."
        " [Coverage](../coverage.md) has the incidents and the broken clients behind each one."
        " [Bounds](bounds.md) has the numbers. A token lives for 20 s and a deadline is 2 s where"
        " the last column says nothing else."
    )
    topics = [(one["build"], _spans(one["scenarios"])) for one in _judging()["topic"]]
    parts = [opening, "## By what you build", _table(("you build", "asked by"), topics)]
    for group in sorted({entry.id.partition("-")[0] for entry in entries}):
        rows = []
        for one in (each for each in entries if each.id.partition("-")[0] == group):
            claims = sorted({*one.needs, *one.declares} - {"read"})
            claims += [one.auth] if one.auth != "approle" else []
            claims += ["namespace"] if one.namespace else []
            rows.append((f"`{one.id}`", one.promise, _code(claims), one.severity, _times(one)))
        head = ("scenario", "promise", "claims", "severity", "times")
        parts.append(f"## {group}\n\n{_table(head, rows)}")
    return "\n\n".join(parts)


def _times(entry: Entry) -> str:
    """Return the times of a scenario that differ from the defaults."""
    usual = Entry.model_fields
    named = {"ttl": "token", "max_ttl": "max TTL", "deadline": "deadline"}
    named |= {"lease_ttl": "lease", "lease_max_ttl": "its max TTL", "rotation_period": "rotation"}
    return ", ".join(
        f"{word} {seconds / 3600:g} h" if seconds >= 36_000 else f"{word} {seconds:g} s"
        for name, word in named.items()
        if (seconds := getattr(entry, name)) != usual[name].default
    )


def _judging() -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads(BOUNDS.read_text(encoding="utf-8"))


def _bounds() -> str:
    data = _judging()
    opening = (
        f"# Bounds\n\n{MADE} Its data are in `scenarios/bounds.toml`."
        " [How a client is judged](../judging.md) has the principles behind the numbers."
        " T is the token's TTL, D the client's deadline, R its refresh time, B its longest pause,"
        " and *recovery* the [time for a recovery](../explanation/times.md#recovery)."
    )
    constants = [
        (one["meaning"], f"{_value(one['of'])} {one['unit']}", f"`{_short(one['of'])}`")
        for one in data["constant"]
    ]
    about_bounds = (
        "Each bound has two clients in `tests/mutants`. The first just keeps the bound and must"
        " pass. The second just misses it and must fail. They are further apart than the slack."
    )
    about_notes = "What a scenario grants, and what it asks beside its promise."
    parts = [
        opening,
        "## Numbers in all scenarios",
        _table(("what", "value", "in code"), constants),
    ]
    parts += ["## Bounds with a client on both sides", about_bounds]
    for group in dict.fromkeys(one["group"] for one in data["bound"]):
        rows = [_bound(one) for one in data["bound"] if one["group"] == group]
        head = ("bound", "asked by", "just kept", "just missed", "reason")
        parts.append(f"### {group}\n\n{_table(head, rows)}")
    parts += ["## Single scenarios", about_notes]
    scenarios = load(scenarios_folder() / "catalogue.toml")
    for group in sorted({entry.group for entry in scenarios.values()}):
        notes = [
            (f"`{one}`", " ".join(n["text"] for n in data["note"] if one in n["scenarios"]))
            for one in sorted(scenarios)
            if scenarios[one].group == group
        ]
        if told := [note for note in notes if note[1]]:
            parts.append(f"### {group}\n\n{_table(('scenario', 'what it grants and asks'), told)}")
    return "\n\n".join(parts)


def _spans(ids: list[str]) -> str:
    """Write ids of scenarios; three or more in a row become ``TOK-11 to TOK-13``."""
    spans: list[list[str]] = []
    for one in ids:
        group, _, number = one.partition("-")
        if spans and spans[-1][-1] == f"{group}-{int(number) - 1:02}":
            spans[-1].append(one)
        else:
            spans.append([one])
    return ", ".join(
        f"{span[0]} to {span[-1]}" if len(span) > 2 else ", ".join(span) for span in spans
    )


def _short(name: str) -> str:
    """Leave out the packages that all these numbers share."""
    return name.removeprefix("vault_harness.judge.")


def _value(name: str) -> str:
    """Look up a number of the harness by its module and its name."""
    module, _, constant = name.rpartition(".")
    return f"{getattr(importlib.import_module(module), constant):g}"


def _bound(one: dict[str, Any]) -> tuple[str, ...]:
    kept = "; ".join(_side(side["kept"], side["kept_by"]) for side in one["sides"])
    missed = "; ".join(_side(side["missed"], side["missed_by"]) for side in one["sides"])
    asking = {CATALOGUE[side["missed_by"]].scenario for side in one["sides"]}
    return (one["what"], _spans(sorted(asking)), kept, missed, one["why"])


def _side(value: str, client: str) -> str:
    name = "the correct client" if client == "unbroken" else f"`{client}`"
    return f"{value} ({name})" if value else name


def _formats() -> str:
    models = (formats.Score, formats.Judged, formats.Journal, formats.Scenario, formats.Finding)
    opening = (
        f"# Formats\n\n{MADE} A run leaves `score.json` ([schema](../formats/score.schema.json))"
        " and `journal.json` ([schema](../formats/journal.schema.json)). The number in"
        " `schema_version` grows when a field goes or changes its meaning. New fields may come at"
        " any time."
    )
    parts = [opening]
    for model in (*models, formats.Client, formats.Surroundings):
        text = " ".join((model.__doc__ or "").replace("``", "`").split())
        fields = model.model_json_schema()["properties"]
        rows = [
            (f"`{name}`", _kind(one), one.get("description", "")) for name, one in fields.items()
        ]
        table = _table(("field", "type", "meaning"), rows)
        parts.append(f"## {model.__name__}\n\n{text}\n\n{table}")
    return "\n\n".join(parts)


def _kind(schema: dict[str, Any]) -> str:
    """Return the name of a field's type in its JSON Schema."""
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    inner = schema.get("items") or schema.get("additionalProperties")
    of = f" of {_kind(inner)}" if isinstance(inner, dict) and inner else ""
    return str(schema.get("type", "any")) + of


def _code(words: Iterable[object]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    cells = [[" ".join(cell.split()).replace("|", r"\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


if __name__ == "__main__":
    for page, text in reference_pages().items():
        files.write_text(FOLDER / page, text)
