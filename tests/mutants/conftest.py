"""What the mutants are run with: the scenarios' own functions, on this process's own environment."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from vault_harness.scenario import Lab, NotExercised, Verdict, Environment
from vault_harness.scenario.catalogue import Entry, load
from vault_harness.scenario.report import explain
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


def _scenarios() -> dict[str, Callable[[Lab], None]]:
    found = {}
    for path in sorted(SCENARIOS.glob("test_*.py")):
        for name, function in vars(_import(path)).items():
            if name.startswith("test_"):
                for mark in getattr(function, "pytestmark", []):
                    if mark.name == "scenario":
                        found[mark.args[0]] = function
    return found


@pytest.fixture(scope="session")
def judge(environment: Environment) -> Judge:
    """Runs one scenario on one subject, as the suite would."""
    catalogue: dict[str, Entry] = load(SCENARIOS / "catalogue.toml")
    functions = _scenarios()
    runs = 0

    def run(subject: str, scenario: str) -> tuple[Verdict, str]:
        nonlocal runs
        runs += 1
        own = environment.directory / f"run-{runs}"
        own.mkdir()
        place = replace(environment, subject=parse_subject(subject), directory=own)
        with Lab(place, catalogue[scenario]) as lab:
            try:
                functions[scenario](lab)
            except NotExercised as reason:
                lab.verdict = Verdict("not exercised", untouched=[str(reason)])
            assert lab.verdict is not None
            return lab.verdict, explain(lab, lab.verdict, again="")

    return run
