"""The pages about real clients, made from their scores and notes alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import get_args

from vault_harness.clients._client import Client, Note
from vault_harness.commands import PROGRAM
from vault_harness.report.formats import Judged, Score, Severity, release, suite_version
from vault_harness.report.score import profile
from vault_harness.scenario.catalogue import Entry

PAGES = "docs/clients"
"""Where they are in a checkout."""

_BROKEN = ("fail", "flaky")
_SEVERITIES: tuple[Severity, ...] = get_args(Severity)

# A page is committed and read elsewhere, so it names the installed program, whoever made it.
_HEAD = f"""# Real clients, judged

Made by `{PROGRAM} clients NAME --write` from the scores and notes in `scenarios/clients/`; a
test says when a page is out of date. Each client is used as its own documentation tells its users
to use it, and its adapter adds no intelligence: what it keeps and breaks is the library's doing, in
this version, on its defaults. What a client does not claim it is not asked, so two grades are
comparable only for the same claims. `{PROGRAM} clients NAME` makes one and judges it again.

A grade of F means harm that others see (a locked role, a token sent to a stranger, a wrong value);
see [how grades come about](../judge.md#grades). A `?` stands where the verdict differed from run to
run. *Critical* and *high* promises are MUSTs.
"""

_AGE = """## How old a score is

A score is of one release of the suite, in the column *suite*; promises are quoted as they are now.
Within a release the same is asked of every client. The next one asks more, or grants more:
[CHANGELOG.md](../../CHANGELOG.md) says what, and the page of a client whose score is older says so
and names the scenarios that are newer. Before you rely on such a line, judge that client anew.
"""


def pages(clients: Mapping[str, Client], entries: Mapping[str, Entry]) -> dict[str, str]:
    """All pages by the names of their files.

    Args:
        clients: All real clients; those without a score have no page.
        entries: The catalogue of scenarios.
    """
    scored = [(client, score) for client in clients.values() if (score := client.score())]
    made = {f"{client.name}.md": page(client, score, entries) for client, score in scored}
    return {"README.md": overview(scored, entries), **made}


def overview(scored: Iterable[tuple[Client, Score]], entries: Mapping[str, Entry]) -> str:
    """One table over all clients.

    Args:
        scored: They, each with what it came to.
        entries: The catalogue of scenarios.
    """
    head = ["client", "version", "language", "suite", "grade", "claims", "scenarios"]
    head += [f"{severity} kept" for severity in ("critical", "high", "SHOULD")]
    head.append("critical, and broken")
    rows = [_overview_row(client, score, entries) for client, score in scored]
    table = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join([_HEAD, *table, "", _AGE])


def _overview_row(client: Client, score: Score, entries: Mapping[str, Entry]) -> list[str]:
    ids = [f"{id}{'?' if one.verdict == 'flaky' else ''}" for id, one in _broken(score, "critical")]  # noqa: A001
    return [
        f"[{client.title}]({client.name}.md)",
        client.version,
        client.language,
        score.suite_version,
        score.grade or "none",
        profile(score),
        f"{len(entries) - len(_newer(score, entries))} of {len(entries)}",
        _kept(score, "critical"),
        _kept(score, "high"),
        _kept(score, "medium", "low"),
        ", ".join(ids) or "none",
    ]


def _kept(score: Score, *severities: Severity) -> str:
    """How many promises were kept of those that say something: ``20 of 24``."""
    asked = [one for one in score.scenarios.values() if one.severity in severities]
    said = [one for one in asked if one.verdict in ("pass", *_BROKEN)]
    return f"{sum(one.verdict == 'pass' for one in said)} of {len(said)}"


def page(client: Client, score: Score, entries: Mapping[str, Entry]) -> str:
    """The page of one client.

    Args:
        client: Which.
        score: What it came to.
        entries: The catalogue of scenarios, for the promises.
    """
    parts = [
        f"# {client.title}",
        (
            f"Made by the suite from `scenarios/clients/{client.name}/`; [all clients](README.md), "
            "[how they are judged](../judging.md)."
        ),
        _facts(client, score, entries),
        f"**What the adapter does.** {client.adapter.strip()}",
        f"```sh\n{PROGRAM} clients {client.name}\n```",
        _breaks(score, entries),
        _mechanisms(client, score, entries),
        _rest(client, score),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _newer(score: Score, entries: Mapping[str, Entry]) -> list[str]:
    """The scenarios that there were not yet when it was made."""
    return sorted(set(entries) - set(score.scenarios))


def _facts(client: Client, score: Score, entries: Mapping[str, Entry]) -> str:
    newer = _newer(score, entries)
    judged_by = f"suite {score.suite_version}, {score.surroundings.server}"
    if release(score.suite_version) != release(suite_version()):
        judged_by += ": [older](README.md#how-old-a-score-is) than this one"
    rows = [
        ("version", f"{client.version}, {client.language} ([source]({client.home}))"),
        ("claims", profile(score)),
        ("grade", score.grade or "none: " + "; ".join(score.why)),
        ("judged by", judged_by),
        *([("newer than this score", ", ".join(newer))] if newer else []),
        ("critical promises kept", _kept(score, "critical")),
        ("high ones kept", _kept(score, "high")),
        ("medium and low ones kept", _kept(score, "medium", "low")),
    ]
    return "\n".join(["| | |", "| --- | --- |", *map(_row, rows)])


def _breaks(score: Score, entries: Mapping[str, Entry]) -> str:
    rows = [
        (
            id,
            severity,
            _promise(id, entries),
            "; ".join(one.harm or one.broken) + (" (flaky)" if one.verdict == "flaky" else ""),
        )
        for severity in _SEVERITIES
        for id, one in _broken(score, severity)  # noqa: A001 - it is one
    ]
    if not rows:
        return "## What it breaks\n\nNothing that it was asked."
    head = ["| scenario | | promise | what was not kept |", "| --- | --- | --- | --- |"]
    return "\n".join(["## What it breaks", "", *head, *map(_row, rows)])


def _mechanisms(client: Client, score: Score, entries: Mapping[str, Entry]) -> str:
    """Why it breaks its critical promises, and whatever else there is a note for."""
    critical = [id for id, _ in _broken(score, "critical")]  # noqa: A001 - it is one
    others = [
        id
        for severity in _SEVERITIES[1:]
        for id, _ in _broken(score, severity)  # noqa: A001 - it is one
        if id in client.notes
    ]
    if not critical + others:
        return ""
    said = [_mechanism(id, client.notes.get(id), entries) for id in critical + others]  # noqa: A001
    return "\n\n".join(["## Why", *said])


def _mechanism(id: str, note: Note | None, entries: Mapping[str, Entry]) -> str:  # noqa: A002
    if note is None:
        return f"**{id}** {_promise(id, entries)}. The mechanism is missing: nobody has looked yet."
    text = f"**{id}** {_promise(id, entries)}. {note.mechanism.strip()}"
    return text + "".join(f" Upstream: <{address}>." for address in note.upstream)


def _rest(client: Client, score: Score) -> str:
    lines = ["## The rest", ""]
    lines += [
        f"- kept, {severity}: {', '.join(ids)}"
        for severity in _SEVERITIES
        if (ids := _with(score, "pass", severity))
    ]
    if ids := _with(score, "not exercised"):
        lines.append(f"- not exercised: {', '.join(ids)}")
    if ids := _with(score, "error"):
        lines.append(f"- the suite broke down: {', '.join(ids)}")
    if ids := _with(score, "skipped"):
        lines.append(f"- not asked, as not claimed or not for its kind: {', '.join(ids)}")
    lines += [f"- differs from run to run: {id}, {why}" for id, why in sorted(client.flaky.items())]  # noqa: A001
    return "\n".join(lines)


def _with(score: Score, verdict: str, severity: str | None = None) -> list[str]:
    return [
        id
        for id, one in sorted(score.scenarios.items())  # noqa: A001 - it is one
        if one.verdict == verdict and severity in (None, one.severity)
    ]


def _broken(score: Score, severity: str) -> list[tuple[str, Judged]]:
    return [
        (id, one)
        for id, one in sorted(score.scenarios.items())  # noqa: A001 - it is one
        if one.severity == severity and one.verdict in _BROKEN
    ]


def _promise(id: str, entries: Mapping[str, Entry]) -> str:  # noqa: A002 - it is one
    return entries[id].promise.replace("|", "\\|") if id in entries else "not in the suite any more"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
