"""Define the hooks of a run with scenarios; the first scenario or option registers them."""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Generator
from typing import Any

import pytest
from _pytest import runner

from vault_harness.errors import HarnessError
from vault_harness.judge.plugin.item import (
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
from vault_harness.judge.plugin.options import (
    OF_A_SUITE,
    TABLE,
    Options,
    known,
    options,
    refuse_unknown,
)
from vault_harness.judge.plugin.suite import COST, SLOTS, SUITE
from vault_harness.judge.plugin.table import Table

NAME = "vault_harness_scenarios"

_CHOSEN = pytest.StashKey[bool]()


def register(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin(NAME):
        config.pluginmanager.register(sys.modules[__name__], NAME)


def pytest_configure(config: pytest.Config) -> None:
    """Register the table only in the process with the terminal."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(config, suite=SUITE in config.stash), TABLE)


def pytest_report_header(config: pytest.Config) -> str | None:
    if (engine := config.stash.get(SUITE, None)) is None:
        return None
    head = f"subject: {options(config).subject}, {engine}, seed {options(config).seed}"
    if (cost := config.stash.get(COST, "")) != "":
        head += f"\none start of the subject: {cost}"
    return head


def make_item(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> ScenarioItem | None:
    if not inspect.isfunction(obj) or not collector.istestfunction(obj, name):
        return None
    mark = next(mark for mark in obj.pytestmark if mark.name == "scenario")  # type: ignore[attr-defined]
    refuse_shape(obj, in_class=isinstance(collector, pytest.Class))
    entry = entry_of(collector.config, collector.path, *mark.args[:1])
    item: ScenarioItem = ScenarioItem.from_parent(collector, name=name, entry=entry, function=obj)
    return item


def _refusal(session: pytest.Session, error: HarnessError) -> pytest.UsageError:
    """Return the error to raise when a run turns out wrong after collection.

    A worker of pytest-xdist that raised it would end before it reports its tests, and its parent
    would wait for ever. ``shouldstop`` reaches the parent.
    """
    if hasattr(session.config, "workerinput"):
        session.shouldstop = str(error)
    return pytest.UsageError(str(error))


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    scenarios = [item for item in items if isinstance(item, ScenarioItem)]
    if not scenarios:
        return
    from vault_harness.judge.subjects import check_subject, parse_subject

    try:
        chosen = options(config)
        known(config)  # read now, and not after the first scenario
        if not hasattr(config, "workerinput"):
            if SUITE not in config.stash:  # a suite has checked the subject already
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
    """Include repetitions and stretched lives."""
    entry = item.entry.stretched(chosen.ttl_scale, chosen.declared.get("min_ttl", 0.0))
    return entry.seconds * chosen.repeat


# Run first, so that the report is begun before pytest-xdist hands out the collected items.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Record in the report's folder that a run has begun, and what it will run.

    Other plugins have deselected their items (``-k``, ``-m``, ``--lf``). If no scenario is left
    among other tests, the last report stays.
    """
    config = session.config
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    first = worker.get("workerid", "gw0") == "gw0" and not config.option.collectonly
    if not first or _CHOSEN not in config.stash:
        return
    items = [item for item in session.items if isinstance(item, ScenarioItem)]
    if not items and OF_A_SUITE not in config.stash:
        return
    from vault_harness.judge.report import Asked, begin

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
            asked=Asked(
                left_out={e.id: e.severity for e in entries if e.id not in planned},
                shard=chosen.part,
                leaks_known=any(known(config).kind(e.id) for e in entries if e.leaks),
            ),
        )
    except HarnessError as error:
        raise _refusal(session, error) from error


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    slots = session.config.stash.get(SLOTS, 0)
    if not (slots and session.items) or session.config.option.collectonly or session.testsfailed:
        return None
    from vault_harness.judge.plugin.slots import run_side_by_side

    run_side_by_side(session, slots, lambda: pytest_unconfigure(session.config))
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a scenario once, even if a plugin reruns failing tests: a broken promise stays broken."""
    if not isinstance(item, ScenarioItem):
        return None
    return runner.pytest_runtest_protocol(item, nextitem)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Collect garbage that a client left open, while its scenario still ignores warnings.

    Later, an event loop that a client never closed would fail another test.
    """
    if isinstance(item, ScenarioItem) and not item.config.stash.get(SLOTS, 0):
        gc.collect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if isinstance(item, ScenarioItem):
        if report.when == "call" or (report.when == "setup" and report.failed):
            dress(item, call, report)
        elif report.when == "setup" and report.skipped:  # skipped by one of pytest's marks
            report.left_out = {item.entry.id: item.entry.severity}  # type: ignore[attr-defined]
    return report


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    if (closing := config.stash.get(CLOSING, None)) is not None:
        closing.close()


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Count a scenario by its verdict. Its line is printed instead of a dot."""
    if not hasattr(report, "scenario"):
        return None
    line = report.scenario["line"]
    if getattr(report, "wasxfail", ""):
        return "failed as known", "", ""
    if line["forgiven"]:
        return "SHOULD, and not kept", "", ""
    if line["word"] == "pass" and report.failed:
        return "failed", "", ""  # it passes, but is known to fail
    return {"pass": "passed", "fail": "failed"}.get(line["word"], line["word"]), "", ""


def prepare_worker(node: Any) -> None:
    chosen = options(node.config)
    node.workerinput |= {
        "vault_seed": chosen.seed,
        "vault_run": chosen.run,
        "vault_start": chosen.start,
    }
