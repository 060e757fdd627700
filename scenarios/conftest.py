"""The catalogue, and how a run of it is set up."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness.errors import HarnessError, SettingsError
from harness.plugin import ENTRY
from harness.scenario.catalogue import load

CATALOGUE = Path(__file__).with_name("catalogue.toml")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Side by side unless told otherwise, one seed for all, and a JUnit file."""
    from harness.settings import Settings

    option = config.option
    if hasattr(config, "workerinput"):
        return
    if option.scenario_seed is None:
        option.scenario_seed = random.SystemRandom().randrange(2**31)
    if getattr(option, "numprocesses", 0) is None and not option.collectonly and not option.usepdb:
        try:
            option.numprocesses = Settings().workers
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from error
        option.maxschedchunk = 1
    option.showcapture = "no"  # a failure's text says what matters, and has no secrets in it
    if option.xmlpath is None:
        option.xmlpath = str(Path(option.report) / "junit.xml")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Refuse a subject or a declaration that makes no sense before anything starts."""
    from harness.plugin import Table, parse_declared
    from harness.subjects import check_subject, parse_subject

    try:
        check_subject(parse_subject(config.option.subject))
        parse_declared(config.option.declare)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from error
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(config), "scenario-table")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Join each scenario with its entry, choose, and put the long ones first."""
    try:
        catalogue = load(CATALOGUE)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from error
    wanted = {word.upper() for given in config.option.only for word in given.split(",")}
    chosen, left_out, matched = [], [], set[str]()
    for item in items:
        mark = item.get_closest_marker("scenario")
        if mark is None:
            chosen.append(item)
            continue
        entry = catalogue.get(mark.args[0])
        if entry is None:
            raise pytest.UsageError(
                f"{item.nodeid} is scenario {mark.args[0]}, which is not in {CATALOGUE.name}"
            )
        item.stash[ENTRY] = entry
        words = {entry.id, entry.id.split("-")[0], entry.severity.upper()}
        if wanted and not wanted & words:
            left_out.append(item)
            continue
        matched |= wanted & words
        # A subject's own carelessness (an open file, a thread that dies) is not a test's error.
        item.add_marker(pytest.mark.filterwarnings("ignore"))
        chosen.append(item)
    if unknown := wanted - matched:
        raise pytest.UsageError(
            f"--only {', '.join(sorted(unknown))} names no scenario; "
            "give an id (TOK-11), a group (TOK) or a severity"
        )
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    items[:] = sorted(
        chosen, key=lambda item: -item.stash[ENTRY].seconds if ENTRY in item.stash else 0
    )
