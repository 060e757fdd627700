"""Write the pages about published clients from their scores and notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import get_args

from vault_harness.errors import PROGRAM
from vault_harness.judge.catalogue import Entry
from vault_harness.judge.clients.client import SCHEDULES, Client, Note
from vault_harness.judge.report.causes import Cause
from vault_harness.judge.report.formats import Judged, Score, Severity, release, suite_version
from vault_harness.judge.report.score import causes_of, claims_of

PAGES = "docs/clients"

_BROKEN = ("fail", "flaky")
_SEVERITIES: tuple[Severity, ...] = get_args(Severity)

# The page is also read outside a checkout, so it names the installed program.
_HEAD = f"""# Real clients, judged

`{PROGRAM} clients NAME --write` makes these pages from the scores and notes in
`scenarios/clients/`. `{PROGRAM} clients NAME` makes a client and judges it again.

Each client is used as its own documentation and its usual distribution use it, with its defaults.
The program around it is its *adapter*. The client's page says what the adapter does, and separates
the adapter's doing from the library's.

A client is asked for what it claims. Compare grades only between the same claims. A grade counts
the causes of broken promises; see [grades](../judge.md#grades).

*Asked* counts the scenarios with a verdict. *Critical* and *high* promises are MUSTs. After each
critical cause, brackets show how many scenarios it explains, and the scenario that shows it best. A
`?` marks a verdict that differs from run to run.
"""

_AGE = """## How old a score is

A score is from one release of the suite, in the column *suite*. Grade and causes follow from that
score by today's rules, and promises are today's. Each release asks other things
([CHANGELOG.md](../../CHANGELOG.md)), and the adapter may have changed; a note says where that
matters. The page of a client with an older score says so, and names the newer scenarios. Judge that
client again before you rely on such a page.
"""


def pages(clients: Mapping[str, Client], entries: Mapping[str, Entry]) -> dict[str, str]:
    """Return all pages by file name. Clients without a score have none."""
    scored = [(client, score) for client in clients.values() if (score := client.score())]
    made = {f"{client.name}.md": page(client, score, entries) for client, score in scored}
    return {"README.md": overview(scored, entries), **made}


def overview(scored: Iterable[tuple[Client, Score]], entries: Mapping[str, Entry]) -> str:
    head = ["client", "version", "language", "suite", "grade", "claims", "asked"]
    head += [f"{severity} kept" for severity in ("critical", "high", "SHOULD")]
    head += ["critical causes in the library", "in the adapter"]
    rows = [_overview_row(client, score, entries) for client, score in scored]
    table = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return "\n".join([_HEAD, *table, "", _AGE])


def _overview_row(client: Client, score: Score, entries: Mapping[str, Entry]) -> list[str]:
    return [
        f"[{client.title}]({client.name}.md)",
        client.version,
        client.language,
        score.suite_version,
        score.grade or "none",
        claims_of(score),
        f"{len(_asked(score))} of {len(entries)}",
        _kept(score, "critical"),
        _kept(score, "high"),
        _kept(score, "medium", "low"),
        _causes(client, score, "library"),
        _causes(client, score, "adapter"),
    ]


def _causes(client: Client, score: Score, by: str) -> str:
    theirs = {id: one for id, one in score.scenarios.items() if _whose(client, id) == by}  # noqa: A001
    told = [
        f"{'harm: ' * (cause.label == 'harm')}{cause.theme.broken} "
        f"({len(cause.explains)}, {_clearest(client, cause)})"
        for cause in causes_of(theirs)
        if cause.label in ("harm", "critical")
    ]
    return "<br>".join(told) or "none"


def _clearest(client: Client, cause: Cause) -> str:
    """Return the scenario that shows a cause best, with a ``?`` if its verdict differs."""
    return cause.clearest.id + "?" * (cause.clearest.id in client.flaky)


def _whose(client: Client, id: str) -> str:  # noqa: A002 - it is one
    return client.notes[id].by if id in client.notes else "library"


def _asked(score: Score, *severities: Severity) -> list[Judged]:
    return [
        one
        for one in score.scenarios.values()
        if one.severity in (severities or _SEVERITIES) and one.verdict in ("pass", *_BROKEN)
    ]


def _kept(score: Score, *severities: Severity) -> str:
    """Return for example ``20 of 24``."""
    asked = _asked(score, *severities)
    return f"{sum(one.verdict == 'pass' for one in asked)} of {len(asked)}"


def page(client: Client, score: Score, entries: Mapping[str, Entry]) -> str:
    parts = [
        f"# {client.title}",
        (
            f"Made by the suite from `scenarios/clients/{client.name}/`; [all clients](README.md), "
            "[how they are judged](../judging.md)."
        ),
        _facts(client, score, entries),
        f"**What the adapter does.** {client.adapter.strip()}",
        f"```sh\n{PROGRAM} clients {client.name}\n```",
        _why(score),
        _breaks(client, score, entries),
        _mechanisms(client, score, entries),
        _found(client),
        _rest(client, score),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _newer(score: Score, entries: Mapping[str, Entry]) -> list[str]:
    return sorted(set(entries) - set(score.scenarios))


def _facts(client: Client, score: Score, entries: Mapping[str, Entry]) -> str:
    newer = _newer(score, entries)
    judged_by = f"suite {score.suite_version}, {score.surroundings.server}"
    if release(score.suite_version) != release(suite_version()):
        judged_by += ": [older](README.md#how-old-a-score-is) than this one"
    rows = [
        ("version", f"{client.version}, {client.language} ([source]({client.home}))"),
        ("claims", claims_of(score)),
        ("grade", score.grade or f"none: {score.why[0]}"),
        ("judged by", judged_by),
        *([("newer than this score", ", ".join(newer))] if newer else []),
        ("critical promises kept", _kept(score, "critical")),
        ("high ones kept", _kept(score, "high")),
        ("medium and low ones kept", _kept(score, "medium", "low")),
    ]
    return "\n".join(["| | |", "| --- | --- |", *map(_row, rows)])


def _why(score: Score) -> str:
    rows = [
        f"- **{cause.label}: {cause.theme.broken}** (explains {len(cause.explains)}; clearest "
        f"{cause.clearest.id}). {cause.theme.remedy}"
        for cause in causes_of(score.scenarios)
    ]
    return "\n".join(["## Causes", "", *rows]) if rows else ""


def _breaks(client: Client, score: Score, entries: Mapping[str, Entry]) -> str:
    rows = [
        (
            id,
            severity,
            _promise(id, entries),
            "; ".join(one.harm or one.broken) + " (flaky)" * client.differs(id, one.verdict),
        )
        for severity in _SEVERITIES
        for id, one in _broken(score, severity)  # noqa: A001 - it is one
    ]
    if not rows:
        return "## What it breaks\n\nNothing that it was asked."
    head = ["| scenario | | promise | what was not kept |", "| --- | --- | --- | --- |"]
    return "\n".join(["## What it breaks", "", *head, *map(_row, rows)])


def _mechanisms(client: Client, score: Score, entries: Mapping[str, Entry]) -> str:
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


def _found(client: Client) -> str:
    said = []
    for name, schedule in client.schedules().items():
        file = f"scenarios/clients/{client.name}/{SCHEDULES}/{name}.toml"
        note = client.notes.get(name)
        promise = schedule.promise.replace("#", "N")
        said.append(
            f"**Not kept: {promise}.** {schedule} {_looked_into(note)} "
            f"`{PROGRAM} replay {file}` shows it."
        )
    return "\n\n".join(["## What explore found", *said]) if said else ""


def _looked_into(note: Note | None) -> str:
    if note is None:
        return "The mechanism is missing: nobody has looked yet."
    whose = "The adapter's doing, not the library's. " if note.by == "adapter" else ""
    links = "".join(f" Upstream: <{address}>." for address in note.upstream)
    return f"{whose}{note.mechanism.strip()}{links}"


def _mechanism(id: str, note: Note | None, entries: Mapping[str, Entry]) -> str:  # noqa: A002
    return f"**{id}** {_promise(id, entries)}. {_looked_into(note)}"


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
