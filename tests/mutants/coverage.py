"""What the suite covers: ``python -m tests.mutants.coverage`` writes ``docs/coverage.md``.

Promise, incident, scenario and mutant side by side, from the data that they stand in: the catalogue
of scenarios, the files of the scenarios, and the catalogue of mutants. And kinds of requests by
kinds of faults, from what journals of runs have shown.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

from tests.mutants.catalogue import CATALOGUE
from tests.mutants.clients import Mutant
from vault_harness.files import write_text
from vault_harness.report.touched import (
    ASKED,
    BY_VAULT,
    CARRIERS,
    MEETING_NONE,
    NO_REQUEST,
    NOT_BY_VAULT,
    ON_THE_WAY,
    Table,
    load_table,
)
from vault_harness.scenario.catalogue import Entry, load

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "coverage.md"
TOUCHED = ROOT / "scenarios" / "touched.json"

HEAD = """# What the suite covers

Made by `python -m tests.mutants.coverage` from `scenarios/catalogue.toml`, `scenarios/touched.json`
and the catalogue of mutants; a test says when it is out of date. A MUST is critical or high, a
SHOULD medium or low. A mutant is a client that is broken on purpose, and that this scenario has to
fail. What met which kind of request stands [below](#by-request).
"""

BY_REQUEST = """## By request

What happened to which kind of request, as runs have shown it. `scenarios/touched.json` has it of
each scenario, made by `python -m vault_harness.report.touched JOURNAL... scenarios/touched.json` of
journals of the clients in this repository: what every run of one of them at least shows, up to the
closing act. In a cell stands who does that to such a request; whether a client that is broken there
fails is told by the mutants above.

| in a cell | |
| --- | --- |
| +3 | and three scenarios more; named are those that stand in fewest cells |
| - | no scenario does that |
| ? | nobody can tell: a connection that is refused does not say what for |
"""

ON_THE_WAY_THERE = """### On the way

Refused: or the connection ends before anything is asked. Silent: no answer comes, for as long as
the client waits. Cut off: it ends in the middle. Late: by 0.4 s or more, as a whole or in drips.
Goodbye: the answer says that its connection ends.
"""

ANSWERED_BY_OTHERS = """### Not Vault, or not now

Of another: a page in the place of Vault's answer, as a gateway's. 412: a node that lags behind.
"""

ANSWERED_BY_VAULT = """### What Vault says

503: sealed, also in its place. 400: and 413. 403, dead token: revoked, expired, or lost with its
parent or mount. Shorter life: granted again for less, as at a max TTL.
"""

WITHOUT_REQUEST = """### What meets no request

| what happens | scenarios |
| --- | --- |
"""

SHOWN = 3
"""Scenarios of a cell that are named, so that it can be read."""

LOGINS = ("first login", "later login")
TOKENS = ("token lookup", "token renewal", "token revocation")

NEVER: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("nobody answers a connection", CARRIERS, ("done, answer lost",)),
    ("nothing was answered over it yet", ("new connection", "TLS handshake"), ("goodbye",)),
    ("it is there already", ("kept connection",), ("refused", "late")),
    ("nothing is done there: it is cut off", ("token lookup", "read"), ("done, answer lost",)),
    ("it bears no token", LOGINS, ("403, dead token",)),
    (
        "Vault says 400 of a wrapping token that is spent",
        ("unwrapping of a secret-id",),
        ("403, dead token", "403, denied"),
    ),
    (
        "Vault says 400 or 403 where there is nothing",
        (*LOGINS, "unwrapping of a secret-id", *TOKENS, "lease renewal"),
        ("404",),
    ),
    (
        "no life is given there anew",
        tuple(one for one in ASKED if one not in ("token renewal", "lease renewal")),
        ("shorter life",),
    ),
)
"""Cells that are empty by nature: why, and those of which requests and faults."""

UNSEEN = (("token lookup",), ("refused",))
"""Cells that nobody could fill: a client asks by itself, and its connection does not say for what.
"""


def page(entries: Mapping[str, Entry], mutants: Mapping[str, Mutant], table: Table) -> str:
    """The whole page as Markdown."""
    killed = defaultdict(list)
    for name, mutant in mutants.items():
        killed[mutant.scenario].append(name)
    parts = [HEAD, _counts(entries.values(), mutants)]
    ordered = sorted(entries.values(), key=lambda entry: entry.id)
    for group, members in groupby(ordered, key=lambda entry: entry.group):
        rows = [_row(entry, sorted(killed[entry.id])) for entry in members]
        head = ["| scenario | promise | | incidents | mutants |", "| --- | --- | --- | --- | --- |"]
        parts.append("\n".join([f"## {group}", "", *head, *rows, ""]))
    parts += [_by_request(table), _by_incident(ordered)]
    return "\n".join(parts)


def _counts(entries: Iterable[Entry], mutants: Mapping[str, Mutant]) -> str:
    owed = [entry.obligation for entry in entries]
    return (
        f"{len(owed)} scenarios, {owed.count('MUST')} MUST and {owed.count('SHOULD')} SHOULD; "
        f"{len(mutants)} mutants.\n"
    )


def _row(entry: Entry, mutants: list[str]) -> str:
    cells = (
        f"[{entry.id}](../scenarios/test_{entry.group.lower()}.py)",
        entry.promise.replace("|", "\\|"),
        f"{entry.obligation}, {entry.severity}",
        ", ".join(map(_link, entry.all_incidents)) or "measured or documented",
        ", ".join(mutants),
    )
    return f"| {' | '.join(cells)} |"


def _by_incident(entries: Iterable[Entry]) -> str:
    found = defaultdict(list)
    for entry in entries:
        for incident in entry.all_incidents:
            found[incident].append(entry.id)
    rows = [f"| {_link(one)} | {', '.join(found[one])} |" for one in sorted(found, key=_by_number)]
    head = ["| incident | scenarios |", "| --- | --- |"]
    return "\n".join(["## By incident", "", *head, *rows, ""])


def _by_request(table: Table) -> str:
    """Kinds of requests by kinds of faults; what no client asks for is named, and has no row."""
    asked = tuple(one for one in ASKED if one in table.asked)
    unasked = ", ".join(one for one in ASKED if one not in table.asked)
    never = (f"| {_mark(number)} | never: {why} |" for number, (why, _, _) in enumerate(NEVER))
    met_none = (f"| {what} | {_cell(table, NO_REQUEST, what)} |" for what in MEETING_NONE)
    parts = [
        "\n".join([BY_REQUEST + "\n".join(never), ""]),
        f"Asked for by none of these clients: {unasked or 'nothing'}.\n",
        f"{ON_THE_WAY_THERE}\n{_grid(table, (*CARRIERS, *asked), ON_THE_WAY)}",
        f"{ANSWERED_BY_OTHERS}\n{_grid(table, asked, NOT_BY_VAULT)}",
        f"{ANSWERED_BY_VAULT}\n{_grid(table, asked, BY_VAULT)}",
        "\n".join([WITHOUT_REQUEST + "\n".join(met_none), ""]),
        *(f"[{one}]: #{one.partition('-')[0].lower()}" for one in _named(table)),
        "",
    ]
    return "\n".join(parts)


def _grid(table: Table, requests: Iterable[str], faults: tuple[str, ...]) -> str:
    rows = [f"| | {' | '.join(faults)} |", f"| --- |{' --- |' * len(faults)}"]
    for asked in requests:
        cells = (_cell(table, asked, what) for what in faults)
        rows.append(f"| {asked} | {' | '.join(cells)} |")
    return "\n".join([*rows, ""])


def _cell(table: Table, asked: str, what: str) -> str:
    shown, more = _shown(table, asked, what)
    if shown:
        return ", ".join(f"[{one}]" for one in shown) + (f" +{more}" if more else "")
    for number, (_, requests, faults) in enumerate(NEVER):
        if asked in requests and what in faults:
            return _mark(number)
    return "?" if asked in UNSEEN[0] and what in UNSEEN[1] else "-"


def _shown(table: Table, asked: str, what: str) -> tuple[list[str], int]:
    """The scenarios of a cell that are named, and how many are not."""
    met = [one for one, pairs in table.scenarios.items() if (asked, what) in pairs]
    by_few = sorted(met, key=lambda one: (len(table.scenarios[one]), one))
    return sorted(by_few[:SHOWN]), len(by_few[SHOWN:])


def _named(table: Table) -> list[str]:
    """All scenarios that are named in some cell."""
    cells = {pair for pairs in table.scenarios.values() for pair in pairs}
    return sorted({one for asked, what in cells for one in _shown(table, asked, what)[0]})


def _mark(number: int) -> str:
    """How a cell says by which reason it is empty by nature."""
    return f"({chr(ord('a') + number)})"


def _by_number(incident: str) -> tuple[str, int]:
    repository, _, number = incident.partition("#")
    return repository.lower(), int(number)


def _link(incident: str) -> str:
    repository, _, number = incident.partition("#")
    return f"[{incident}](https://github.com/{repository}/issues/{number})"


def current() -> str:
    """The page as it should be."""
    entries = load(ROOT / "scenarios" / "catalogue.toml")
    return page(entries, CATALOGUE, load_table(TOUCHED))


def main() -> int:
    """Write it."""
    write_text(PAGE, current())
    sys.stdout.write(f"written: {PAGE.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
