"""Published Vault clients: list them, and judge one again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault_harness.cli.command import command
from vault_harness.cli.common import use_engine
from vault_harness.cli.judge import Suite
from vault_harness.cli.printing import say, table
from vault_harness.cli.running import PYTEST, pytest_environment, run_child
from vault_harness.errors import HarnessDefect, NotJudged, SettingsError, named
from vault_harness.files import write_text

if TYPE_CHECKING:
    from vault_harness.judge.clients import Client
    from vault_harness.judge.report.formats import Score


@command(
    "clients",
    group="judge",
    judges=True,
    takes=("name",),
    examples=(
        *("clients", "clients hvac", "clients hvac --only critical", "clients hvac --write"),
        *("clients hvac --only KV-07 --write", "clients --write"),
    ),
    fields=("only", "report", "workers", "engine"),
    help={
        "name": "a client of the list; without a name all are listed",
        "report": "where the runs leave their reports, default report/clients/NAME",
        "workers": "how many scenarios run side by side; the default depends on the client's start",
        "write": "publish: write the client's score (with --only just those verdicts) and all "
        "pages in docs/clients; without a name only the pages",
    },
)
def clients(name: str | None = None, *, suite: Suite, write: bool = False) -> None:
    """List the published clients, or build one and judge it.

    Its own package manager builds it in the user's cache. What does not pass at once runs five
    times more, to tell flaky from broken. The result is compared with the published one.

    Exit code 0: as published; 1: a verdict differs; 3: a run broke down, or nothing was proved; 4:
    a wrong command line.
    """
    from vault_harness.judge.clients import broken_down, find, proved_nothing, score_of_client
    from vault_harness.judge.report.score import updated

    use_engine(suite.engine)
    if write:
        _refuse_without_a_checkout()
    if name is None:
        _write_pages() if write else _list()
        return
    client = find(name)
    if write and suite.only:
        _refuse_a_part_of_nothing(client)
    folder = Path(suite.report or f"report/clients/{name}")
    run = _judged(client, folder, suite)
    if broken := broken_down(run):
        raise NotJudged(
            f"{len(broken)} scenario{'s' * (len(broken) > 1)} ended with an error of the harness, "
            "which says nothing about the client; nothing was written",
            looked_at=f"{folder}: {', '.join(broken)}",
            remedy="their logs there show what broke down; fix that, and run this again",
        )
    score = score_of_client(client, run)
    published = client.score()
    if proved_nothing(score, published):
        raise NotJudged(
            "no scenario was exercised, which says nothing of the client; nothing was written",
            looked_at=f"{folder}: {_first_reason(run)}",
            remedy="see there why its adapter does not start, or reads nothing; fix that, and "
            "run this again",
        )
    if write:
        _publish(client, updated(published, score) if suite.only and published else score)
        return
    if published is None:
        say("nothing about it is published yet")
        return
    _compare(client, published, score)


def _first_reason(run: Journal) -> str:
    reasons = (one.get("why") for one in run["scenarios"] if one["word"] == "not exercised")
    return next((str(why) for why in reasons if why), "no reason given")


def _list() -> None:
    from vault_harness.judge.clients import known_clients, missing_tools

    rows = []
    for client in known_clients().values():
        score = client.score()
        grade = "not judged yet" if score is None else f"grade {score.grade or 'none'}"
        lacking = ", ".join(missing_tools(client))
        here = f"needs {lacking}, which is not here" if lacking else "can be made here"
        rows.append((client.name, f"{client.title} {client.version}", client.language, grade, here))
    say(table(rows))


def _refuse_a_part_of_nothing(client: Client) -> None:
    if client.score() is None:
        raise SettingsError(
            "--only with --write changes some verdicts of a score, and none is published",
            looked_at=str(client.score_file),
            remedy="leave out --only, and have the whole suite judge it",
        )


def _refuse_without_a_checkout() -> None:
    from vault_harness.settings import checkout

    if checkout() is None:
        raise SettingsError(
            "--write writes scores and pages into a checkout, and this is not one",
            looked_at="the installed package",
            remedy=f"clone the repository, and run `{named('clients', 'NAME', '--write')}` there",
        )


Journal = Mapping[str, Any]


def _judged(client: Client, report: Path, suite: Suite) -> Journal:
    from vault_harness.judge.clients import QUIET_RUNS, install
    from vault_harness.judge.report import load

    suite = suite.checked()  # before anything is built
    suite = replace(suite, subject=client.subject(install(client)), report=str(report))
    words = replace(suite, confirm=suite.confirm or QUIET_RUNS).words()
    code = run_child([sys.executable, *PYTEST, *words], env=pytest_environment())
    if code not in _JUDGED:
        raise SystemExit(code)
    journal: Journal = load(report / "journal.json")
    if not journal.get("complete"):
        raise HarnessDefect(
            "a run ended well, and its journal is not complete", looked_at=str(report)
        )
    return journal


_JUDGED = (0, 1, 2)
"""Of a run that ended with verdicts."""


def _publish(client: Client, score: Score) -> None:
    from vault_harness.judge.report.score import as_text, told

    write_text(client.score_file, as_text(score))
    say(told(score))
    say(f"written: {client.score_file}")
    _write_pages()


def _write_pages() -> None:
    from vault_harness.judge.catalogue import CATALOGUE, load
    from vault_harness.judge.clients import PAGES, known_clients, pages
    from vault_harness.settings import checkout, scenarios_folder

    root = checkout()
    assert root is not None, "refused before"
    entries = load(scenarios_folder() / CATALOGUE)
    for file, text in pages(known_clients(), entries).items():
        write_text(root / PAGES / file, text)
    say(f"written: {root / PAGES}")


def _compare(client: Client, published: Score, score: Score) -> None:
    from vault_harness.judge.clients import differences

    found = differences(client, published, score)
    # Only the scenarios that ran.
    found = [change for change in found if change.id in score.scenarios]
    if not found:
        say("\nas published, in all that was asked")
        return
    say(table([change.row for change in found]))
    raise SystemExit(1)
