"""The scenarios' functions by their ids, for whoever runs them without pytest."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from vault_harness.errors import HarnessDefect
from vault_harness.scenario import Scenario


def functions_in(folder: Path) -> dict[str, Scenario]:
    """Every function with the mark ``scenario("ID")`` in the files of a folder."""
    found: dict[str, Scenario] = {}
    for file in sorted(folder.glob("test_*.py")):
        spec = importlib.util.spec_from_file_location(f"vault_harness_cases_{file.stem}", file)
        if spec is None or spec.loader is None:
            raise HarnessDefect("a file of scenarios cannot be imported", looked_at=str(file))
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where a dataclass of it looks for the names in its types
        spec.loader.exec_module(module)
        for function in vars(module).values():
            for mark in getattr(function, "pytestmark", ()):
                if mark.name == "scenario":
                    found[mark.args[0]] = function
    return found
