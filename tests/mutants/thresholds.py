"""Every number that a verdict turns on, as it stands in the code: found, not listed by hand.

What the two sides of each are is written in ``thresholds.toml`` beside this file: a client that
just keeps it and one that just misses it, or why there are none.
"""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType

from tests.mutants.comparisons import comparisons, judgements
from tests.mutants.reading import assigned, is_number, reached, scenario_of

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).with_suffix(".toml")
SCENARIOS = ROOT / "scenarios"
MACHINERY = ROOT / "harness" / "vault_harness" / "scenario"
ORACLES = MACHINERY / "oracles"

JUDGES = frozenset(
    {
        *("_heartbeat", "_leaks", "_running", "closing", "conditions", "driver", "helpers"),
        *("herd", "history", "lab", "leases", "moving", "observations", "run", "vacuity"),
        *("verdict",),
    }
)
"""Modules beside the oracles that say what is too late or too much; the others start and listen."""

UNBROKEN = "unbroken"
"""In place of a client's name: the correct client that the mutants of a scenario deviate from."""

NO_BOUNDS = frozenset({"since", "until", "before", "watched", "seen"})
"""Numbers that an oracle is given, and that are no bound: moments, and what was counted."""


@dataclass(frozen=True)
class Pair:
    """What stands on both sides of some thresholds, or why nothing does.

    Attributes:
        of: Patterns of thresholds, as `scenario_thresholds` and `constants` write them.
        kept: A client of `TOLERATED` that just keeps it; `UNBROKEN` where the correct client itself
            makes as many as are granted, and passes.
        missed: A mutant that just misses it.
        why: Why there is no such pair.
    """

    of: Sequence[str]
    kept: str = ""
    missed: str = ""
    why: str = ""

    def about(self, threshold: str) -> bool:
        """Whether it is about this one."""
        return any(fnmatchcase(threshold, pattern) for pattern in self.of)


def written(path: Path = DATA) -> list[Pair]:
    """The pairs and the reasons, as the file has them."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["threshold"]
    return [Pair(**entry) for entry in entries]


def all_thresholds(oracles: ModuleType) -> set[str]:
    """Every threshold of the suite: of scenarios, of oracles, and of what runs them."""
    found = set(defaults(oracles))
    modules = [("oracles", path) for path in sorted(ORACLES.glob("*.py"))]
    modules += [(name.strip("_"), path) for name in sorted(JUDGES) for path in files_of(name)]
    for where, path in modules:
        source = path.read_text(encoding="utf-8")
        found |= {*constants(where, source), *judgements(where, source)}
    for path in sorted(SCENARIOS.glob("test_*.py")):
        source = path.read_text(encoding="utf-8")
        found |= set(constants(path.stem.removeprefix("test_").upper(), source))
        found |= set(scenario_thresholds(source, oracles))
        found |= set(comparisons(source))
    return found


def files_of(name: str) -> list[Path]:
    """A module's file, or those of a package."""
    folder = MACHINERY / name
    return sorted(folder.glob("*.py")) if folder.is_dir() else [MACHINERY / f"{name}.py"]


def constants(where: str, source: str) -> Iterator[str]:
    """``oracles STORM_PEAK = 5``, ``NET SPARE = 6``: numbers that a module has at its top."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            for name, value in assigned(node):
                if is_number(value):
                    yield f"{where} {name} = {ast.unparse(value)}"


def defaults(oracles: ModuleType) -> Iterator[str]:
    """``oracles replaced_before_the_end.at_least = 1``: bounds that hold where none is given."""
    for name in oracles.__all__:
        factory = getattr(oracles, name)
        if not inspect.isfunction(factory):
            continue
        for one in inspect.signature(factory).parameters.values():
            number = isinstance(one.default, int | float) and not isinstance(one.default, bool)
            if one.annotation in ("int", "float") and number and one.name not in NO_BOUNDS:
                yield f"oracles {name}.{one.name} = {one.default}"


def scenario_thresholds(source: str, oracles: ModuleType) -> Iterator[str]:
    """``TOK-01 renews_within.low = 0.3``: bounds that one file's scenarios give to oracles.

    What a function that is no scenario gives belongs to each scenario that comes to it.

    Args:
        source: The file.
        oracles: Where the oracles come from; their signatures say which arguments are bounds.
    """
    module = ast.parse(source)
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    for function in functions.values():
        if scenario := scenario_of(function):
            for one in reached(function, functions):
                named = _named(one)
                for call in (node for node in ast.walk(one) if isinstance(node, ast.Call)):
                    for name, value in _bounds(call, oracles):
                        text = ast.unparse(value)
                        yield f"{scenario} {name} = {named.get(text, text)}"


def _named(function: ast.FunctionDef) -> dict[str, str]:
    """What the names that a function sets once stand for: ``bound`` for ``5.0``."""
    nodes = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    pairs = [(name, ast.unparse(value)) for node in nodes for name, value in assigned(node)]
    return {name: value for name, value in pairs if sum(name == one for one, _ in pairs) == 1}


def _bounds(call: ast.Call, oracles: ModuleType) -> Iterator[tuple[str, ast.expr]]:
    """The bounds among a call's arguments, with their names."""
    if isinstance(call.func, ast.Name) and hasattr(oracles, call.func.id):
        factory = getattr(oracles, call.func.id)
        parameters = inspect.signature(factory).parameters
        plain = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        given = [*zip(plain, call.args, strict=False)]
        given += [(one.arg, one.value) for one in call.keywords if one.arg]
        for name, value in given:
            numeric = parameters[name].annotation in ("int", "float")
            if numeric and name not in NO_BOUNDS:
                yield f"{call.func.id}.{name}", value
    elif isinstance(call.func, ast.Name) or ast.unparse(call.func).startswith("lab."):
        for keyword in call.keywords:
            if keyword.arg == "within":  # of the lab's own verbs, and of helpers
                yield f"{ast.unparse(call.func)}.within", keyword.value
