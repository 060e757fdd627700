"""Judging a client: the scenarios, and one scenario's history."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vault_harness.cli._command import Seconds, command
from vault_harness.cli._common import run_pytest, settings, suite_place
from vault_harness.cli._console import complain, say, table
from vault_harness.commands import named

if TYPE_CHECKING:
    from vault_harness.report.formats import Score
    from vault_harness.report.outcome import Outcome


@command(
    "scenarios",
    group="judge",
    judges=True,
    examples=(
        "scenarios",
        "scenarios --subject python:yourpackage.module:factory",
        "scenarios --subject 'command:./client --flag' --only TOK-11 --only SEA",
        "scenarios --only critical --declare max_stale=30",
    ),
    help={
        "subject": "the client under test: reference, python:MODULE:FACTORY, command:..., "
        "http://..., agent:FILE",
        "only": "an id (TOK-11), a group (TOK) or a severity (critical, MUST); may be repeated",
        "declare": "a time that the client promises, e.g. max_stale=30; may be repeated",
        "seed": "seed of the network faults, as a failure printed it",
        "repeat": "how many times each scenario runs: one that passes and fails is flaky",
        "ttl-scale": "stretch all lives by this factor, for clients made for longer ones",
        "strict": "fail for a SHOULD too: a promise of medium or low severity",
        "wire": "what client and Vault speak: plain, tls, or h2 (TLS that offers HTTP/2)",
        "shard": "run one of several parts that take about as long as each other: 2/4",
        "workers": "how many scenarios run side by side; what a start of the client costs is not "
        "measured then, and each has 30 s",
        "known": "what the client is known not to keep, default vault-harness.toml if it is there",
        "write-known": "write what is broken in this run to that file",
        "report": "where journal, page and score go, default report/",
        "durations": "tell where the time went",
        "args": "further arguments for pytest, which loads those plugins alone that -p names",
    },
    iterable=["only", "declare"],
)
def scenarios(
    subject: str | None = None,
    only: list[str] | None = None,
    declare: list[str] | None = None,
    seed: int | None = None,
    repeat: int | None = None,
    ttl_scale: float | None = None,
    strict: bool = False,
    wire: str | None = None,
    shard: str | None = None,
    workers: int | None = None,
    known: str | None = None,
    write_known: bool = False,
    report: str | None = None,
    durations: bool = False,
    args: str = "",
) -> None:
    """Break Vault in every way, and judge a client.

    Each scenario has a Vault of its own. `docs subjects` says how a client is named and what it
    must do; report/ has the verdicts and the history of every scenario.

    Exit code 0: every promise was kept, or is known not to be; 1: one was broken, or is known to
    fail and was kept; 2: something was not exercised, or all was skipped; 3: the harness broke
    down, or the run did not come to its end; 4: the command line, a setting or a file makes no
    sense; 5: no scenario was chosen; 130, 143, 129: interrupted.
    """
    options = side_by_side(workers)
    options += ["--vault-subject", subject] if subject is not None else []
    options += ["--vault-durations"] if durations else []
    options += ["--vault-seed", str(seed)] if seed is not None else []
    options += ["--vault-repeat", str(repeat)] if repeat is not None else []
    options += ["--vault-ttl-scale", str(ttl_scale)] if ttl_scale is not None else []
    options += ["--vault-strict"] if strict else []
    options += ["--vault-shard", shard] if shard else []
    options += ["--vault-known", known] if known else []
    options += ["--vault-write-known"] if write_known else []
    options += ["--vault-report", report] if report else []
    options += ["--vault-wire", wire] if wire else []
    _run_suite(options, only, declare, args)


@command(
    "judge",
    group="judge",
    judges=True,
    examples=("judge --subject 'command:./my-client'", "judge --subject http://127.0.0.1:9000"),
    help={
        "subject": "your client: python:MODULE:FACTORY, command:..., http://..., agent:FILE, "
        "reference",
        "declare": "a time that the client promises, e.g. max_stale=30; may be repeated",
        "strict": "fail for a SHOULD too: a promise of medium or low severity",
        "shard": "run one of several parts that take about as long as each other: 2/4",
        "workers": "how many scenarios run side by side, default as a start of the client allows",
        "known": "what the client is known not to keep, default vault-harness.toml if it is there",
        "write-known": "write what is broken in this run to that file",
        "report": "where journal, page and score go, default report/",
    },
    iterable=["declare"],
)
def judge(
    subject: str | None = None,
    declare: list[str] | None = None,
    strict: bool = False,
    shard: str | None = None,
    workers: int | None = None,
    known: str | None = None,
    write_known: bool = False,
    report: str | None = None,
) -> None:
    """Judge a client of yours, with nothing else to set.

    The scenarios that tell most come first. How many run side by side follows from what a start of
    the client costs, unless --workers says it. `docs judge` has exit codes, known failures and CI.
    """
    from vault_harness.errors import SettingsError

    if not subject:
        raise SettingsError(
            "judge needs --subject: the client to judge",
            looked_at="the command line",
            remedy=f"{named('judge')} --subject 'command:./my-client'; "
            f"{named('docs', 'subjects')} says how",
        )
    options = ["--vault-subject", subject, *side_by_side(workers)]
    options += ["--vault-strict"] if strict else []
    options += ["--vault-shard", shard] if shard else []
    options += ["--vault-known", known] if known else []
    options += ["--vault-write-known"] if write_known else []
    options += ["--vault-report", report] if report else []
    _run_suite(options, None, declare, "")


def side_by_side(workers: int | None) -> list[str]:
    """The words that set by hand how many scenarios run at once; none where it is not set."""
    if workers is None:
        return []
    return ["--vault-workers", str(settings(workers=workers).workers)]


def suite_arguments(
    options: list[str], only: list[str], declare: list[str], args: str
) -> list[str]:
    """The words that run the suite, for pytest."""
    chosen = [word for name in only for word in ("--vault-only", name)]
    chosen += [word for text in declare for word in ("--vault-declare", text)]
    return [*suite_place(), *options, *chosen, *shlex.split(args)]


def _run_suite(
    options: list[str], only: list[str] | None, declare: list[str] | None, args: str
) -> NoReturn:
    run_pytest(*suite_arguments(options, only or [], declare or [], args))


@command(
    "timeline",
    group="judge",
    takes=("id",),
    needs=("id",),
    examples=("timeline TOK-11", "timeline TOK-11 --since 2s --until 3.5s --raw"),
    help={
        "id": "of a scenario of the last run, for example TOK-11",
        "journal": "the journal of a run, default report/journal.json",
        "since": "leave out what came earlier, counted from the scenario's begin",
        "until": "leave out what came later",
        "raw": "a line for every moment, however many are alike",
    },
)
def timeline(
    id: str | None = None,  # noqa: A002 -- the word is called ID
    journal: str | None = None,
    since: Seconds = 0.0,
    until: Seconds | None = None,
    raw: bool = False,
) -> None:
    """Print one scenario's history, all witnesses on one clock.

    What the scenario did, what the client answered and logged, and every request that Vault saw.
    """
    from vault_harness.report.timeline import timeline as told

    assert id is not None, "the command line asks for it"
    file = Path(journal) if journal else Path("report") / "journal.json"
    end = float("inf") if until is None else until
    say(told(file, id.upper(), since=since, until=end, raw=raw))


@command(
    "report",
    group="judge",
    judges=True,
    takes=("journal", "beside"),
    examples=(
        "report",
        "report --join shards/",
        "report mine/journal.json yours/journal.json --to both.html",
    ),
    help={
        "journal": "the journal of a run, default report/journal.json",
        "beside": "that of another run, to stand beside it",
        "also": "that of one run more; may be repeated",
        "to": "the page, default report/index.html",
        "join": "a part of a run (--shard), or a folder with all of them; may be repeated",
        "known": "the file of --write-known, default vault-harness.toml",
        "write-known": "with --join: write what is broken in the whole run to that file",
    },
    iterable=["join", "also"],
)
def report(
    journal: str | None = None,
    beside: str | None = None,
    also: list[str] | None = None,
    to: str = "report/index.html",
    join: list[str] | None = None,
    known: str | None = None,
    write_known: bool = False,
) -> None:
    """Make the page of a run, or of several side by side.

    It is one file that needs nothing but a browser: the verdicts, and a timeline of each scenario.
    With --join it makes one run of all parts that are named: journal, page, score and badge, and
    with --write-known the file of known failures. The exit code is then that of the whole run.
    """
    from vault_harness.errors import SettingsError
    from vault_harness.report.known import KNOWN_FILE

    others = [*([beside] if beside else []), *(also or [])]
    if known and not write_known:
        raise SettingsError(
            "--known names the file that --write-known writes, and that is not asked for",
            looked_at=f"--known {known}",
            remedy="add --write-known, or leave --known out: each part has what it knew",
        )
    if join:
        # `--join shards/*` is several words for a shell, and the option takes the first.
        parts = [*join, *([journal] if journal else []), *others]
        file = Path(known or KNOWN_FILE) if write_known else None
        _join([Path(part) for part in parts], Path(to), known_file=file)
        return
    if write_known:
        raise SettingsError(
            "--write-known is for a run that is joined",
            looked_at="report without --join",
            remedy="name its parts with --join; any other run writes that file itself: "
            f"{named('judge', '--write-known')}",
        )
    from vault_harness.report import load, refuse_foreign_page
    from vault_harness.report.html import write_page

    refuse_foreign_page(Path(to))
    files = [Path(file) for file in (journal or "report/journal.json", *others)]
    say(f"written: {write_page([load(file) for file in files], Path(to))}")


def _join(places: list[Path], page: Path, *, known_file: Path | None = None) -> None:
    from vault_harness.files import write_text
    from vault_harness.report import clear, hold, refuse_foreign, refuse_foreign_page
    from vault_harness.report.html import write_page
    from vault_harness.report.join import join, journals_in, lines_of
    from vault_harness.report.known import NOT_BY_HALF, load_known, write_known
    from vault_harness.report.outcome import outcome
    from vault_harness.report.score import score_of, told, write_score

    paths, journal = journals_in(places), page.with_name("journal.json")
    _refuse_own_part(paths, journal)
    known = load_known(known_file, begin=True) if known_file is not None else None
    whole = join(paths, known=known)
    graded = score_of(whole)
    with ExitStack() as closing:
        closing.callback(os.close, hold(page.parent))
        refuse_foreign(page.parent)
        refuse_foreign_page(page)
        clear(page.parent)
        write_text(journal, json.dumps(whole, indent=1) + "\n")
        write_score(graded, page.parent)
        written = write_page([whole], page)
    say(whole["summary"])
    say(told(graded))
    say(f"written: {written}")
    complete = whole["complete"]
    lines = lines_of(whole["scenarios"], undecided=bool(whole["left_out"]) or not complete)
    if known is not None and complete:
        written = write_known(known.after(lines), known_file)
        say(f"what is broken is known from now on: {written}")
    elif known is not None:
        complain(NOT_BY_HALF)
    found = outcome(lines, complete=complete, leaks_known=whole["leaks_known"])
    if found:
        raise SystemExit(int(found))


def _refuse_own_part(paths: Iterable[Path], journal: Path) -> None:
    """Refuse to write the whole over what it is made of: it could not be made again.

    Raises:
        SettingsError: One of the parts is where the journal of the whole would be.
    """
    from vault_harness.errors import SettingsError

    if journal.exists() and any(path.exists() and path.samefile(journal) for path in paths):
        raise SettingsError(
            "the whole would replace one of its parts, or an earlier whole is among them",
            looked_at=str(journal),
            remedy="name a folder that has none of the parts: --to FOLDER/index.html; "
            "and let --join name those alone",
        )


@command(
    "score",
    group="judge",
    judges=True,
    takes=("run",),
    examples=("score", "score --against score.json", "score report/journal.json --to score.json"),
    help={
        "run": "journal.json or score.json of a run, default report/journal.json",
        "against": "an older one, as it was committed: what changed is told",
        "to": "write the score to this file",
        "badge": "write a badge for shields.io to this file",
        "markdown": "write what changed to this file, for a pull request",
    },
)
def score(
    run: str | None = None,
    against: str | None = None,
    to: str | None = None,
    badge: str | None = None,
    markdown: str | None = None,
) -> None:
    """Grade a run, and tell what changed since another one.

    Exit code 0, and 1 where --against is given and something got worse; 2: it is given, and of
    the critical promises that were judged before none was exercised; 3: it is, or --to, and the run
    did not come to its end; or it is, and the harness broke down in a scenario. `docs judge` says
    how grades come about.
    """
    from vault_harness.errors import SettingsError
    from vault_harness.files import led_to, write_text
    from vault_harness.report import score as scores
    from vault_harness.report.formats import suite_version
    from vault_harness.report.outcome import Outcome

    file = Path(run or "report/journal.json")
    if against:
        _refuse_itself(file, Path(against))
    new = scores.load_score(file)
    old = scores.load_score(Path(against)) if against else None
    if markdown and old is None:
        raise SettingsError(
            "--markdown tells what changed, and needs --against",
            looked_at="the command line",
            remedy=f"{named('score')} --against OLD.json --markdown FILE",
        )
    if to:
        scores.refuse_another(Path(to), "score")
    if badge:
        scores.refuse_another(Path(badge), "badge")
    say(scores.told(new))
    if badge:
        drawn = scores.badge(new, version=suite_version())
        write_text(led_to(Path(badge)), json.dumps(drawn, indent=1) + "\n")
    found = Outcome.KEPT
    if old is not None:
        _tell_changes(old, new)
        if markdown:
            write_text(Path(markdown), scores.markdown(old, new))
        found = _compared(old, new)
    if to and not new.complete:
        say(f"{to} is not written: later runs would be compared with a part of one")
        found = found or Outcome.CRASHED
    elif to and against and found and _are_one(Path(to), Path(against)):
        say(f"{to} stays as it was: this run is no better; --to without --against replaces it")
    elif to:
        write_text(led_to(Path(to)), scores.as_text(new))
    if found:
        raise SystemExit(int(found))


def _compared(old: Score, new: Score) -> Outcome:
    """The exit code of a comparison."""
    from vault_harness.report import score as scores
    from vault_harness.report.outcome import Outcome

    if scores.regressed(old, new):
        return Outcome.BROKEN
    if not new.complete or scores.broken_down(new):
        return Outcome.CRASHED
    return Outcome.NOT_EXERCISED if scores.says_nothing(old, new) else Outcome.KEPT


def _are_one(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _refuse_itself(run: Path, against: Path) -> None:
    """Refuse to compare a run with its own score: nothing ever got worse by that.

    Raises:
        SettingsError: It is that, or that file lies beside the run's journal under its name.
    """
    from vault_harness.errors import SettingsError

    left = {"journal.json", "score.json"}
    beside = {run.name, against.name} <= left and _are_one(run.parent, against.parent)
    if beside or _are_one(run, against):
        raise SettingsError(
            "the run would be compared with itself, and nothing would ever be worse",
            looked_at=f"{run}, {against}",
            remedy="commit the score of a good run elsewhere, and name that: "
            f"{named('score')} --to score.json",
        )


def _tell_changes(old: Score, new: Score) -> None:
    from vault_harness.report import one_line
    from vault_harness.report import score as scores

    rows, rest = scores.in_rows(scores.changes(old, new))
    if rows:
        say()
        say(table([tuple(map(one_line, change.row)) for change in rows]))
    told = [*rest, *(f"new: {text}" for text in scores.harms(old, new))]
    told += [f"also broken: {text}" for text in scores.also_broken(old, new)]
    if not rows:
        say("no verdict changed")
    for text in [*told, *scores.unlike(old, new)]:
        say(one_line(text))  # files of others: what stands in them is not to clear this terminal
