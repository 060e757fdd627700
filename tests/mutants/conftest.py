from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vault_harness.judge.catalogue import Entry, load
from vault_harness.judge.environment import Environment, open_environment
from vault_harness.judge.lab import Lab
from vault_harness.judge.run import Result, judge_scenario, run_scenario
from vault_harness.judge.subjects import parse_subject
from vault_harness.settings import Settings

SCENARIOS = Path(__file__).parents[2] / "scenarios"

Judge = Callable[[str, str], Result]
"""Takes a subject and a scenario's id."""


def _import(path: Path) -> ModuleType:
    name = f"scenarios_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def scenarios() -> dict[str, Callable[[Lab], None]]:
    found = {}
    for path in sorted(SCENARIOS.glob("test_*.py")):
        for name, function in vars(_import(path)).items():
            if name.startswith("test_"):
                for mark in getattr(function, "pytestmark", []):
                    if mark.name == "scenario":
                        found[mark.args[0]] = function
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option by which CI runs a part of the clients."""
    group = parser.getgroup("mutants")
    group.addoption("--most", type=int, help="clients of a scenario to run (default: all)")
    group.addoption(
        "--whole", default="", help="scenarios of which all clients run, with commas: TOK-01,SEA-02"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the first clients of each scenario that must pass, and the first broken ones."""
    most = config.getoption("--most")
    if most is None:
        return
    whole = config.getoption("--whole").split(",")
    kept: set[str] = set()
    groups: dict[str | None, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(_scenario(item), []).append(item)
    for scenario, group in groups.items():
        passing = [one.nodeid for one in group if "mutant" not in _parameters(one)]
        broken = [one.nodeid for one in group if "mutant" in _parameters(one)]
        some = [*passing[:1], *broken[: most - 1]]
        kept.update(some if scenario and scenario not in whole else [*passing, *broken])
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in kept])
    items[:] = [item for item in items if item.nodeid in kept]


def _parameters(item: pytest.Item) -> dict[str, Any]:
    return getattr(getattr(item, "callspec", None), "params", {})


def _scenario(item: pytest.Item) -> str | None:
    given = _parameters(item)
    client = given.get("mutant") or given.get("client")
    return given.get("scenario") if client is None else client.scenario


@pytest.fixture(scope="session", autouse=True)
def few_lines_for_pytest(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the client's log to the lab: pytest would write each line twice more."""
    captured = request.config.pluginmanager.get_plugin("logging-plugin")
    handlers = [] if captured is None else [captured.caplog_handler, captured.report_handler]
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.WARNING)
    yield
    for handler, level in zip(handlers, levels, strict=True):
        handler.setLevel(level)


@pytest.fixture(scope="session")
def environment() -> Iterator[Environment]:
    with open_environment(Settings(engine="process"), parse_subject("reference"), seed=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def judge(environment: Environment) -> Judge:
    return partial(_judged, environment, judge_scenario)


@pytest.fixture(scope="session")
def caught(environment: Environment) -> Judge:
    """Runs one scenario on a subject; once is enough if that catches it."""

    def run(subject: str, scenario: str) -> Result:
        result = _judged(environment, run_scenario, subject, scenario)
        if result.word == "fail":
            return result
        return _judged(environment, judge_scenario, subject, scenario)

    return run


def _judged(
    environment: Environment, run: Callable[..., Result], subject: str, scenario: str
) -> Result:
    environment = replace(environment, subject=parse_subject(subject))
    result = run(environment, _catalogue()[scenario], _functions()[scenario])
    assert result.verdict is not None, result.trace or result.why
    return result


@cache
def _catalogue() -> dict[str, Entry]:
    return load(SCENARIOS / "catalogue.toml")


@cache
def _functions() -> dict[str, Callable[[Lab], None]]:
    return scenarios()
