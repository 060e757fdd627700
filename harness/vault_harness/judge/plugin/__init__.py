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

__all__ = ["begin_suite", "parse_declared"]

MARK = "scenario"

HELP = {
    "subject": "the client under test: reference, python:package.module:factory, "
    "'command:./my-client', a URL, or agent:CONFIG.toml",
    "declare": "a time that the client promises, NAME=SECONDS: max_stale, refresh, backoff_cap, "
    "deadline, min_ttl (may be repeated)",
    "only": "run this scenario only, or those of this severity or group: TOK-11, critical, "
    "MUST, SEA (may be repeated)",
    "report": "where journal.json and junit.xml go (default: report)",
    "seed": "seed of the network faults (default: a new one)",
    "repeat": "run each scenario N times; a scenario that passes and fails is flaky",
    "confirm": "confirm what does not pass at once in at least N further runs, with few scenarios "
    "beside them (default: until two runs agree)",
    "ttl_scale": "stretch all lives and the waits tied to them by this factor",
    "wire": "what is spoken between client and Vault: plain (default), tls, or h2: TLS that offers "
    "HTTP/2",
    "allow_not_exercised": "let the run succeed although a fault never touched the client",
    "strict": "fail the run for a SHOULD too: without it, a broken promise of medium or low "
    "severity is shown, and fails nothing",
    "shard": "run one of several parts that take about as long as each other: 2/4",
    "known": "what the client is known not to keep (default: vault-harness.toml, if it is there)",
    "write_known": "write what is broken in this run to that file",
    "durations": "show where the time went: starts, waits and processor time of each scenario",
    "workers": "how many scenarios run side by side (default: what a start of the client leaves "
    "room for, at most HARNESS_WORKERS)",
}

_LISTS = {"declare", "only"}

SWITCHES = {"allow_not_exercised", "durations", "strict", "write_known"}

_METAVARS = {
    "subject": "CLIENT",
    "declare": "NAME=SECONDS",
    "only": "ID",
    "report": "DIR",
    "seed": "N",
    "repeat": "N",
    "confirm": "N",
    "workers": "N",
    "ttl_scale": "FACTOR",
    "shard": "K/N",
    "known": "FILE",
    "wire": "WIRE",
}

FLAGS = tuple(f"vault_{name}" for name in HELP)
"""Where pytest keeps the values. An unused option is None or an empty list."""


def begin_suite(config: pytest.Config, catalogue: Path) -> None:
    """Make a run a suite of scenarios: side by side, with a JUnit file.

    A wrong subject or choice is refused before anything starts. Call it in the
    ``pytest_cmdline_main`` of a ``conftest.py``. Scenarios also run without it.
    """
    from vault_harness.judge.plugin import suite

    _register_rest(config)
    suite.begin_suite(config, catalogue)


def parse_declared(given: Iterable[str]) -> dict[str, float]:
    """Read declarations, ``NAME=SECONDS``."""
    from vault_harness.judge.plugin import options

    return options.parse_declared(given)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vault-harness", "vault-harness: judging a Vault client")
    for name, text in HELP.items():
        flag = f"--vault-{name.replace('_', '-')}"
        dest = f"vault_{name}"
        if name in SWITCHES:
            group.addoption(flag, dest=dest, action="store_true", default=None, help=text)
            parser.addini(dest, text, type="bool", default=False)
            continue
        action = "append" if name in _LISTS else "store"
        group.addoption(
            flag, dest=dest, action=action, default=None, metavar=_METAVARS[name], help=text
        )
        if name in _LISTS:
            parser.addini(dest, text, type="linelist", default=[])
        else:
            parser.addini(dest, text, default="")


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
