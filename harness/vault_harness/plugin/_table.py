"""What is printed where the terminal is: a line a scenario, and the summary."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from vault_harness.plugin._options import options

if TYPE_CHECKING:
    from vault_harness.report import Line, Summary

_LINE = (
    "id",
    "promise",
    "severity",
    "word",
    "seconds",
    "why",
    "rate",
    "leaks",
    "about_leaks",
    "broken",
    "forgiven",
)


class Table:
    """Prints a line a scenario as they end, and the summary, where the terminal is.

    Made in every run, and does nothing until the first scenario's report comes.

    Args:
        config: Of the run.
        suite: Whether the run is one of scenarios, so that one without a line broke down.
    """

    def __init__(self, config: pytest.Config, *, suite: bool) -> None:
        self._config = config
        self._suite = suite
        self._began = time.monotonic()
        self._summary: Summary | None = None
        self._broken: list[str] = []
        self._texts: list[str] = []
        self._changed: list[Line] = []

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A scenario ended."""
        given = getattr(report, "scenario", None)
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if given is None and report.failed:
            self._broken.append(report.nodeid)  # a worker that died, or a bad end
        if given is None or terminal is None:
            return
        from vault_harness import report as reports

        line = reports.Line(
            **{
                **{name: given[name] for name in _LINE},
                "leaks": tuple(given["leaks"]),
                "broken": tuple(given["broken"]),
            }
        )
        if self._summary is None:
            self._summary = reports.Summary(options(self._config).subject)
            terminal.ensure_newline()
            terminal.write_line(reports.HEADER, bold=True)
        self._summary.lines.append(line)
        self._summary.product = given["product"] or self._summary.product
        self._summary.engine = given["engine"] or self._summary.engine
        self._write(terminal, line)
        if line.word == "not exercised" or line.forgiven:
            self._texts.append(given.get("text") or str(report.longrepr))

    def _write(self, terminal: Any, line: Line) -> None:
        colour = {"pass": "green", "skipped": "yellow", "not exercised": "yellow"}.get(
            line.word, "yellow" if line.forgiven else "red"
        )
        terminal.write_line(str(line), **{colour: True})

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Secrets that came out fail the run, whichever scenario they came out in."""
        if self._summary is None:
            return
        self._changed = self._summary.settle_leaks()
        if self._summary.leaks() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """What pytest does not print, why scenarios were skipped, and the line to paste."""
        if self._summary is None and not (self._suite and self._broken):
            return
        from vault_harness import report as reports
        from vault_harness.report.html import write_page

        chosen = options(self._config)
        summary = self._summary or reports.Summary(chosen.subject)
        summary.broken, summary.seconds = self._broken, time.monotonic() - self._began
        for text in self._texts:
            terminalreporter.write_line("")
            terminalreporter.write_line(text)
        skipped = [line for line in summary.lines if line.word == "skipped"]
        if skipped:
            terminalreporter.section("skipped")
            for line in skipped:
                terminalreporter.write_line(f"{line.id:<8} {line.why}")
        if leaks := summary.leaks():
            terminalreporter.section("secrets came out")
            for leak in leaks:
                terminalreporter.write_line(leak, red=True)
        if often := summary.broken_often():
            terminalreporter.section("broken again and again")
            for text in often:
                terminalreporter.write_line(text, red=True)
        parts = reports.parts_folder(chosen.report, chosen.run)
        journal = reports.collect_parts(chosen.report, parts, summary)
        terminalreporter.section("verdict")
        for line in self._changed:
            self._write(terminalreporter, line)
        terminalreporter.write_line(str(summary))
        terminalreporter.write_line(f"history of every scenario: {journal}")
        page = write_page([reports.load(journal)], journal.with_name("index.html"))
        terminalreporter.write_line(f"to look at, with a timeline for each: {page}")
