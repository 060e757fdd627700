"""Print a line for each scenario and the summary, in the process with the terminal."""

from __future__ import annotations

import os
import resource
import signal
import textwrap
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from vault_harness.judge.plugin.item import CATALOGUES
from vault_harness.judge.plugin.options import known, options
from vault_harness.judge.plugin.progress import Progress, say
from vault_harness.judge.plugin.suite import ENDED_BY, SLOTS

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from vault_harness.judge.plugin.item import ScenarioItem
    from vault_harness.judge.report import Effort, Line, Summary
    from vault_harness.judge.report.outcome import Outcome

_BEGAN = {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR}
_CRASHED = {pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR}


_WITHOUT_HARM = (0, 2)
"""Exit codes of runs in which nothing was broken: kept, and not exercised."""

_LOST = (
    "the journal of this run was removed during the run, so the list of its scenarios is lost: "
    "this is no pass; give the run a folder of its own (--report of judge and scenarios)"
)


def _not_known(error: OSError) -> tuple[str, ...]:
    return (
        f"the file of known failures cannot be written: {error.strerror or error}",
        f"  looked at: {error.filename or 'its folder'}",
        "  what to do: make room there, or have --known name a file that you may write to",
    )


FEW = 2
"""If more scenarios failed than this, their texts are only in a file beside the report."""

SEEN = 200
"""Characters of what was seen that are printed as a scenario ends."""

_INDENT = 33
"""Characters of a scenario's line before its promise."""


class Table:
    """Prints a line when each scenario ends, and the summary at the end.

    In a `suite` a failure without a line is an error of the harness.
    """

    def __init__(self, config: pytest.Config, *, suite: bool) -> None:
        self._config = config
        self._suite = suite
        self._began = time.monotonic()
        self._summary: Summary | None = None
        self._broken: list[str] = []
        self._breakdowns: list[str] = []
        self._texts: list[str] = []
        self._found: Outcome | None = None
        self._failed: dict[str, tuple[pytest.TestReport, Any]] = {}
        self._excused: list[tuple[pytest.TestReport, str]] = []
        self._complete = True
        self._left_out: dict[str, str] = {}
        self._skipped_by_marks: dict[str, str] = {}
        self._leaks_known = False
        self._lost = False
        self._cannot_collect = False
        self._known_file: Path | None = None
        self._no_known_file: tuple[str, ...] = ()
        self._progress: Progress | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Let a suite run to its end even if its output cannot be written."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if self._suite and terminal is not None:
            from vault_harness.judge.plugin.progress import LossyStream

            writer = terminal._tw  # noqa: SLF001 - where pytest itself writes
            writer._file = LossyStream(writer._file)  # noqa: SLF001 - the same

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that cannot be read: pytest then ends as if interrupted."""
        self._cannot_collect = self._cannot_collect or report.failed

    # First, before pytest begins a line with the name of the file.
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, location: tuple[str, int | None, str]) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if not self._suite or terminal is None:
            return
        terminal.showfspath = False  # a scenario's line is printed at its end
        if self._progress is None:
            from vault_harness.judge import report as reports

            chosen = options(self._config)
            parts = reports.parts_folder(chosen.report, chosen.run)
            planned = reports.begun(chosen.report, chosen.run).get("planned", {})
            terminal.ensure_newline()
            terminal.flush()  # show the judged client, and what its start costs
            self._progress = Progress(terminal, parts, planned, self._side_by_side())
        self._progress.began(location[2].split()[0])

    def put_off(self, item: ScenarioItem) -> None:
        if self._progress is not None:
            self._progress.put_off(item.entry.id)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        given = getattr(report, "scenario", None)
        if not self._suite:  # a suite has no marks that skip: such a scenario did not end
            self._skipped_by_marks |= getattr(report, "left_out", {})
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if given is None and report.failed and self._suite:
            self._broken.append(report.nodeid)  # a worker died, or a teardown failed
            self._breakdowns.append(str(report.longrepr))
        if given is None or terminal is None:
            return
        from vault_harness.judge import report as reports
        from vault_harness.judge.plugin.junit import case_of

        line = reports.Line(**given["line"])
        if self._summary is None:
            self._summary = reports.Summary(options(self._config).subject)
            if self._progress is not None:
                self._progress.write(reports.HEADER, "bold")
            else:
                terminal.ensure_newline()
                terminal.write_line(reports.HEADER, bold=True)
        self._summary.lines.append(line)
        if self._progress is not None:
            self._progress.ended(line.id)
        self._summary.product = given["product"] or self._summary.product
        self._summary.engine = given["engine"] or self._summary.engine
        if given["wire"]:
            self._summary.wires.add(given["wire"])
        self._write(terminal, line)
        case = case_of(self._config, report)
        if report.failed:
            self._failed[line.id] = report, case
        if line.word == "not exercised" or line.forgiven:
            self._texts.append(given.get("text") or str(report.longrepr))

    def _show_durations(self, terminal: Any, scenarios: list[dict[str, Any]]) -> None:
        from vault_harness.judge.report import where_time_went

        if not options(self._config).durations:
            return
        terminal.section("where the time went")
        for text in where_time_went(scenarios, self._effort()):
            terminal.write_line(text)

    def _effort(self) -> Effort:
        """Count all of the run's processes that have ended."""
        from vault_harness.judge.report import Effort

        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return Effort(
            wall=time.monotonic() - self._began,
            user=sum(one.ru_utime for one in used),
            system=sum(one.ru_stime for one in used),
            side_by_side=self._side_by_side() or 1,
            cores=os.cpu_count() or 1,
        )

    def _side_by_side(self) -> int:
        """Return 0 if scenarios run in this process."""
        workers = getattr(self._config.option, "numprocesses", 0)
        return int(self._config.stash.get(SLOTS, 0) or workers or 0)

    def _is_a_part(self) -> bool:
        return options(self._config).part is not None

    def _write(self, terminal: Any, line: Line) -> None:
        colour = {"kept": "green", "skipped": "yellow", "not exercised": "yellow"}.get(
            line.counts_as, "red"
        )
        colour = "yellow" if colour == "green" and line.word != "pass" else colour
        for text in _as_lines(line, _width(terminal)):
            if self._progress is not None:
                self._progress.write(text, colour)
            else:
                say(terminal, text, **{colour: True})

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Hide pytest's message about the interrupted place in its own code."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        plain = excinfo.type is KeyboardInterrupt and not self._config.option.fulltrace
        if self._suite and plain and terminal is not None:
            terminal._report_keyboardinterrupt = lambda: None  # noqa: SLF001 - no option does it

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        if not (self._suite or self._summary is not None or self._skipped_by_marks):
            return (yield)  # a run without scenarios loads nothing else
        from vault_harness.judge.report.outcome import ENDED, Outcome

        running = self._progress.running if self._progress is not None else frozenset[str]()
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        try:
            self._settle(session)
            yield
        except OSError as error:
            if not self._suite:
                raise
            # If this raised, pytest would exit with 1, as for a broken promise.
            self._not_written(terminal, error)
            if session.exitstatus in _WITHOUT_HARM:
                session.exitstatus = int(Outcome.CRASHED)
        ended = session.exitstatus in ENDED and self._suite
        if ended and self._summary is not None and terminal is not None:
            say(terminal, self._summary.interruption(running), red=True)

    def _not_written(self, terminal: Any, error: OSError) -> None:
        if terminal is None:
            return
        if self._summary is not None:
            terminal.section("verdict")
            self._summary.seconds = time.monotonic() - self._began
            say(terminal, str(self._summary))
        where = error.filename or "the folder of the report"
        remedy = "make room there, or let it be a folder that you may write to"
        for text in (
            f"the report cannot be written: {error.strerror or error}",
            f"  looked at: {where}",
            f"  what to do: {remedy}; this run has no report, score or badge",
        ):
            say(terminal, text, red=True)

    def _settle(self, session: pytest.Session) -> None:
        """Set the exit code: the suite's own, or pytest's among other tests.

        A secret that leaked in any scenario fails the run.
        """
        code = int(session.exitstatus)
        if self._progress is not None:
            self._progress.close()
            self._progress = None
        empty = code == pytest.ExitCode.NO_TESTS_COLLECTED and self._suite and self._is_a_part()
        asked = self._summary is not None or self._skipped_by_marks
        if not asked and not (self._suite and code in _BEGAN) and not empty:
            return
        if self._config.option.collectonly:
            return
        from vault_harness.judge import report as reports
        from vault_harness.judge.report.outcome import Outcome

        chosen = options(self._config)
        if self._summary is None:
            self._summary = reports.Summary(chosen.subject)
        self._summary.settle_leaks()
        judged = {line.id for line in self._summary.lines}
        begun = reports.begun(chosen.report, chosen.run)
        planned = begun.get("planned", {}).keys() - self._skipped_by_marks.keys()
        self._summary.unfinished = sorted(planned - judged)
        self._lost = self._suite and not begun
        self._left_out = begun.get("left_out", {}) | self._skipped_by_marks
        self._leaks_known = bool(begun.get("leaks_known"))
        found = self._outcome(code)
        # A scenario that ended in an error is complete; the score shows it as not judged.
        self._complete = not (self._crashed(code) or self._summary.unfinished or self._lost)
        if chosen.write_known and (self._summary.unfinished or self._lost):
            from vault_harness.judge.report.known import NOT_BY_HALF

            self._no_known_file = (NOT_BY_HALF,)
        elif chosen.write_known:
            try:
                self._write_known()
            except OSError as error:  # the report is still made
                self._no_known_file = _not_known(error)
                found = Outcome.CRASHED if found in _WITHOUT_HARM else found
            else:
                found = self._outcome(code)
        self._add_to_junit(found)
        self._found = found
        if self._suite:
            session.exitstatus = int(found)
            self._shorten()
        elif found and code == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif self._excused and not found and session.testsfailed == len(self._excused):
            session.exitstatus = pytest.ExitCode.OK

    def _shorten(self) -> None:
        """Keep pytest from printing the texts of many failures. A file has them."""
        if not self._shows_all:
            self._config.option.tbstyle = "no"

    @property
    def _shows_all(self) -> bool:
        return len(self._failed) + len(self._texts) <= FEW

    def _add_to_junit(self, found: Outcome) -> None:
        """Add failures that have no row."""
        from vault_harness.judge.plugin.junit import add_failure
        from vault_harness.judge.report.outcome import ENDED, leaks_count

        assert self._summary is not None
        if leaks_count(self._summary.lines, leaks_known=self._leaks_known):
            add_failure(self._config, "no secret comes out", "\n".join(self._summary.leaks()))
        if self._suite and (found in ENDED or self._summary.unfinished or self._lost):
            lacking = ", ".join(self._summary.unfinished)
            text = "this is no pass, whatever is written above"
            text += f"; without a verdict: {lacking}" if lacking else ""
            add_failure(self._config, "it comes to its end", text)

    def _write_known(self) -> None:
        from vault_harness.judge.report.known import write_known

        assert self._summary is not None
        chosen = options(self._config)
        found = known(self._config).after(self._summary.lines)
        self._known_file = write_known(found, chosen.known_file)
        self._summary.lines = [found.mark(line) for line in self._summary.lines]
        self._excuse()

    def _excuse(self) -> None:
        """Excuse the JUnit failures that were just written as known; the exit code is 0 too."""
        from vault_harness.judge.plugin.junit import excuse

        assert self._summary is not None
        for line in self._summary.lines:
            if line.id in self._failed and line.counts_as == "kept":
                report, case = self._failed[line.id]
                passed = line.word == "pass"  # its line was removed from the file
                excuse(self._config, case, None if passed else line.reason)
                self._excused.append((report, "passed" if passed else "failed as known"))

    def _recount(self, terminal: Any) -> None:
        """Count the excused failures under their new category in pytest's last line."""
        for report, category in self._excused:
            terminal.stats["failed"].remove(report)
            terminal._add_stats(category, [report])  # noqa: SLF001 - else it is in no last line
        if self._excused and not terminal.stats["failed"]:
            del terminal.stats["failed"]
            terminal._set_main_color()  # noqa: SLF001 - which is red while anything has failed

    def _show_empty(self, terminal: Any) -> None:
        part = options(self._config).part
        if part is not None and self._complete and self._summary and not self._summary.lines:
            terminal.write_line(
                f"part {part} has no scenario: the others have all that were chosen"
            )

    def _show_known(self, terminal: Any, scenarios: list[dict[str, Any]]) -> None:
        from vault_harness.judge.report.known import no_more_asked

        if self._known_file is not None:
            terminal.write_line(f"failures are recorded as known in {self._known_file}")
        for text in self._no_known_file:
            say(terminal, text, red=True)
        found = self._config.stash.get(CATALOGUES, None)  # None with pytest-xdist
        there = None if found is None else frozenset[str]().union(*found.values())
        path = options(self._config).known_file
        told = no_more_asked(known(self._config), scenarios, there, path)
        for text in told:
            say(terminal, text, yellow=True)
        if told:
            say(
                terminal,
                "  what to do: remove such a line if the scenario will not be run again",
                yellow=True,
            )

    def _crashed(self, code: int) -> bool:
        return bool(self._broken) or code in _CRASHED

    def _outcome(self, code: int) -> Outcome:
        from vault_harness.judge.report.outcome import interrupted, outcome

        assert self._summary is not None
        if code == pytest.ExitCode.INTERRUPTED and not self._cannot_collect:
            return interrupted(self._config.stash.get(ENDED_BY, signal.SIGINT))
        return outcome(
            self._summary.lines,
            complete=not (self._summary.unfinished or self._lost or self._crashed(code)),
            allow_not_exercised=options(self._config).allow_not_exercised,
            leaks_known=self._leaks_known,
            # Among other tests, all scenarios may be skipped.
            part=bool(options(self._config).part) or not self._suite,
        )

    # Run last, so that only pytest's own last line stands below the summary.
    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Write the report, and print the summary."""
        if self._summary is None:
            return
        from vault_harness.judge import report as reports
        from vault_harness.judge.report.html import write_page
        from vault_harness.judge.report.score import score_of, write_score
        from vault_harness.judge.report.summary import summary_of, write_texts

        chosen = options(self._config)
        summary = self._summary
        summary.broken, summary.seconds = self._broken, time.monotonic() - self._began
        summary.complete = self._complete
        self._recount(terminalreporter)
        if self._shows_all:
            for text in self._texts:
                terminalreporter.write_line(f"\n{text}")
        journal = reports.collect_parts(
            chosen.report,
            reports.parts_folder(chosen.report, chosen.run),
            summary,
            asked=reports.Asked(chosen.part, self._left_out, self._leaks_known),
            code=None if self._found is None else int(self._found),
        )
        written = reports.load(journal)
        write_texts(written, journal.parent)
        page = write_page([written], journal.with_name("index.html"))
        if self._suite and self._complete:
            write_score(score_of(written), journal.parent)
        self._show_durations(terminalreporter, written["scenarios"])
        terminalreporter.section("verdict")
        for nodeid, text in zip(self._broken, self._breakdowns, strict=True):
            say(terminalreporter, f"the harness broke down in {nodeid}", red=True)
            if not self._shows_all:
                say(terminalreporter, text, red=True)
        self._show_empty(terminalreporter)
        if self._lost:
            say(terminalreporter, _LOST, red=True)
        self._show_known(terminalreporter, written["scenarios"])
        for text in summary_of(written).lines(_width(terminalreporter), page=page):
            terminalreporter.write_line(text)
        if self._suite:  # pytest's own line counts differently
            terminalreporter.summary_stats = lambda: None


def _width(terminal: Any) -> int | None:
    return terminal._tw.fullwidth if terminal.isatty else None  # noqa: SLF001 - no other way to ask


def _as_lines(line: Line, width: int | None) -> list[str]:
    """Return a scenario's line, and below it what was seen. `width` None means any length."""
    from vault_harness.judge.report import in_short, one_line

    said = line if line.word != "skipped" else replace(line, promise=line.why)
    told = [one_line(str(said))]
    if line.word not in ("pass", "skipped") and line.why:
        seen = "its own promise was kept; seen at the client's end" if line.at_the_end else "seen"
        told.append(f"{' ' * _INDENT}{seen}: {in_short(one_line(line.why), SEEN)}")
    if width is None:
        return told
    indent = " " * _INDENT
    return [
        part
        for text in told
        for part in textwrap.wrap(
            text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
    ]
