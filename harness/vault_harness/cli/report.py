"""Show the result of a run: timeline, page, and score."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import Seconds, command, option, repeated
from vault_harness.cli.common import wrong
from vault_harness.cli.printing import complain, say, table
from vault_harness.errors import SettingsError, named
from vault_harness.files import led_to, write_text

if TYPE_CHECKING:
    from vault_harness.judge.report.formats import Score
    from vault_harness.judge.report.outcome import Outcome


@command(
    "timeline",
    group="judge",
    examples=("timeline TOK-11", "timeline TOK-11 --since 2s --until 3.5s --raw"),
    help={
        "id": "a scenario of the last run, for example TOK-11",
        "journal": "the journal of a run, default report/journal.json",
        "since": "leave out what came earlier, counted from the scenario's beginning",
        "until": "leave out what came later",
        "raw": "a line for every moment, repeated ones too",
    },
)
def timeline(
    id: str,  # noqa: A002 -- the word is called ID
    journal: str | None = None,
    since: Seconds = 0.0,
    until: Seconds | None = None,
    raw: bool = False,
) -> None:
    """Print one scenario's history, all witnesses on one clock.

    It shows the steps of the scenario, the client's answers and log, and every request that reached
    Vault.
    """
    from vault_harness.judge.report.explanation import timeline as told

    file = Path(journal) if journal else Path("report") / "journal.json"
    end = float("inf") if until is None else until
    say(told(file, id.upper(), since=since, until=end, raw=raw))


@dataclass(frozen=True)
class Pages:
    """The runs of a page, or the parts of one run."""

    journal: str | None = option("the journal of a run, default report/journal.json")
    beside: str | None = option("the journal of a second run, to show beside it")
    also: list[str] = repeated("the journal of a further run; may be repeated")
    to: str = option("the page, default report/index.html", default="report/index.html")
    join: list[str] = repeated(
        "a part of a run (--shard), or a folder with all of them; may be repeated"
    )
    known: str | None = option("the file of --write-known, default vault-harness.toml")
    write_known: bool = option(
        "with --join: write what is broken in the whole run to that file", default=False
    )
    open: bool = option("open the page in a browser, where there is one", default=False)
    har: str | None = option(
        "write the requests to this file instead, as HAR, for a browser's developer tools"
    )

    @property
    def others(self) -> list[str]:
        return [*([self.beside] if self.beside else []), *self.also]


@command(
    "report",
    group="judge",
    judges=True,
    takes=("journal", "beside"),
    examples=(
        "report",
        "report --open",
        "report --join shards/",
        "report mine/journal.json yours/journal.json --to both.html",
        "report --har run.har",
    ),
)
def report(pages: Pages) -> None:
    """Make the page of a run, or of several side by side.

    The page is one file that needs only a browser: a summary, and a timeline of each scenario.

    With --join it makes one run of all named parts: journal, page, score and badge, and with
    --write-known the file of known failures. The exit code is that of the whole run.
    """
    from vault_harness.judge.report.known import KNOWN_FILE

    page = Path(pages.to)
    if pages.known and not pages.write_known:
        raise SettingsError(
            "--known names the file for --write-known, which was not given",
            looked_at=f"--known {pages.known}",
            remedy="add --write-known, or leave --known out: each part has its known failures",
        )
    if pages.join:
        # A shell makes several words of `--join shards/*`, of which the option takes the first.
        parts = [*pages.join, *([pages.journal] if pages.journal else []), *pages.others]
        file = Path(pages.known or KNOWN_FILE) if pages.write_known else None
        code = _join([Path(part) for part in parts], page, known_file=file)
        if pages.open:
            _open(page)
        if code:
            raise SystemExit(code)
        return
    if pages.write_known:
        raise SettingsError(
            "--write-known is for a run that is joined",
            looked_at="report without --join",
            remedy="name its parts with --join; any other run writes that file itself: "
            f"{named('judge', '--write-known')}",
        )
    from vault_harness.judge.report import load, refuse_foreign_page
    from vault_harness.judge.report.html import write_page

    if pages.har:
        from vault_harness.judge.report.har import write_har

        count = write_har(Path(pages.journal or "report/journal.json"), Path(pages.har))
        say(f"written: {pages.har}, {count} requests")
        return
    refuse_foreign_page(page)
    files = [Path(file) for file in (pages.journal or "report/journal.json", *pages.others)]
    say(f"written: {write_page([load(file) for file in files], page)}")
    if pages.open:
        _open(page)


def _open(page: Path) -> None:
    import webbrowser

    if not webbrowser.open(page.absolute().as_uri()):
        say(f"no browser could be started here; open {page.absolute()} in one")


def _join(places: list[Path], page: Path, *, known_file: Path | None = None) -> int:
    from vault_harness.judge.report import clear, hold, refuse_foreign, refuse_foreign_page
    from vault_harness.judge.report.html import write_page
    from vault_harness.judge.report.join import join, journals_in
    from vault_harness.judge.report.known import NOT_BY_HALF, load_known, write_known
    from vault_harness.judge.report.lines import lines_in
    from vault_harness.judge.report.outcome import outcome
    from vault_harness.judge.report.score import score_of, write_score
    from vault_harness.judge.report.summary import summary_of, write_texts

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
        write_texts(whole, page.parent)
        written = write_page([whole], page)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for text in summary_of(whole).lines(width, page=written):
        say(text)
    complete = whole["complete"]
    lines = lines_in(whole)
    if known is not None and complete:
        written = write_known(known.after(lines), known_file)
        say(f"the failures of this run are recorded as known in {written}")
    elif known is not None:
        complain(NOT_BY_HALF)
    return int(outcome(lines, complete=complete, leaks_known=whole["leaks_known"]))


def _refuse_own_part(paths: Iterable[Path], journal: Path) -> None:
    if journal.exists() and any(path.exists() and path.samefile(journal) for path in paths):
        raise SettingsError(
            "the joined run would replace one of its parts, or is one of them",
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
        "against": "an older score, to show what changed since",
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
    """Grade a run, and compare it with another one.

    Exit code 0; 1: something is worse than in --against; 2: with --against, no critical promise of
    the older score was exercised; 3: with --against or --to, the run did not finish, or with
    --against the harness broke down in a scenario. `docs judge` explains the grades.
    """
    from vault_harness.judge.report import score as scores
    from vault_harness.judge.report.formats import suite_version
    from vault_harness.judge.report.outcome import Outcome

    file = Path(run or "report/journal.json")
    if against:
        _refuse_itself(file, Path(against))
    new = scores.load_score(file)
    old = scores.load_score(Path(against)) if against else None
    if markdown and old is None:
        raise wrong(
            "--markdown tells what changed, and needs --against",
            f"{named('score')} --against OLD.json --markdown FILE",
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
        _show_changes(old, new)
        if markdown:
            write_text(Path(markdown), scores.markdown(old, new))
        found = _compared(old, new)
    if to and not new.complete:
        say(f"{to} is not written: later runs would be compared with an unfinished one")
        found = found or Outcome.CRASHED
    elif to and against and found and _are_one(Path(to), Path(against)):
        say(f"{to} stays as it was: this run is no better; --to without --against replaces it")
    elif to:
        write_text(led_to(Path(to)), scores.as_text(new))
    if found:
        raise SystemExit(int(found))


def _compared(old: Score, new: Score) -> Outcome:
    from vault_harness.judge.report import score as scores
    from vault_harness.judge.report.outcome import Outcome

    if scores.regressed(old, new):
        return Outcome.BROKEN
    if not new.complete or scores.broken_down(new):
        return Outcome.CRASHED
    return Outcome.NOT_EXERCISED if scores.says_nothing(old, new) else Outcome.KEPT


def _are_one(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _refuse_itself(run: Path, against: Path) -> None:
    """Refuse a run's own score, such as that beside its journal: nothing would ever be worse."""
    left = {"journal.json", "score.json"}
    beside = {run.name, against.name} <= left and _are_one(run.parent, against.parent)
    if beside or _are_one(run, against):
        raise SettingsError(
            "the run would be compared with itself, and nothing would ever be worse",
            looked_at=f"{run}, {against}",
            remedy="commit the score of a good run elsewhere, and name that: "
            f"{named('score')} --to score.json",
        )


def _show_changes(old: Score, new: Score) -> None:
    from vault_harness.judge.report import one_line
    from vault_harness.judge.report import score as scores

    rows, rest = scores.in_rows(scores.changes(old, new))
    if rows:
        say()
        say(table([tuple(map(one_line, change.row)) for change in rows]))
    told = [*rest, *(f"new: {text}" for text in scores.harms(old, new))]
    told += [f"also broken: {text}" for text in scores.also_broken(old, new)]
    if not rows:
        say("no verdict changed")
    for text in [*told, *scores.unlike(old, new)]:
        say(one_line(text))  # files of other people must not control this terminal
