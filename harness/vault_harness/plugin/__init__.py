"""The pytest plugin: scenarios as tests, their options, and the report.

A scenario is a function with the mark ``scenario("ID")`` that takes a `Lab`. Its entry is looked up
in the ``catalogue.toml`` beside its file, or in the nearest folder above. Options carry a prefix,
and each has a twin in the configuration file (``--vault-subject`` is ``vault_subject``). In a run
without scenarios the plugin does nothing and loads nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import Any

import pytest
from _pytest import runner

from vault_harness.errors import HarnessError
from vault_harness.plugin._item import (
    CATALOGUES,
    CLOSING,
    ScenarioItem,
    dress,
    entry_of,
    in_order,
    refuse_shape,
    refuse_twice,
    without,
)
from vault_harness.plugin._options import (
    TABLE,
    Options,
    add_options,
    known,
    options,
    parse_declared,
    refuse_unknown,
)
from vault_harness.plugin._suite import COST, OF_A_SUITE, SLOTS, SUITE, begin_suite, check_suite
from vault_harness.plugin._table import Table

__all__ = ["begin_suite", "check_suite", "parse_declared"]

MARK = "scenario"

_CHOSEN = pytest.StashKey[bool]()
"""Set once scenarios were chosen, and nothing was refused."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the scenario suite."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known, and have scenarios told where the terminal is."""
    config.addinivalue_line("markers", f"{MARK}(id): a scenario of the catalogue beside the test")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(config, suite=SUITE in config.stash), TABLE)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Who is tested on what."""
    if (engine := config.stash.get(SUITE, None)) is None:
        return None
    head = f"subject: {options(config).subject}, {engine}, seed {options(config).seed}"
    if (cost := config.stash.get(COST, "")) != "":
        head += f"\none start of the subject: {cost}"
    return head


def pytest_pycollect_makeitem(
    collector: pytest.Collector, name: str, obj: object
) -> ScenarioItem | None:
    """Collect a function with the mark as a scenario: it needs no fixture."""
    if not isinstance(collector, pytest.Module | pytest.Class) or not inspect.isfunction(obj):
        return None
    marks = [mark for mark in getattr(obj, "pytestmark", ()) if mark.name == MARK]
    if not marks or not collector.istestfunction(obj, name):
        return None
    refuse_shape(obj, in_class=isinstance(collector, pytest.Class))
    entry = entry_of(collector.config, collector.path, *marks[0].args[:1])
    item: ScenarioItem = ScenarioItem.from_parent(collector, name=name, entry=entry, function=obj)
    return item


def _refusal(session: pytest.Session, error: HarnessError) -> pytest.UsageError:
    """What to raise of a run that makes no sense once its scenarios are collected.

    A worker of pytest-xdist that ends so has not said what it collected, which the process with the
    terminal waits for without end. It sends what its session was stopped for, which ends the run.
    """
    if hasattr(session.config, "workerinput"):
        session.shouldstop = str(error)
    return pytest.UsageError(str(error))


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Choose among the scenarios, and put the long ones first."""
    scenarios = [item for item in items if isinstance(item, ScenarioItem)]
    if not scenarios:
        return
    from vault_harness.subjects import check_subject, parse_subject

    try:
        chosen = options(config)
        known(config)  # else its file would be read after the first scenario
        if not hasattr(config, "workerinput"):
            if SUITE not in config.stash:  # a suite has looked at it before
                check_subject(parse_subject(chosen.subject))
            catalogues = config.stash[CATALOGUES]
            entries = [entry for found in catalogues.values() for entry in found.values()]
            refuse_unknown(chosen.only, entries, ", ".join(str(path) for path in catalogues))
    except HarnessError as error:
        raise _refusal(session, error) from error
    left_out = without(scenarios, chosen)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    rest = [item for item in items if item not in left_out]
    items[:] = in_order(rest)
    config.stash[_CHOSEN] = True


def _seconds(item: ScenarioItem, chosen: Options) -> float:
    """How long a scenario takes as it is run here, about: as often, and with lives as long."""
    entry = item.entry.stretched(chosen.ttl_scale, chosen.declared.get("min_ttl", 0.0))
    return entry.seconds * chosen.repeat


# First, before pytest-xdist sends off what this process has collected, and others begin.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Say in the folder of the report that a run has begun, and what it will run.

    Only here it is known: other plugins have left out theirs by now (``-k``, ``-m``, ``--lf``).
    Where they have left no scenario among other tests, the last report is still true.
    """
    config = session.config
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    first = worker.get("workerid", "gw0") == "gw0" and not config.option.collectonly
    if not first or _CHOSEN not in config.stash:
        return
    items = [item for item in session.items if isinstance(item, ScenarioItem)]
    if not items and OF_A_SUITE not in config.stash:
        return
    from vault_harness.report import begin

    entries = [entry for found in config.stash[CATALOGUES].values() for entry in found.values()]
    chosen = options(config)
    planned = {item.entry.id: _seconds(item, chosen) for item in items}
    try:
        refuse_twice(items)
        begin(
            chosen.report,
            subject=chosen.subject,
            run=chosen.run,
            planned=planned,
            left_out={e.id: e.severity for e in entries if e.id not in planned},
            shard=chosen.part,
            leaks_known=any(known(config).kind(e.id) for e in entries if e.leaks),
        )
    except HarnessError as error:
        raise _refusal(session, error) from error


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the suite's scenarios side by side."""
    slots = session.config.stash.get(SLOTS, 0)
    if not (slots and session.items) or session.config.option.collectonly or session.testsfailed:
        return None
    from vault_harness.plugin._slots import run_side_by_side

    run_side_by_side(session, slots, lambda: pytest_unconfigure(session.config))
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a scenario once, also where a plugin runs a test again until it passes.

    A promise that was broken is broken. ``--vault-repeat`` tells what is flaky.
    """
    if not isinstance(item, ScenarioItem):
        return None
    return runner.pytest_runtest_protocol(item, nextitem)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give a scenario's report its line."""
    report = yield
    if isinstance(item, ScenarioItem):
        if report.when == "call" or (report.when == "setup" and report.failed):
            dress(item, call, report)
        elif report.when == "setup" and report.skipped:  # by a mark of pytest's
            report.left_out = {item.entry.id: item.entry.severity}  # type: ignore[attr-defined]
    return report


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End what the scenarios shared."""
    if (closing := config.stash.get(CLOSING, None)) is not None:
        closing.close()


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Count a scenario by its verdict, and print no dot: its line is printed instead."""
    line = getattr(report, "scenario", None)
    if line is None:
        return None
    if getattr(report, "wasxfail", ""):
        return "failed as known", "", ""
    if line["forgiven"]:
        return "SHOULD, and not kept", "", ""
    if line["word"] == "pass" and report.failed:
        return "failed", "", ""  # it is known to fail, and does not
    return {"pass": "passed", "fail": "failed"}.get(line["word"], line["word"]), "", ""


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give every worker of pytest-xdist the same seed."""
    chosen = options(node.config)
    node.workerinput |= {
        "vault_seed": chosen.seed,
        "vault_run": chosen.run,
        "vault_start": chosen.start,
    }
