"""The catalogue, and how a run of it is set up."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from vault_harness.commands import named
from vault_harness.engine import die_with_parent
from vault_harness.errors import HarnessError, SettingsError
from vault_harness.plugin import ENTRY
from vault_harness.scenario.catalogue import Entry, load
from vault_harness.settings import Settings

CATALOGUE = Path(__file__).with_name("catalogue.toml")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Side by side unless told otherwise, one seed for all, and a JUnit file."""
    option = config.option
    if hasattr(config, "workerinput"):
        return
    if option.scenario_seed is None:
        option.scenario_seed = random.SystemRandom().randrange(2**31)
    if getattr(option, "numprocesses", 0) is None and not option.collectonly and not option.usepdb:
        try:
            option.numprocesses = _workers(config, Settings.from_environment().workers)
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from error
    if getattr(option, "maxschedchunk", 0) is None:
        option.maxschedchunk = 1  # else the last worker to start has a queue that nobody shares
    option.showcapture = "no"  # a failure's text says what matters, and has no secrets in it
    if option.xmlpath is None:
        option.xmlpath = str(Path(option.report) / "junit.xml")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Refuse a subject or a declaration that makes no sense before anything starts."""
    from vault_harness.plugin import Table, parse_declared
    from vault_harness.subjects import check_subject, parse_subject

    if hasattr(config, "workerinput"):
        # The process with the terminal has looked at all of this; when it is killed, so are we.
        die_with_parent()
        return
    try:
        check_subject(parse_subject(config.option.subject))
        parse_declared(config.option.declare)
        _refuse_unknown(_wanted(config), load(CATALOGUE).values())
        engine = _engine(Settings.from_environment())
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(Table(config, engine), "scenario-table")


def _engine(settings: Settings) -> str:
    """Which engine the scenarios will run on, and why.

    Raises:
        EngineUnavailable: docker was asked for and cannot be used.
    """
    from vault_harness.engine import choose, docker_state
    from vault_harness.errors import EngineUnavailable

    name, why = choose(settings)
    if settings.engine == "docker" and (reason := docker_state(settings)):
        raise EngineUnavailable(
            f"docker cannot be used: {reason}",
            looked_at="HARNESS_ENGINE=docker",
            remedy=f"start an engine, or `{named('images')}` for the images, "
            "or HARNESS_ENGINE=process",
        )
    return f"{name} engine ({why})"


def _workers(config: pytest.Config, most: int) -> int:
    """How many workers are of use; none where there is one scenario to run."""
    wanted = _wanted(config)
    entries = [e for e in load(CATALOGUE).values() if not wanted or wanted & _words(e)]
    return min(most, len(entries)) if len(entries) > 1 else 0


def _wanted(config: pytest.Config) -> set[str]:
    """The words of ``--only``."""
    given = {word.strip().upper() for text in config.option.only for word in text.split(",")}
    return given - {""}


def _words(entry: Entry) -> set[str]:
    """The words by which ``--only`` names a scenario."""
    return {entry.id, entry.id.split("-")[0], entry.severity.upper()}


def _refuse_unknown(wanted: set[str], entries: Iterable[Entry]) -> None:
    if unknown := wanted - {word for entry in entries for word in _words(entry)}:
        raise SettingsError(
            f"--only {', '.join(sorted(unknown))} names no scenario",
            looked_at=str(CATALOGUE),
            remedy="Give an id (TOK-11), a group (TOK) or a severity (critical)",
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Join each scenario with its entry, choose, and put the long ones first."""
    try:
        catalogue = load(CATALOGUE)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from error
    wanted = _wanted(config)
    chosen, left_out = [], []
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
        if wanted and not wanted & _words(entry):
            left_out.append(item)
            continue
        # A subject's own carelessness (an open file, a thread that dies) is not a test's error.
        item.add_marker(pytest.mark.filterwarnings("ignore"))
        chosen.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    items[:] = sorted(
        chosen, key=lambda item: -item.stash[ENTRY].seconds if ENTRY in item.stash else 0
    )
