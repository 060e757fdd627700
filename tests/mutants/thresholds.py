"""Every number that decides a verdict, found in the code rather than listed.

``scenarios/bounds.toml`` has a client that just keeps each and one that just misses it.
``thresholds.toml`` has a reason for each number without such clients.
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
HARNESS = ROOT / "harness" / "vault_harness"
JUDGE, RECORDER = HARNESS / "judge", HARNESS / "recorder"
ORACLES = JUDGE / "oracles"

JUDGES = frozenset(
    {
        *("logs", "running", "closing", "conditions", "confirmation", "driver", "helpers"),
        *("history", "lab", "leases", "observations", "run"),
        *("static", "verdict"),
    }
)
"""They decide what is too late or too much."""

UNBROKEN = "unbroken"
"""The correct client behind a scenario's mutants."""

NO_BOUNDS = frozenset({"since", "until", "before", "watched", "seen"})
"""Arguments of oracles that are no bounds: moments and counts."""


@dataclass(frozen=True)
class Pair:
    """The clients on both sides of some thresholds, or a reason.

    Attributes:
        of: Patterns of thresholds, as `scenario_thresholds` and `constants` write them.
        kept: One of `TOLERATED`; `UNBROKEN` if the correct client uses all that is allowed.
        missed: A mutant.
        why: Why there is no such pair.
    """

    of: Sequence[str]
    kept: str = ""
    missed: str = ""
    why: str = ""

    def about(self, threshold: str) -> bool:
        return any(fnmatchcase(threshold, pattern) for pattern in self.of)


def written() -> list[Pair]:
    bounds = tomllib.loads((SCENARIOS / "bounds.toml").read_text(encoding="utf-8"))["bound"]
    sides = [side for bound in bounds for side in bound["sides"]]
    pairs = [Pair(side["of"], side["kept_by"], side["missed_by"]) for side in sides]
    reasons = tomllib.loads(DATA.read_text(encoding="utf-8"))["threshold"]
    return pairs + [Pair(**reason) for reason in reasons]


def all_thresholds(oracles: ModuleType) -> set[str]:
    """Return the thresholds of scenarios, of oracles, and of the lab."""
    found = set(defaults(oracles))
    modules = [("oracles", path) for path in sorted(ORACLES.glob("*.py"))]
    modules += [(name, path) for name in sorted(JUDGES) for path in files_of(name)]
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
    """Return a module's file, or those of a package."""
    if (JUDGE / name).is_dir():
        return sorted((JUDGE / name).glob("*.py"))
    return [path for room in (JUDGE, RECORDER) if (path := room / f"{name}.py").is_file()]


def constants(where: str, source: str) -> Iterator[str]:
    """Yield a module's numbers: ``oracles STORM_PEAK = 5``, ``NET SPARE = 6``."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            for name, value in assigned(node):
                if is_number(value):
                    yield f"{where} {name} = {ast.unparse(value)}"


def defaults(oracles: ModuleType) -> Iterator[str]:
    """Yield oracles' defaults: ``oracles replaced_before_the_end.at_least = 1``."""
    for name in oracles.__all__:
        factory = getattr(oracles, name)
        if not inspect.isfunction(factory):
            continue
        for one in inspect.signature(factory).parameters.values():
            number = isinstance(one.default, int | float) and not isinstance(one.default, bool)
            if one.annotation in ("int", "float") and number and one.name not in NO_BOUNDS:
                yield f"oracles {name}.{one.name} = {one.default}"


def scenario_thresholds(source: str, oracles: ModuleType) -> Iterator[str]:
    """Yield the bounds that scenarios give to oracles: ``TOK-01 renews_within.low = 0.3``.

    A helper function's bounds belong to each scenario that calls it. The signatures in `oracles`
    tell which arguments are bounds.
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
    """Return the values of names that are set once: ``bound`` for ``5.0``."""
    nodes = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    pairs = [(name, ast.unparse(value)) for node in nodes for name, value in assigned(node)]
    return {name: value for name, value in pairs if sum(name == one for one, _ in pairs) == 1}


def _bounds(call: ast.Call, oracles: ModuleType) -> Iterator[tuple[str, ast.expr]]:
    """Yield a call's bounds, with their names."""
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
            if keyword.arg == "within":  # the lab's own verbs and helpers
                yield f"{ast.unparse(call.func)}.within", keyword.value
