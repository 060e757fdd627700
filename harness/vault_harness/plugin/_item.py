"""A scenario as a test item: found by its mark, run on servers of its own, told by its verdict."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vault_harness.errors import HarnessError, SettingsError
from vault_harness.plugin._options import POSTGRESQL, TOXIPROXY, Options, known, options, words_of
from vault_harness.plugin._progress import telling
from vault_harness.plugin._suite import OF_A_SUITE

if TYPE_CHECKING:
    from vault_harness.report import Line
    from vault_harness.scenario import Entry, Environment, Result
    from vault_harness.scenario.verdict import Word

_EXPLAINED = ("fail", "not exercised", "flaky", "error")

CATALOGUES = pytest.StashKey["dict[Path, dict[str, Entry]]"]()


def entry_of(config: pytest.Config, file: Path, id: str = "") -> Entry:  # noqa: A002 - it is one
    """The entry of a scenario in the catalogue of its file."""
    from vault_harness.scenario.catalogue import find_catalogue, load

    try:
        path = find_catalogue(file)
        known = config.stash.setdefault(CATALOGUES, {})
        if path not in known:
            known[path] = load(path)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from error
    if id not in known[path]:
        raise pytest.UsageError(f"{file} has a scenario {id!r}, which is not in {path}")
    entry: Entry = known[path][id]
    return entry


def refuse_shape(function: Callable[..., object], *, in_class: bool) -> None:
    """Refuse what would not be run as its author means it.

    Raises:
        pytest.UsageError: It is in a class, a coroutine, or asks for more than its lab.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    if in_class:
        what = "stands in a class: write it as a function of its module"
    elif inspect.iscoroutinefunction(function):
        what = "is a coroutine, for which nobody waits: write it with def"
    elif len(inspect.signature(function).parameters) != 1:
        what = "has to take its lab and nothing else: fixtures and parameters are none of it"
    else:
        return
    raise pytest.UsageError(f"the scenario {name} {what}")


_ENVIRONMENT = pytest.StashKey["Environment"]()
CLOSING = pytest.StashKey[ExitStack]()


def _environment(config: pytest.Config) -> Environment:
    """What the scenarios of this process share, opened for the first of them."""
    if _ENVIRONMENT not in config.stash:
        from vault_harness.report import parts_folder
        from vault_harness.scenario import open_environment
        from vault_harness.settings import Settings
        from vault_harness.subjects import parse_subject

        chosen = options(config)
        begun = config.stash.get(POSTGRESQL, None)
        parts = parts_folder(chosen.report, chosen.run)
        closing = ExitStack()
        config.stash[CLOSING] = closing
        config.stash[_ENVIRONMENT] = closing.enter_context(
            open_environment(
                Settings.from_environment(),
                parse_subject(chosen.subject),
                seed=chosen.seed,
                declared=chosen.declared,
                ttl_scale=chosen.ttl_scale,
                turns=parts / "turns",
                wire=chosen.wire,
                start=chosen.start,
                toxiproxy=config.stash.get(TOXIPROXY, None),
                postgresql=begun.begin() if begun is not None else None,
                watched=lambda lab: telling(lab, parts),
            )
        )
    return config.stash[_ENVIRONMENT]


class ScenarioItem(pytest.Item):
    """A scenario as a test: run on servers of its own, told by its verdict.

    Attributes:
        entry: Its data.
        record: What happened, once it ran.
    """

    def __init__(self, *, entry: Entry, function: Callable[..., None], **more: Any) -> None:
        super().__init__(**more)
        self.entry = entry
        self.function = function
        self.record: dict[str, Any] | None = None
        for mark in getattr(function, "pytestmark", ()):
            self.own_markers.append(mark)
            self.keywords[mark.name] = mark
        # A subject's own carelessness (an open file, a thread that dies) is not a test's error.
        self.add_marker(pytest.mark.filterwarnings("ignore"))

    def runtest(self) -> None:
        """Run it, as often as was asked for.

        Raises:
            ScenarioEnded: Its verdict is not a pass.
        """
        from vault_harness.report import parts_folder, write_part
        from vault_harness.scenario import run_scenario

        environment, chosen = _environment(self.config), options(self.config)
        rank = self.session.items.index(self)
        results = [run_scenario(environment, self.entry, self.function, rank=rank)]
        while len(results) < chosen.repeat and results[0].word != "skipped":
            results.append(run_scenario(environment, self.entry, self.function, rank=rank))
        self.record = record = {**joined(results), "again": self._again()}
        write_part(parts_folder(chosen.report, chosen.run), record)
        if record["word"] == "skipped":
            pytest.skip(record["why"])
        if record["word"] != "pass":
            raise ScenarioEnded(record["word"])

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What a person needs: the promise, what was seen, and how to run it again."""
        if self.record is None or not excinfo.errisinstance(ScenarioEnded):
            if excinfo.errisinstance(HarnessError):
                return str(excinfo.value)
            return super().repr_failure(excinfo, style)
        from vault_harness.report import explain

        text = explain(self.record, again=self.record["again"])
        return f"{text}\n{self.record['trace']}" if self.record.get("trace") else text

    def _again(self) -> str:
        """The command that runs it again: the task, or pytest in somebody else's repository."""
        from vault_harness.report import again

        chosen = options(self.config)
        suite = OF_A_SUITE in self.config.stash
        return again(
            self.entry.id if suite else self._from_here(),
            subject=chosen.subject,
            declared=chosen.declared,
            seed=chosen.seed,
            ttl_scale=chosen.ttl_scale,
            wire=chosen.wire,
            by_pytest=not suite,
        )

    def _from_here(self) -> str:
        """Its node id as pytest takes it where this run was started: its own is from the root."""
        file = os.path.relpath(self.path, self.config.invocation_params.dir)
        return f"{file}::{self.name}"  # a scenario stands in a module, and in no class

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where it stands."""
        return self.path, self.function.__code__.co_firstlineno - 1, f"{self.entry.id} {self.name}"


def without(scenarios: list[ScenarioItem], chosen: Options) -> list[ScenarioItem]:
    """The scenarios that are not run: not asked for, or in another part."""
    asked = [s for s in scenarios if not chosen.only or chosen.only & words_of(s.entry)]
    if chosen.shard is not None:
        from vault_harness.scenario.durations import shard

        mine = shard({s.entry.id: s.entry.seconds for s in asked}, *chosen.shard)
        asked = [s for s in asked if s.entry.id in mine]
    return [s for s in scenarios if s not in asked]


def refuse_twice(scenarios: Iterable[ScenarioItem]) -> None:
    """Refuse two scenarios of one id: the verdict of one would stand for both in every report.

    Raises:
        SettingsError: There are two, copied in one file, or of catalogues with an id in common.
    """
    found: dict[str, ScenarioItem] = {}
    for item in scenarios:
        other = found.setdefault(item.entry.id, item)
        if other is not item:
            raise SettingsError(
                f"{item.entry.id} would be run twice, and has one verdict",
                looked_at=f"{other.nodeid}, {item.nodeid}",
                remedy="give each scenario an id of its own, two catalogues too that are run "
                "together; or leave one of them out",
            )


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Scenarios that tell most first, then the long ones.

    The first few are parted by one other each: workers begin with two items apiece, and two of
    these with the same worker would be told one after the other.
    """

    def seconds(item: pytest.Item) -> float:
        return -item.entry.seconds if isinstance(item, ScenarioItem) else 0

    ordered = sorted(items, key=seconds)
    first = [item for item in ordered if isinstance(item, ScenarioItem) and item.entry.first]
    rest = [item for item in ordered if item not in first]
    for place, item in enumerate(first):
        rest.insert(min(2 * place, len(rest)), item)
    return rest


class ScenarioEnded(Exception):
    """A scenario came to a verdict that is not a pass."""


_WORST_FIRST: tuple[Word, ...] = ("fail", "error", "not exercised", "skipped", "pass")


def joined(results: list[Result]) -> dict[str, Any]:
    """One record of several runs: ``flaky`` where one passes and another fails, else the worst.

    A run that proved nothing, or broke down, says nothing of the client: beside good ones there is
    less than was asked for, and beside bad ones no pass. Runs that are not alike have a rate.

    Its history is that of the first run that did harm, else of the first of that word. Secrets that
    came out are those of all runs.
    """
    from vault_harness.scenario.record import leaks_of_others

    words = [result.word for result in results]
    worst = min(words, key=_WORST_FIRST.index)
    shown = min(
        (result for result in results if result.word == worst), key=lambda r: not _did_harm(r)
    )
    record = {**shown.record, "trace": shown.trace}
    if len(results) > 1:
        record["runs"] = [
            {"word": result.word, "why": result.why, "seconds": round(result.seconds, 2)}
            for result in results
        ]
        record["leaks"] = leaks_of_others(
            shown.record["leaks"],
            {
                f"in run {number}": result.record["leaks"]
                for number, result in enumerate(results, 1)
                if result is not shown
            },
        )
        record["seconds"] = round(sum(result.seconds for result in results), 2)
    if len(set(words)) > 1:
        record["rate"] = f"{words.count('pass')} of {len(words)}"
        record["why"] = f"{record['rate']} runs pass; {shown.word}: {shown.why}"
        record["word"] = "flaky" if {"pass", "fail"} <= set(words) else worst
    return record


def _did_harm(result: Result) -> bool:
    return any(found["harm"] for found in result.record["findings"])


def _forgiven(item: ScenarioItem, word: str) -> str | None:
    """What to call a verdict that is no pass, and fails no run; None if it fails it.

    Harm (a wrong value, a dead client) is never forgiven, whatever the scenario was about.
    """
    chosen = options(item.config)
    if word == "not exercised":
        return word if chosen.allow_not_exercised else None
    if word not in ("fail", "flaky") or chosen.strict or item.entry.obligation == "MUST":
        return None
    assert item.record is not None, "it came to a verdict"
    return None if any(one["harm"] for one in item.record["findings"]) else f"SHOULD, {word}"


def _of_a_part(item: ScenarioItem) -> bool:
    """Whether its run leaves some scenario out, by an option of ours or pytest's, or by a path."""
    run = {one.entry.id for one in item.session.items if isinstance(one, ScenarioItem)}
    return any(not run >= found.keys() for found in item.config.stash[CATALOGUES].values())


def dress(item: ScenarioItem, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Give a scenario's report its line, as data that workers can send."""
    from vault_harness.report import Line, line_of, wire_of

    if item.record is not None:
        line = line_of(item.record, about_leaks=item.entry.leaks)
        extra = {"product": item.record.get("product", ""), "engine": item.record["engine"]}
        extra["wire"] = wire_of(item.record) if item.entry.wire is None else ""
    else:
        why = str(call.excinfo.value) if call.excinfo is not None else ""
        entry = item.entry
        line = Line(
            entry.id, entry.promise, entry.severity, "error", round(report.duration, 2), why
        )
        extra = {"product": "", "engine": "", "wire": ""}
    line = _by_its_mark(report, known(item.config).mark(line))
    # Whether it passes a part of a run cannot tell: another part may have a leak.
    undecided = item.entry.leaks and line.word == "pass" and _of_a_part(item)
    line = replace(line, undecided=undecided)
    if line.word in _EXPLAINED:
        report.sections = []  # what it logged stands in the text, without secrets
    if called := _forgiven(item, line.word):
        line = replace(line, forgiven=line.word != "not exercised")
        extra["text"] = str(report.longrepr)
        report.outcome, report.longrepr = "skipped", ("", 0, f"{called}: {line.why}")
    _as_known(report, line)
    report.scenario = {**asdict(line), **extra}  # type: ignore[attr-defined] # reports carry it


def _by_its_mark(report: pytest.TestReport, line: Line) -> Line:
    """The line of a scenario that pytest's own mark ``xfail`` says to fail: it is known to.

    What proves nothing or breaks down is none of that, nor is harm, though pytest would count it
    so, and show nothing of it.
    """
    reason = getattr(report, "wasxfail", None)
    if reason is None:
        return line
    if line.word != "pass" and not line.known:
        line = replace(line, known="failing", reason=reason or "it is marked xfail")
    if not line.is_excused:
        report.outcome = "passed" if line.word == "pass" else "failed"
        del report.wasxfail
    return line


def _as_known(report: pytest.TestReport, line: Line) -> None:
    """Let pytest count it as it counts: an expected failure is none, a pass of one is."""
    if line.is_news:
        report.outcome = "failed"
        report.longrepr = (
            f"{line.id} is known to fail, and passes: take its line out of the file of known "
            f"failures\n  the reason there: {line.reason}"
        )
    elif line.did_new_harm:
        report.longrepr = (
            f"{report.longrepr}\n  {line.id} is known to fail, and did harm of which the reason "
            f"there does not tell: mend it, or let that begin with harm: ({line.reason})"
        )
    elif line.known and line.counts_as == "kept" and line.word != "pass":
        report.outcome = "skipped"
        report.wasxfail = line.reason
