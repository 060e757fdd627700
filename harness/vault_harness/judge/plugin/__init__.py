"""Let pytest run scenarios as tests, with options and a report.

A scenario is a function with the mark ``scenario("ID")`` that takes a `Lab`. Its entry is in the
nearest ``catalogue.toml``.

Pytest loads this module in every run where the package is installed, so it is small. The first
scenario or used option registers the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from vault_harness.judge.plugin.flags import FLAGS, add_options

__all__ = ["begin_suite", "check_suite", "parse_declared"]

MARK = "scenario"


def begin_suite(config: pytest.Config, catalogue: Path) -> None:
    """Make a run a suite of scenarios: side by side, with a JUnit file.

    Call it in the ``pytest_cmdline_main`` of a ``conftest.py``. Scenarios also run without it.
    """
    from vault_harness.judge.plugin import suite

    _register_rest(config)
    suite.begin_suite(config, catalogue)


def check_suite(config: pytest.Config, catalogue: Path) -> None:
    """Refuse a wrong subject or choice before anything starts.

    Call it in the ``pytest_configure`` of a ``conftest.py``, before the plugin's own.
    """
    from vault_harness.judge.plugin import suite

    _register_rest(config)
    suite.check_suite(config, catalogue)


def parse_declared(given: Iterable[str]) -> dict[str, float]:
    """Read declarations, ``NAME=SECONDS``."""
    from vault_harness.judge.plugin import options

    return options.parse_declared(given)


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARK}(id): a scenario of the catalogue beside the test")
    if any(config.getoption(flag) not in (None, []) for flag in FLAGS):
        _register_rest(config)


def pytest_pycollect_makeitem(
    collector: pytest.Collector, name: str, obj: object
) -> pytest.Item | None:
    """Collect a function with the mark. It needs no fixture."""
    if not isinstance(collector, pytest.Module | pytest.Class):
        return None
    if not any(getattr(mark, "name", "") == MARK for mark in _marks(obj)):
        return None
    _register_rest(collector.config)
    from vault_harness.judge.plugin.hooks import make_item

    return make_item(collector, name, obj)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Register the hooks for workers of pytest-xdist, which collect; this process reports."""
    _register_rest(node.config)
    from vault_harness.judge.plugin.hooks import prepare_worker

    prepare_worker(node)


def _marks(obj: object) -> list[Any]:
    marks = getattr(obj, "pytestmark", ())
    return list(marks) if isinstance(marks, list | tuple) else [marks]


def _register_rest(config: pytest.Config) -> None:
    from vault_harness.judge.plugin import hooks

    hooks.register(config)
