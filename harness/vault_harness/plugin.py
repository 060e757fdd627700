"""The pytest plugin: the fixtures that a scenario asks for, the options, and the report.

It does nothing in a run without scenarios: a scenario is a test that carries the mark `scenario`,
which `scenarios/conftest.py` turns into an entry of the catalogue beside it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import HarnessError, SettingsError

ENTRY = pytest.StashKey[Any]()
LAB = pytest.StashKey[Any]()
SUMMARY = pytest.StashKey[Any]()

_EXPLAINED = ("fail", "not exercised")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the scenario suite."""
    group = parser.getgroup("vault-harness", "vault-harness: judging a Vault client")
    group.addoption(
        "--subject",
        default="reference",
        metavar="CLIENT",
        help="the client under test: reference, python:package.module:factory, "
        "'command:./my-client', or a URL",
    )
    group.addoption(
        "--declare",
        action="append",
        default=[],
        metavar="NAME=SECONDS",
        help="a time that the client promises: max_stale, refresh, backoff_cap (may be repeated)",
    )
    group.addoption(
        "--only",
        action="append",
        default=[],
        metavar="ID",
        help="run this scenario only, or those of this severity or group: TOK-11, critical, SEA "
        "(may be repeated)",
    )
    group.addoption(
        "--report",
        default="report",
        metavar="DIR",
        help="where journal.json and junit.xml go (default: report)",
    )
    group.addoption(
        "--scenario-seed",
        type=int,
        default=None,
        metavar="N",
        help="seed of the network faults (default: a new one)",
    )
    group.addoption(
        "--allow-not-exercised",
        action="store_true",
        help="let the run succeed although a fault never touched the client",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "scenario(id): a scenario of the catalogue")


@pytest.fixture(scope="session")
def environment(request: pytest.FixtureRequest) -> Iterator[Any]:
    """What the scenarios of this process share: an engine and a Toxiproxy server."""
    from vault_harness.engine import open_engine
    from vault_harness.scenario import Environment
    from vault_harness.settings import Settings
    from vault_harness.subjects import parse_subject
    from vault_harness.toxiproxy import Toxiproxy

    option = request.config.option
    subject = parse_subject(option.subject)
    declared = parse_declared(option.declare)
    seed: int = getattr(request.config, "workerinput", {}).get(
        "scenario_seed", option.scenario_seed
    )
    settings = Settings()
    with (
        tempfile.TemporaryDirectory(prefix="vault-harness-") as directory,
        open_engine(settings, directory=Path(directory) / "engine") as engine,
    ):
        server = engine.toxiproxy(seed=seed)
        try:
            yield Environment(
                engine=engine,
                toxiproxy=Toxiproxy(server.api),
                listen=server.listen,
                reachable=server.reachable,
                directory=Path(directory),
                subject=subject,
                declared=declared,
                seed=seed,
            )
        finally:
            server.stop()


@pytest.fixture
def lab(request: pytest.FixtureRequest, environment: Any) -> Iterator[Any]:
    """One scenario's own Vault, proxy, recorder, subject and history."""
    from vault_harness.scenario import Lab

    entry = request.node.stash[ENTRY]
    if missing := sorted(entry.engine_needs - {str(c) for c in environment.engine.capabilities}):
        pytest.skip(f"the {environment.engine.name} engine cannot do this: {', '.join(missing)}")
    with Lab(environment, entry) as made:
        request.node.stash[LAB] = made
        yield made


def parse_declared(given: list[str]) -> dict[str, float]:
    """``--declare`` as numbers.

    Raises:
        SettingsError: Not NAME=SECONDS, or an unknown name.
    """
    from vault_harness.subjects import DECLARATIONS

    declared = {}
    for text in given:
        name, _, seconds = text.partition("=")
        try:
            declared[name] = float(seconds)
        except ValueError:
            declared[name] = -1.0
        if name not in DECLARATIONS or not 0 <= declared[name] < float("inf"):
            raise SettingsError(
                f"--declare {text} does not make sense",
                looked_at="the command line",
                remedy=f"Give NAME=SECONDS, where NAME is one of {', '.join(sorted(DECLARATIONS))}",
            )
    return declared


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Turn what a scenario found into its outcome."""
    if ENTRY not in pyfuncitem.stash:
        return (yield)
    from vault_harness.scenario import NotClaimed, NotExercised

    lab = pyfuncitem.stash.get(LAB, None)
    assert lab is not None, "a scenario asks for the fixture lab"
    try:
        result = yield
    except NotClaimed as error:
        pytest.skip(str(error))
    except NotExercised as error:
        lab.abandon(str(error))
    else:
        assert lab.verdict is not None, "a scenario ends with lab.judge(...)"
        if lab.verdict.word == "pass":
            return result
    raise ScenarioEnded(lab.verdict.word)


class ScenarioEnded(Exception):
    """A scenario came to a verdict that is no pass."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give a scenario's report its line, and a failure its text."""
    report = yield
    entry = item.stash.get(ENTRY, None)
    if entry is None or (report.when != "call" and report.passed) or report.when == "teardown":
        return report
    from vault_harness.scenario import report as reports

    option = item.config.option
    lab = item.stash.get(LAB, None)
    word, why = "error", ""
    if report.skipped:
        word = "skipped"
        why = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
    elif report.passed:
        word = "pass"
    elif (
        call.excinfo is not None
        and call.excinfo.errisinstance(ScenarioEnded)
        and lab
        and lab.verdict
    ):
        word = lab.verdict.word
        reasons = [finding.seen for finding in lab.verdict.findings] or lab.verdict.untouched
        why = reasons[0] if reasons else ""
    elif call.excinfo is not None and call.excinfo.errisinstance(HarnessError):
        report.longrepr, why = str(call.excinfo.value), str(call.excinfo.value)
    began = lab.history.now() if lab else report.duration
    line = reports.Line(entry.id, entry.promise, entry.severity, word, round(began, 2), why)
    if lab is not None and word in _EXPLAINED:
        command = reports.again(
            entry.id,
            subject=option.subject,
            declared=lab.environment.declared,
            seed=lab.environment.seed,
        )
        report.longrepr = reports.explain(lab, lab.verdict, again=command)
        report.sections = []  # what it logged stands in the text, without secrets
        if word == "not exercised" and option.allow_not_exercised:
            report.outcome, report.longrepr = "skipped", ("", 0, f"not exercised: {why}")
    if lab is not None:
        reports.write_part(Path(option.report), lab, line)
        report.product = lab.product  # type: ignore[attr-defined] # reports carry what is put on them
        report.engine = lab.environment.engine.name  # type: ignore[attr-defined] # the same
    report.scenario = line.__dict__  # type: ignore[attr-defined] # the same
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Count a scenario by its verdict, and print no dot: its line is printed instead."""
    line = getattr(report, "scenario", None)
    if line is None:
        return None
    return {"pass": "passed", "fail": "failed"}.get(line["word"], line["word"]), "", ""


class Table:
    """Prints a line a scenario as they end, and the summary, where the terminal is."""

    def __init__(self, config: pytest.Config, engine: str) -> None:
        from vault_harness.scenario import report as reports

        self._engine = engine
        self._reports = reports
        self._config = config
        self._began = time.monotonic()
        self._summary = reports.Summary(config.option.subject)
        self._texts: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Forget what a run that was killed left half-done, before any worker begins."""
        if not self._config.option.collectonly:
            self._reports.clear_parts(Path(self._config.option.report))

    def pytest_report_header(self) -> str:
        """Who is tested on what."""
        option = self._config.option
        return f"subject: {option.subject}, {self._engine}, seed {option.scenario_seed}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give every worker of pytest-xdist the same seed."""
        node.workerinput["scenario_seed"] = self._config.option.scenario_seed

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A scenario ended."""
        given = getattr(report, "scenario", None)
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if given is None and report.failed:
            self._summary.broken.append(report.nodeid)  # a worker that died, or a bad end
        if given is None or terminal is None:
            return
        line = self._reports.Line(**given)
        if not self._summary.lines:
            terminal.ensure_newline()
            terminal.write_line(self._reports.HEADER, bold=True)
        self._summary.lines.append(line)
        self._summary.product = getattr(report, "product", "") or self._summary.product
        self._summary.engine = getattr(report, "engine", "") or self._summary.engine
        colour = {"pass": "green", "skipped": "yellow", "not exercised": "yellow"}.get(
            line.word, "red"
        )
        terminal.write_line(str(line), **{colour: True})
        if line.word == "not exercised":
            self._texts.append(str(report.longrepr))

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """What pytest does not print, why scenarios were skipped, and the line to paste."""
        if not self._summary.lines and not self._summary.broken:
            return
        self._summary.seconds = time.monotonic() - self._began
        for text in self._texts:
            terminalreporter.write_line("")
            terminalreporter.write_line(text)
        skipped = [line for line in self._summary.lines if line.word == "skipped"]
        if skipped:
            terminalreporter.section("skipped")
            for line in skipped:
                terminalreporter.write_line(f"{line.id:<8} {line.why.removeprefix('Skipped: ')}")
        journal = self._reports.collect_parts(Path(self._config.option.report), self._summary)
        terminalreporter.section("verdict")
        terminalreporter.write_line(str(self._summary))
        terminalreporter.write_line(f"history of every scenario: {journal}")
