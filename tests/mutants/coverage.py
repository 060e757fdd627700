"""What the suite covers: ``python -m tests.mutants.coverage`` writes ``docs/coverage.md``.

Its first table has promise, incident, scenario and mutant side by side; the second has kinds of
requests by kinds of faults, from the journals of runs.
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
from vault_harness.judge.catalogue import Entry, load
from vault_harness.judge.explore.points import SECRET, Point
from vault_harness.judge.explore.schedule import possible
from vault_harness.judge.report.events import (
    ASKED,
    BY_VAULT,
    CARRIERS,
    MEETING_NONE,
    NO_REQUEST,
    NOT_BY_VAULT,
    ON_THE_WAY,
)
from vault_harness.judge.report.touched import Table, load_table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "coverage.md"
TOUCHED = ROOT / "scenarios" / "touched.json"

HEAD = """# What the suite covers

Made by `python -m tests.mutants.coverage` from `scenarios/catalogue.toml`, `scenarios/touched.json`
and the catalogue of mutants; a test fails when it is out of date. A MUST is critical or high, a
SHOULD medium or low. A mutant is a client that is broken on purpose, and that the scenario must
fail. A second table shows [which faults met which requests](#by-request).
"""

BY_REQUEST = """## By request

Which faults met which kinds of requests in runs. `scenarios/touched.json` has the data of each
scenario. `python -m vault_harness.judge.report.touched JOURNAL... scenarios/touched.json` makes it
from journals of the clients in this repository. It has what every run of a client shows, up to the
closing act. A cell names the scenarios that do this to such a request. The mutants above show
whether a client that is broken there fails.

| in a cell | |
| --- | --- |
| +3 | three more scenarios; the named ones are in the fewest cells |
| explore | no scenario does that; [`explore`](how-to/explore.md) tries it |
| - | not asked: `explore` lets clients only read, by an AppRole and without TLS |
| ? | unknown: a refused connection does not tell which request it was for |
"""

ON_THE_WAY_THERE = """### On the way

Refused: refused, or ended before any request. Silent: no answer for as long as the client waits.
Cut off: the answer ends in the middle. Late: late by 0.4 s or more, at once or in drips. Goodbye:
the answer announces the end of its connection.
"""

ANSWERED_BY_OTHERS = """### Not Vault, or not now

Of another: a page in place of Vault's answer, such as a gateway's. 412: from a node that lags.
"""

ANSWERED_BY_VAULT = """### What Vault says

503: sealed, or an answer in its place. 400: 400 or 413. 403, dead token: revoked, expired, or lost
with its parent or mount. Shorter life: granted for less time, as at a max TTL.
"""

WITHOUT_REQUEST = """### What meets no request

| what happens | scenarios |
| --- | --- |
"""

SHOWN = 3
"""Scenarios named in a cell."""

LOGINS = ("first login", "later login")
TOKENS = ("token lookup", "token renewal", "token revocation")

NEVER: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("a connection itself has no answer", CARRIERS, ("done, answer lost",)),
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
        "only renewals grant a life again",
        tuple(one for one in ASKED if one not in ("token renewal", "lease renewal")),
        ("shorter life",),
    ),
)
"""Cells that are empty by nature: the reason, the requests and the faults."""

POINTS = {
    "first login": Point("login", "auth/approle/login", "start", "first"),
    "later login": Point("login", "auth/approle/login", "after a fault", "first"),
    "token lookup": Point("lookup", "auth/token/lookup-self", "steady", "first"),
    "token renewal": Point("renew", "auth/token/renew-self", "renewal due", "first"),
    "token revocation": Point("revoke", "auth/token/revoke-self", "closing", "first"),
    "read": Point("read", SECRET, "steady", "first"),
}
"""Where `explore` meets a kind of request."""

TRIED = {
    "refused": "refused",
    "silent": "silent",
    "cut off": "cut-off",
    "late": "late",
    "done, answer lost": "lost",
    "goodbye": "goodbye",
    "redirect": "redirect",
    "200 of another": "page-200",
    "4xx of another": "page-403",
    "502, 504": "502",
    "412": "412",
    "429": "429",
    "429, Retry-After": "429-retry-after",
    "503": "503",
    "500": "500",
    "403, dead token": "token-revoked",
    "403, denied": "403",
    "404": "404",
}
"""What `explore` calls a fault."""

UNSEEN = (("token lookup",), ("refused",))
"""Cells that cannot be filled: a connection does not say why it was made."""


def page(entries: Mapping[str, Entry], mutants: Mapping[str, Mutant], table: Table) -> str:
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
    """Return kinds of requests by kinds of faults, without those that no client makes."""
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
    if asked in UNSEEN[0] and what in UNSEEN[1]:
        return "?"
    tried = possible(POINTS[asked]) if asked in POINTS else ()
    return "explore" if TRIED.get(what) in {step.fault for step in tried} else "-"


def _shown(table: Table, asked: str, what: str) -> tuple[list[str], int]:
    """Return the scenarios that a cell names, and the number of the others."""
    met = [one for one, pairs in table.scenarios.items() if (asked, what) in pairs]
    by_few = sorted(met, key=lambda one: (len(table.scenarios[one]), one))
    return sorted(by_few[:SHOWN]), len(by_few[SHOWN:])


def _named(table: Table) -> list[str]:
    cells = {pair for pairs in table.scenarios.values() for pair in pairs}
    return sorted({one for asked, what in cells for one in _shown(table, asked, what)[0]})


def _mark(number: int) -> str:
    return f"({chr(ord('a') + number)})"


def _by_number(incident: str) -> tuple[str, int]:
    repository, _, number = incident.partition("#")
    return repository.lower(), int(number)


def _link(incident: str) -> str:
    repository, _, number = incident.partition("#")
    return f"[{incident}](https://github.com/{repository}/issues/{number})"


def current() -> str:
    entries = load(ROOT / "scenarios" / "catalogue.toml")
    return page(entries, CATALOGUE, load_table(TOUCHED))


def main() -> int:
    write_text(PAGE, current())
    sys.stdout.write(f"written: {PAGE.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
