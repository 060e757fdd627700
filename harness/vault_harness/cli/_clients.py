"""Real clients of other people: what is published of them, and judging one again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault_harness.cli._child import run_child
from vault_harness.cli._command import command
from vault_harness.cli._common import PYTEST, pytest_environment
from vault_harness.cli._console import say, table
from vault_harness.cli._judge import side_by_side, suite_arguments

if TYPE_CHECKING:
    from vault_harness.clients import Client
    from vault_harness.report.formats import Score


@command(
    "clients",
    group="judge",
    judges=True,
    takes=("name",),
    examples=(
        *("clients", "clients hvac", "clients hvac --only critical", "clients hvac --write"),
        *("clients hvac --only KV-07 --write", "clients --write"),
    ),
    help={
        "name": "of a client, as the list has it; all are listed without",
        "only": "an id (TOK-11), a group (TOK) or a severity (critical, MUST); may be repeated",
        "report": "where the runs leave their reports, default report/clients/NAME",
        "workers": "how many scenarios run side by side, default as a start of the client allows",
        "write": "publish: write the client's score, or with --only those verdicts in it, and all "
        "pages in docs/clients; without a name the pages alone, of what there is",
    },
    iterable=["only"],
)
def clients(
    name: str | None = None,
    only: list[str] | None = None,
    report: str | None = None,
    workers: int | None = None,
    write: bool = False,
) -> None:
    """List the real clients, or make one and judge it.

    It is made by its own package manager in the user's cache. What it does not keep is asked three
    times more, so that flaky is told from broken, and compared with what is published. Exit code 0:
    as published; 1: a verdict differs; 3: something broke down, or nothing was proved; 4: a wrong
    command line.
    """
    from vault_harness.clients import broken_down, find, proved_nothing, settled
    from vault_harness.errors import NotJudged
    from vault_harness.report.score import updated

    if write:
        _refuse_without_a_checkout()
    if name is None:
        _write_pages() if write else _list()
        return
    client = find(name)
    if write and only:
        _refuse_a_part_of_nothing(client)
    folder = Path(report or f"report/clients/{name}")
    first, again = _judged(client, folder, only or [], workers)
    if broken := broken_down(first, again):
        raise NotJudged(
            f"{len(broken)} scenario{'s' * (len(broken) > 1)} ended with an error of the harness, "
            "which says nothing of the client; nothing was written",
            looked_at=f"{folder}: {', '.join(broken)}",
            remedy="their logs there say what broke down; mend that, and this again",
        )
    score = settled(client, first, again)
    published = client.score()
    if proved_nothing(score, published):
        raise NotJudged(
            "no scenario was exercised, which says nothing of the client; nothing was written",
            looked_at=f"{folder}: {_first_reason(first)}",
            remedy="see there why its adapter does not start, or reads nothing; mend that, and "
            "this again",
        )
    if write:
        _publish(client, updated(published, score) if only and published else score)
        return
    if published is None:
        say("nothing is published of it yet")
        return
    _compare(client, published, score)


def _first_reason(run: Journal) -> str:
    """Why the first scenario that was not exercised was not."""
    reasons = (one.get("why") for one in run["scenarios"] if one["word"] == "not exercised")
    return next((str(why) for why in reasons if why), "no reason is told")


def _list() -> None:
    from vault_harness.clients import known_clients, missing_tools

    rows = []
    for client in known_clients().values():
        score = client.score()
        grade = "not judged yet" if score is None else f"grade {score.grade or 'none'}"
        lacking = ", ".join(missing_tools(client))
        here = f"needs {lacking}, which is not here" if lacking else "can be made here"
        rows.append((client.name, f"{client.title} {client.version}", client.language, grade, here))
    say(table(rows))


def _refuse_a_part_of_nothing(client: Client) -> None:
    """Refuse to publish what would not be a whole score."""
    from vault_harness.errors import SettingsError

    if client.score() is None:
        raise SettingsError(
            "--only with --write changes some verdicts of a score, and none is published",
            looked_at=str(client.score_file),
            remedy="leave out --only, and have the whole suite judge it",
        )


def _refuse_without_a_checkout() -> None:
    """Refuse to publish where there is no place for it."""
    from vault_harness.commands import named
    from vault_harness.errors import SettingsError
    from vault_harness.settings import checkout

    if checkout() is None:
        raise SettingsError(
            "--write writes scores and pages into a checkout, and this is none",
            looked_at="the installed package",
            remedy=f"clone the repository, and run `{named('clients', 'NAME', '--write')}` there",
        )


Journal = Mapping[str, Any]


def _judged(
    client: Client, report: Path, only: list[str], workers: int | None
) -> tuple[Journal, Journal | None]:
    """Make a client, run the suite, and what it did not keep again: the journals of both runs."""
    from vault_harness.clients import install, to_settle

    side = side_by_side(workers)  # one that makes no sense is refused before anything is made
    subject = client.subject(install(client))
    first = _run([*side, "--vault-subject", subject], only, report)
    again = None
    if ids := to_settle(first):
        say(f"\nagain, three times each, to tell flaky from broken: {', '.join(ids)}")
        words = [*side, "--vault-subject", subject, *_REPEAT]
        again = _run(words, ids, report / "again", engine=str(first["engine"]))
    return first, again


_REPEAT = ("--vault-repeat", "3")


def _run(options: list[str], only: list[str], report: Path, *, engine: str = "") -> Journal:
    """Run the suite in a process of its own, and give its journal.

    Args:
        options: Of pytest.
        only: What to run.
        report: Where its report goes.
        engine: Which engine; empty for the one that is asked for, or is here now.
    """
    from vault_harness.errors import HarnessDefect
    from vault_harness.report import load

    words = suite_arguments([*options, "--vault-report", str(report)], only, [], "")
    environ = pytest_environment() | ({"HARNESS_ENGINE": engine} if engine else {})
    code = run_child([sys.executable, *PYTEST, *words], env=environ)
    if code not in _JUDGED:
        raise SystemExit(code)
    journal: Journal = load(report / "journal.json")
    if not journal.get("complete"):
        raise HarnessDefect(
            "a run ended well, and its journal is not complete", looked_at=str(report)
        )
    return journal


_JUDGED = (0, 1, 2)
"""Exit codes of a run that came to its end with verdicts."""


def _publish(client: Client, score: Score) -> None:
    from vault_harness.files import write_text
    from vault_harness.report.score import as_text, told

    write_text(client.score_file, as_text(score))
    say(told(score))
    say(f"written: {client.score_file}")
    _write_pages()


def _write_pages() -> None:
    from vault_harness.clients import PAGES, known_clients, pages
    from vault_harness.files import write_text
    from vault_harness.scenario.catalogue import CATALOGUE, load
    from vault_harness.settings import checkout, scenarios_folder

    root = checkout()
    assert root is not None, "refused before"
    entries = load(scenarios_folder() / CATALOGUE)
    for file, text in pages(known_clients(), entries).items():
        write_text(root / PAGES / file, text)
    say(f"written: {root / PAGES}")


def _compare(client: Client, published: Score, score: Score) -> None:
    from vault_harness.clients import differences

    found = differences(client, published, score)
    # Only what was asked: a run of some scenarios says nothing of the others.
    found = [change for change in found if change.id in score.scenarios]
    if not found:
        say("\nas published, in all that was asked")
        return
    say(table([change.row for change in found]))
    raise SystemExit(1)
