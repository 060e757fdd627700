"""What the mutants are run with: the scenarios' own functions, on this process's own servers."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from vault_harness.report import explain
from vault_harness.scenario import Environment, Lab, Verdict, open_environment, run_scenario
from vault_harness.scenario.catalogue import Entry, load
from vault_harness.settings import Settings
from vault_harness.subjects import parse_subject

SCENARIOS = Path(__file__).parents[2] / "scenarios"

Judge = Callable[[str, str], tuple[Verdict, str]]
"""Takes a subject and a scenario's id; gives the verdict and the text that a person would read."""


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
    """Every scenario's function by its id."""
    found = {}
    for path in sorted(SCENARIOS.glob("test_*.py")):
        for name, function in vars(_import(path)).items():
            if name.startswith("test_"):
                for mark in getattr(function, "pytestmark", []):
                    if mark.name == "scenario":
                        found[mark.args[0]] = function
    return found


@pytest.fixture(scope="session", autouse=True)
def few_lines_for_pytest(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave what a client logs to the lab: pytest would write out each of its lines twice more."""
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
    """An engine and a Toxiproxy of this process's own."""
    with open_environment(Settings(engine="process"), parse_subject("reference"), seed=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def judge(environment: Environment) -> Judge:
    """Runs one scenario on one subject, as the suite would."""
    catalogue: dict[str, Entry] = load(SCENARIOS / "catalogue.toml")
    functions = scenarios()

    def run(subject: str, scenario: str) -> tuple[Verdict, str]:
        result = run_scenario(
            environment, catalogue[scenario], functions[scenario], subject=parse_subject(subject)
        )
        assert result.verdict is not None, result.trace or result.why
        return result.verdict, explain(result.record)

    return run
