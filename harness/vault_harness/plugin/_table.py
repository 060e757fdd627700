"""What is printed where the terminal is: a line a scenario, and the summary."""

from __future__ import annotations

import os
import re
import resource
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from vault_harness.plugin._item import CATALOGUES
from vault_harness.plugin._options import known, options
from vault_harness.plugin._progress import Progress, say
from vault_harness.plugin._suite import ENDED_BY, SLOTS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    from vault_harness.report import Effort, Line, Summary
    from vault_harness.report.outcome import Outcome

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
    "known",
    "reason",
    "undecided",
    "harm",
)


_BEGAN = {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR}
_CRASHED = {pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR}


_WITHOUT_HARM = (0, 2)
"""Exit codes of runs that broke nothing: kept, and not exercised."""

_LOST = (
    "the journal that this run began with was taken away meanwhile, and nobody knows any more what "
    "it was to run: this is no pass; give it a folder of its own (--report of judge and scenarios)"
)


def _not_known(error: OSError) -> tuple[str, ...]:
    """What is told where the file of known failures cannot be written."""
    return (
        f"the file of known failures cannot be written: {error.strerror or error}",
        f"  looked at: {error.filename or 'its folder'}",
        "  what to do: make room there, or have --known name a file that you may write to",
    )


ALIKE = 3
"""Scenarios that proved nothing for one reason, from which it is told once for all of them."""


_OF_A_RUN = re.compile(r"\+?\d+\.\d+ s\b|\b(?:token|secret-id|credential)-\d+\b")
"""Times and labels, by which the same reason differs between scenarios."""


def _reason(line: Line) -> str:
    return _OF_A_RUN.sub("", line.why)


def folded(texts: Iterable[tuple[Line, str]]) -> list[str]:
    """The texts of what did not pass, one alone of many that proved nothing for the same reason.

    A client that does not start says so in every scenario, and a person wants to know it once, at
    whatever time each of them saw it.
    """
    given = list(texts)
    alike: dict[str, list[str]] = {}
    for line, _ in given:
        if line.word == "not exercised" and line.why:
            alike.setdefault(_reason(line), []).append(line.id)
    shown = []
    for line, text in given:
        first, *others = alike.get(_reason(line)) or [line.id]
        if line.word != "not exercised" or len(others) + 1 < ALIKE:
            shown.append(text)
        elif line.id == first:
            told = ", ".join(sorted(others))
            shown.append(f"{text}\n  not exercised for the same reason: {told}")
    return shown


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
        self._texts: list[tuple[Line, str]] = []
        self._changed: list[Line] = []
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
        """Let a suite go on to its end where what it says can be told to nobody."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if self._suite and terminal is not None:
            from vault_harness.plugin._heedless import Heedless

            writer = terminal._tw  # noqa: SLF001 - where pytest itself writes
            writer._file = Heedless(writer._file)  # noqa: SLF001 - the same

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that cannot be read: pytest ends as if it had been interrupted."""
        self._cannot_collect = self._cannot_collect or report.failed

    # Before pytest itself would begin a line with the name of the file.
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, location: tuple[str, int | None, str]) -> None:
        """A scenario begins, if this is one."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if not self._suite or terminal is None:
            return
        terminal.showfspath = False  # the line of a scenario is printed at its end
        if self._progress is None:
            from vault_harness import report as reports

            chosen = options(self._config)
            parts = reports.parts_folder(chosen.report, chosen.run)
            planned = reports.begun(chosen.report, chosen.run).get("planned", {})
            terminal.ensure_newline()
            terminal.flush()  # who is judged, and what its start costs
            self._progress = Progress(terminal, parts, planned, self._side_by_side())
        self._progress.began(location[2].split()[0])

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A scenario ended."""
        given = getattr(report, "scenario", None)
        if not self._suite:  # of a suite nobody marks scenarios: there it came to no end
            self._skipped_by_marks |= getattr(report, "left_out", {})
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if given is None and report.failed and self._suite:
            self._broken.append(report.nodeid)  # a worker that died, or a bad end
        if given is None or terminal is None:
            return
        from vault_harness import report as reports
        from vault_harness.plugin._junit import case_of

        line = reports.Line(
            **{
                **{name: given[name] for name in _LINE},
                "leaks": tuple(given["leaks"]),
                "broken": tuple(given["broken"]),
            }
        )
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
            self._texts.append((line, given.get("text") or str(report.longrepr)))

    def _tell_durations(self, terminal: Any, scenarios: list[dict[str, Any]]) -> None:
        from vault_harness.report import where_time_went

        if not options(self._config).durations:
            return
        terminal.section("where the time went")
        for text in where_time_went(scenarios, self._effort()):
            terminal.write_line(text)

    def _effort(self) -> Effort:
        """What the run took, all of its processes that have ended included."""
        from vault_harness.report import Effort

        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return Effort(
            wall=time.monotonic() - self._began,
            user=sum(one.ru_utime for one in used),
            system=sum(one.ru_stime for one in used),
            side_by_side=self._side_by_side() or 1,
            cores=os.cpu_count() or 1,
        )

    def _side_by_side(self) -> int:
        """In how many processes scenarios run; 0 if it is this one."""
        workers = getattr(self._config.option, "numprocesses", 0)
        return int(self._config.stash.get(SLOTS, 0) or workers or 0)

    def _is_a_part(self) -> bool:
        """Whether this run is one of several, of which the others may have all scenarios."""
        return options(self._config).part is not None

    def _write(self, terminal: Any, line: Line) -> None:
        colour = {"kept": "green", "skipped": "yellow", "not exercised": "yellow"}.get(
            line.counts_as, "red"
        )
        colour = "yellow" if colour == "green" and line.word != "pass" else colour
        if self._progress is not None:
            self._progress.write(str(line), colour)
        else:
            say(terminal, str(line), **{colour: True})

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Somebody ended the run. Where it was in pytest's own code is of no use to a person."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        plain = excinfo.type is KeyboardInterrupt and not self._config.option.fulltrace
        if self._suite and plain and terminal is not None:
            terminal._report_keyboardinterrupt = lambda: None  # noqa: SLF001 - no option does it

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Give the run its exit code, and one that was interrupted its last line."""
        from vault_harness.report.outcome import ENDED, Outcome

        running = self._progress.running if self._progress is not None else frozenset[str]()
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        try:
            self._settle(session)
            yield
        except OSError as error:
            if not self._suite:
                raise
            # Out of here it would end the process with 1, as if a promise were broken.
            self._not_written(terminal, error)
            if session.exitstatus in _WITHOUT_HARM:
                session.exitstatus = int(Outcome.CRASHED)
        ended = session.exitstatus in ENDED and self._suite
        if ended and self._summary is not None and terminal is not None:
            say(terminal, self._summary.interruption(running), red=True)

    def _not_written(self, terminal: Any, error: OSError) -> None:
        """Say what the run came to, and that there is no report of it."""
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
        """Give the run its exit code: of scenarios alone one of ours, among others pytest's.

        Secrets that came out fail it, whichever scenario they came out in.
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
        from vault_harness import report as reports
        from vault_harness.report.outcome import Outcome

        chosen = options(self._config)
        if self._summary is None:
            self._summary = reports.Summary(chosen.subject)
        self._changed = self._summary.settle_leaks()
        judged = {line.id for line in self._summary.lines}
        begun = reports.begun(chosen.report, chosen.run)
        planned = begun.get("planned", {}).keys() - self._skipped_by_marks.keys()
        self._summary.unfinished = sorted(planned - judged)
        self._lost = self._suite and not begun
        self._left_out = begun.get("left_out", {}) | self._skipped_by_marks
        self._leaks_known = bool(begun.get("leaks_known"))
        found = self._outcome(code)
        # One in which the harness broke down came to its end: the score has it as not judged.
        self._complete = not (self._crashed(code) or self._summary.unfinished or self._lost)
        if chosen.write_known and (self._summary.unfinished or self._lost):
            from vault_harness.report.known import NOT_BY_HALF

            self._no_known_file = (NOT_BY_HALF,)
        elif chosen.write_known:
            try:
                self._write_known()
            except OSError as error:  # the report is made all the same
                self._no_known_file = _not_known(error)
                found = Outcome.CRASHED if found in _WITHOUT_HARM else found
            else:
                found = self._outcome(code)
        self._tell_junit(found)
        if self._suite:
            session.exitstatus = int(found)
        elif found and code == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif self._excused and not found and session.testsfailed == len(self._excused):
            session.exitstatus = pytest.ExitCode.OK

    def _tell_junit(self, found: Outcome) -> None:
        """Say in the JUnit file what no row of it says."""
        from vault_harness.plugin._junit import add_failure
        from vault_harness.report.outcome import ENDED, leaks_count

        assert self._summary is not None
        if leaks_count(self._summary.lines, leaks_known=self._leaks_known):
            add_failure(self._config, "no secret comes out", "\n".join(self._summary.leaks()))
        if self._suite and (found in ENDED or self._summary.unfinished or self._lost):
            lacking = ", ".join(self._summary.unfinished)
            text = "this is no pass, whatever stands above"
            text += f"; without a verdict: {lacking}" if lacking else ""
            add_failure(self._config, "it comes to its end", text)

    def _write_known(self) -> None:
        """Know what is broken from now on."""
        from vault_harness.report.known import write_known

        assert self._summary is not None
        chosen = options(self._config)
        found = known(self._config).after(self._summary.lines)
        self._known_file = write_known(found, chosen.known_file)
        self._summary.lines = [found.mark(line) for line in self._summary.lines]
        self._excuse()

    def _excuse(self) -> None:
        """Let what failed, and is known by now, be told as it will be told from the next run on.

        The JUnit file and pytest's last line would say that a run has failed which has not.
        """
        from vault_harness.plugin._junit import excuse

        assert self._summary is not None
        for line in self._summary.lines:
            if line.id in self._failed and line.counts_as == "kept":
                report, case = self._failed[line.id]
                passed = line.word == "pass"  # its line has gone from the file
                excuse(self._config, case, None if passed else line.reason)
                self._excused.append((report, "passed" if passed else "failed as known"))

    def _recount(self, terminal: Any) -> None:
        """The same in pytest's last line. What was seen of each was printed before."""
        for report, category in self._excused:
            terminal.stats["failed"].remove(report)
            terminal._add_stats(category, [report])  # noqa: SLF001 - else it is in no last line
        if self._excused and not terminal.stats["failed"]:
            del terminal.stats["failed"]
            terminal._set_main_color()  # noqa: SLF001 - which is red while anything has failed

    def _tell_empty(self, terminal: Any) -> None:
        """Say of a part for which none is left that nothing was forgotten."""
        part = options(self._config).part
        if part is not None and self._complete and self._summary and not self._summary.lines:
            terminal.write_line(
                f"part {part} has no scenario: the others have all that were chosen"
            )

    def _tell_known(self, terminal: Any, scenarios: list[dict[str, Any]]) -> None:
        from vault_harness.report.known import no_more_asked

        if self._known_file is not None:
            terminal.write_line(f"what is broken is known from now on: {self._known_file}")
        for text in self._no_known_file:
            say(terminal, text, red=True)
        found = self._config.stash.get(CATALOGUES, None)  # with pytest-xdist its workers have them
        there = None if found is None else frozenset[str]().union(*found.values())
        path = options(self._config).known_file
        told = no_more_asked(known(self._config), scenarios, there, path)
        for text in told:
            say(terminal, text, yellow=True)
        if told:
            say(terminal, "  what to do: take such a line out, if that is to stay so", yellow=True)

    def _crashed(self, code: int) -> bool:
        """Whether the run itself was ended, or broke down beside its scenarios."""
        return bool(self._broken) or code in _CRASHED

    def _outcome(self, code: int) -> Outcome:
        from vault_harness.report.outcome import outcome

        assert self._summary is not None
        return outcome(
            self._summary.lines,
            complete=not self._summary.unfinished and not self._lost,
            interrupted=code == pytest.ExitCode.INTERRUPTED and not self._cannot_collect,
            by=self._config.stash.get(ENDED_BY, signal.SIGINT),
            crashed=self._crashed(code),
            allow_not_exercised=options(self._config).allow_not_exercised,
            leaks_known=self._leaks_known,
            # Among tests of somebody's own others may have asked, and a skip is none that failed.
            part=bool(options(self._config).part) or not self._suite,
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """What pytest does not print, why scenarios were skipped, and the line to paste."""
        if self._summary is None:
            return
        from vault_harness import report as reports
        from vault_harness.report.html import write_page

        chosen = options(self._config)
        summary = self._summary
        summary.broken, summary.seconds = self._broken, time.monotonic() - self._began
        self._recount(terminalreporter)
        for text in folded(self._texts):
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
        journal = reports.collect_parts(
            chosen.report,
            parts,
            summary,
            complete=self._complete,
            left_out=self._left_out,
            shard=chosen.part,
            leaks_known=self._leaks_known,
        )
        written = reports.load(journal)
        self._tell_durations(terminalreporter, written["scenarios"])
        terminalreporter.section("verdict")
        for line in self._changed:
            self._write(terminalreporter, line)
        terminalreporter.write_line(str(summary))
        self._tell_empty(terminalreporter)
        if self._lost:
            say(terminalreporter, _LOST, red=True)
        self._tell_known(terminalreporter, written["scenarios"])
        terminalreporter.write_line(f"history of every scenario: {journal}")
        page = write_page([written], journal.with_name("index.html"))
        terminalreporter.write_line(f"to look at, with a timeline for each: {page}")
        if self._suite and self._complete:
            from vault_harness.report.score import score_of, told, write_score

            score = score_of(written)
            terminalreporter.write_line(told(score))
            target = write_score(score, journal.parent)
            terminalreporter.write_line(f"to compare, and to commit in another folder: {target}")
