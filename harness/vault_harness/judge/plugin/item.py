"""Run a scenario as a test item."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vault_harness.errors import HarnessError, SettingsError
from vault_harness.judge.plugin.options import (
    OF_A_SUITE,
    POSTGRESQL,
    TOXIPROXY,
    WITNESS,
    Options,
    known,
    options,
    words_of,
)
from vault_harness.judge.plugin.progress import telling

if TYPE_CHECKING:
    from vault_harness.judge.catalogue import Entry
    from vault_harness.judge.environment import Environment
    from vault_harness.judge.report import Line

_EXPLAINED = ("fail", "not exercised", "flaky", "error")

CATALOGUES = pytest.StashKey["dict[Path, dict[str, Entry]]"]()


def entry_of(config: pytest.Config, file: Path, id: str = "") -> Entry:  # noqa: A002 - it is one
    from vault_harness.judge.catalogue import find_catalogue, load

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
    """Refuse what would not run as intended: a method, a coroutine, further parameters."""
    name = f"{function.__module__}.{function.__qualname__}"
    if in_class:
        what = "is in a class: write it as a function of its module"
    elif inspect.iscoroutinefunction(function):
        what = "is a coroutine, which is never awaited: write it with def"
    elif len(inspect.signature(function).parameters) != 1:
        what = "must take its lab and nothing else: it can have no fixtures and no parameters"
    else:
        return
    raise pytest.UsageError(f"the scenario {name} {what}")


_ENVIRONMENT = pytest.StashKey["Environment"]()
CLOSING = pytest.StashKey[ExitStack]()


def _environment(config: pytest.Config) -> Environment:
    if _ENVIRONMENT not in config.stash:
        from vault_harness.judge.environment import Given, open_environment
        from vault_harness.judge.report import parts_folder
        from vault_harness.judge.subjects import parse_subject
        from vault_harness.settings import Settings

        chosen = options(config)
        begun = config.stash.get(POSTGRESQL, None)
        parts = parts_folder(chosen.report, chosen.run)
        closing = ExitStack()
        config.stash[CLOSING] = closing
        given = Given(
            toxiproxy=config.stash.get(TOXIPROXY, None),
            postgresql=begun.begin() if begun is not None else None,
            witness=config.stash.get(WITNESS, None),
        )
        opened = open_environment(
            Settings.from_environment(),
            parse_subject(chosen.subject),
            seed=chosen.seed,
            given=given,
        )
        config.stash[_ENVIRONMENT] = replace(
            closing.enter_context(opened),
            declared=dict(chosen.declared),
            ttl_scale=chosen.ttl_scale,
            turns=parts / "turns",
            wire=chosen.wire,
            start=chosen.start,
            watched=lambda lab: telling(lab, parts),
        )
    return config.stash[_ENVIRONMENT]


@dataclass
class Tries:
    """The runs of a scenario so far, as data that forks can send.

    Attributes:
        told: The record of each verdict; ``--repeat`` asks for several.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)


class ScenarioItem(pytest.Item):
    """A scenario as a test, run on its own servers.

    Attributes:
        put_off: Whether it ends after one run even if unsettled, to be confirmed later.
        in_turn: Whether the parent limits the scenarios beside a quiet run.
        record: Set once it is settled.
    """

    def __init__(self, *, entry: Entry, function: Callable[..., None], **more: Any) -> None:
        super().__init__(**more)
        self.entry = entry
        self.function = function
        self.tries = Tries()
        self.put_off = self.in_turn = False
        self.record: dict[str, Any] | None = None
        for mark in getattr(function, "pytestmark", ()):
            self.own_markers.append(mark)
            self.keywords[mark.name] = mark
        # A subject that leaves a file open or loses a thread must not cause an error of the test.
        self.add_marker(pytest.mark.filterwarnings("ignore"))

    def begin(self, tries: Tries | None) -> None:
        """`tries` are the runs to confirm; None before the first run."""
        self.in_turn, self.put_off = True, tries is None
        self.tries = Tries() if tries is None else tries

    @property
    def is_unsettled(self) -> bool:
        return self.put_off and bool(self.tries.runs)

    def runtest(self) -> None:
        """Raise `ScenarioEnded` if it does not pass."""
        from vault_harness.judge import confirmation
        from vault_harness.judge.report import parts_folder, write_part

        chosen = options(self.config)
        while not self._is_over(chosen.repeat):
            self._run_once()
            if self.is_unsettled:
                return
        self.record = record = {**confirmation.joined(self.tries.told), "again": self._again()}
        write_part(parts_folder(chosen.report, chosen.run), record)
        if record["word"] == "skipped":
            pytest.skip(record["why"])
        if record["word"] != "pass":
            raise ScenarioEnded(record["word"])

    def _run_once(self) -> None:
        from vault_harness.judge import confirmation
        from vault_harness.judge.run import run_scenario

        environment, confirm = _environment(self.config), options(self.config).confirm
        runs = self.tries.runs
        alone = bool(runs) and not self.in_turn
        runs.append(run_scenario(environment, self.entry, self.function, alone=alone).record)
        if confirmation.settled(runs, confirm=confirm) is not None:
            self.tries.told.append(confirmation.told(runs, confirm=confirm))
            runs.clear()

    def _is_over(self, repeat: int) -> bool:
        told = self.tries.told
        return len(told) >= repeat or any(one["word"] == "skipped" for one in told[:1])

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if self.record is None or not excinfo.errisinstance(ScenarioEnded):
            if excinfo.errisinstance(HarnessError):
                return str(excinfo.value)
            return super().repr_failure(excinfo, style)
        from vault_harness.judge.report import explain

        text = explain(self.record, again=self.record["again"])
        return f"{text}\n{self.record['trace']}" if self.record.get("trace") else text

    def _again(self) -> str:
        """Name the task, or pytest in another repository."""
        suite = OF_A_SUITE in self.config.stash
        name = self.entry.id if suite else self._from_here()
        return options(self.config).again(name, by_pytest=not suite)

    def _from_here(self) -> str:
        """Relative to the folder where this run was started."""
        file = os.path.relpath(self.path, self.config.invocation_params.dir)
        return f"{file}::{self.name}"  # a scenario is never in a class

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, self.function.__code__.co_firstlineno - 1, f"{self.entry.id} {self.name}"


def without(scenarios: list[ScenarioItem], chosen: Options) -> list[ScenarioItem]:
    asked = [s for s in scenarios if not chosen.only or chosen.only & words_of(s.entry)]
    if chosen.shard is not None:
        from vault_harness.judge.catalogue import shard

        mine = shard({s.entry.id: s.entry.seconds for s in asked}, *chosen.shard)
        asked = [s for s in asked if s.entry.id in mine]
    return [s for s in scenarios if s not in asked]


def refuse_twice(scenarios: Iterable[ScenarioItem]) -> None:
    """Raise `SettingsError` if two scenarios share an id: one verdict would stand for both."""
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
    """Return the scenarios that tell most first, then the long ones.

    Workers begin with two items, and should not run two of the first few one after the other.
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
    """Raised if a scenario does not pass."""


def _forgiven(item: ScenarioItem, word: str) -> str | None:
    """Return how to call a verdict that does not fail the run; None if it fails the run.

    Harm, such as a wrong value, always fails the run.
    """
    chosen = options(item.config)
    if word == "not exercised":
        return word if chosen.allow_not_exercised else None
    if word not in ("fail", "flaky") or chosen.strict or item.entry.obligation == "MUST":
        return None
    assert item.record is not None, "it came to a verdict"
    return None if any(one["harm"] for one in item.record["findings"]) else f"SHOULD, {word}"


def _of_a_part(item: ScenarioItem) -> bool:
    """Return whether the run leaves out a scenario, by an option or a path."""
    run = {one.entry.id for one in item.session.items if isinstance(one, ScenarioItem)}
    return any(not run >= found.keys() for found in item.config.stash[CATALOGUES].values())


def dress(item: ScenarioItem, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    from vault_harness.judge.report import Line, line_of, wire_of

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
    # A part of a run cannot decide on a pass: another part may have a leak.
    undecided = item.entry.leaks and line.word == "pass" and _of_a_part(item)
    line = replace(line, undecided=undecided)
    if line.word in _EXPLAINED:
        report.sections = []  # the text has the log, without secrets
    if called := _forgiven(item, line.word):
        line = replace(line, forgiven=line.word != "not exercised")
        extra["text"] = str(report.longrepr)
        report.outcome, report.longrepr = "skipped", ("", 0, f"{called}: {line.why}")
    _as_known(report, line)
    report.scenario = {"line": asdict(line), **extra}  # type: ignore[attr-defined] # reports carry it


def _by_its_mark(report: pytest.TestReport, line: Line) -> Line:
    """Treat a scenario with pytest's ``xfail`` as a known failure.

    Pytest would hide harm, errors and ``not exercised`` too. Those keep their own outcome.
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
    """Make pytest count a known failure as excused, and its pass as a failure."""
    if line.is_news:
        report.outcome = "failed"
        report.longrepr = (
            f"{line.id} is known to fail, and passes: remove its line from the file of known "
            f"failures\n  the reason there: {line.reason}"
        )
    elif line.did_new_harm:
        report.longrepr = (
            f"{report.longrepr}\n  {line.id} is known to fail, and did harm that the reason there "
            f"does not mention: fix it, or begin the reason with harm: ({line.reason})"
        )
    elif line.known and line.counts_as == "kept" and line.word != "pass":
        report.outcome = "skipped"
        report.wasxfail = line.reason
