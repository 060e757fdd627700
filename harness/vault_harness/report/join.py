"""One journal of several: the parts of a suite that ran on machines of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vault_harness.errors import SettingsError
from vault_harness.report._journal import JOURNAL, load, of_its_line
from vault_harness.report._lines import Line, Summary
from vault_harness.report._moments import one_line
from vault_harness.report.known import Known

SAME = ("suite_version", "subject", "schema_version")
"""What parts of one run have in common."""

SAME_ONCE_BEGUN = ("engine", "product")
"""The same, of parts that were not killed before they knew: which engine, and which server."""

SAME_OF_THE_CLIENT = {
    "version": "the client's version",
    "capabilities": "what the client claims",
    "declares": "what the client declares",
}
"""The same, of parts in which the client started: what it says of itself, and how it is called."""


def journals_in(places: Iterable[Path]) -> list[Path]:
    """The journals that are named, and those somewhere in folders that are named.

    Raises:
        SettingsError: A folder has none.
    """
    found: list[Path] = []
    for place in places:
        inside = sorted(place.rglob(JOURNAL)) if place.is_dir() else [place]
        if not inside:
            raise SettingsError(
                f"there is no {JOURNAL} in this folder",
                looked_at=str(place),
                remedy="name the folder into which the reports of all parts were copied",
            )
        found += inside
    return found


def join(paths: Sequence[Path], *, known: Known | None = None) -> dict[str, Any]:
    """The journal of all parts together.

    It is complete if each part is, and all that there were are here; what one left out and another
    judged was not left out. A secret that came out in one part fails the row about that in another.

    Args:
        paths: Of the parts' journals.
        known: What the client was known not to keep before; what is broken in a whole run is known
            in it then. None to leave each scenario with what was known in its part.

    Raises:
        SettingsError: One is no journal, they are not of one suite and one client, or two judged
            the same scenario, or were the same part.
    """
    parts = [load(path) for path in paths]
    first = parts[0]
    engine = _first_word(parts, "engine")
    _refuse_unlike(paths, parts)
    scenarios: dict[str, Any] = {}
    for path, part in zip(paths, parts, strict=True):
        for scenario in part["scenarios"]:
            if scenario["id"] in scenarios:
                raise _wrong(path, f"{scenario['id']} was judged by another part too")
            scenarios[scenario["id"]] = scenario
    lacking = _lacking(paths, parts)
    left_out = {id: s for part in parts for id, s in part.get("left_out", {}).items()}  # noqa: A001
    left_out = {id: left_out[id] for id in sorted(set(left_out) - set(scenarios))}  # noqa: A001
    complete = not lacking and all(part.get("complete", False) for part in parts)
    lines = lines_of(scenarios.values(), undecided=bool(left_out) or not complete)
    seconds = max(float(part.get("seconds") or 0.0) for part in parts)
    wires = {wire for part in parts for wire in part.get("wires") or ()}
    product = _first_word(parts, "product")
    summary = Summary(first["subject"], lines, product, engine, seconds, wires=wires)
    summary.unfinished = sorted(
        {id for part in parts for id in part.get("planned") or ()} - set(scenarios)  # noqa: A001
    )
    summary.lacking = lacking
    summary.broken_off = [
        f"part {part['shard']}" if part.get("shard") else "a run"
        for part in parts
        if not part.get("complete", False)
    ]
    for line in summary.settle_leaks():  # what came out in one part fails a row of another
        scenarios[line.id] = {**scenarios[line.id], **of_its_line(line)}
    if known is not None and complete:
        now = known.after(summary.lines)
        summary.lines = [now.mark(line) for line in summary.lines]
        for line in summary.lines:
            scenarios[line.id] = {**scenarios[line.id], "known": None, **of_its_line(line)}
    claiming = [part for part in parts if (part.get("client") or {}).get("capabilities")]
    own = {"run", "planned", "shard"}  # of one part, and of no run of all
    return {
        **{name: value for name, value in (claiming or parts)[0].items() if name not in own},
        "product": summary.product,
        "engine": engine,
        "complete": complete,
        "summary": str(summary),
        "seconds": seconds,
        "wires": sorted(wires),
        "leaks_known": any(part.get("leaks_known") for part in parts),
        "left_out": left_out,
        "scenarios": [scenarios[id] for id in sorted(scenarios)],  # noqa: A001 - it is one
    }


def _refuse_unlike(paths: Sequence[Path], parts: Sequence[Mapping[str, Any]]) -> None:
    """Refuse parts that judged different clients, or one client by different measures.

    Joined they would be told as verdicts on what the first of them ran.

    Raises:
        SettingsError: They did.
    """
    known: dict[str, object] = {}
    for path, part in zip(paths, parts, strict=True):
        for name, said in _said(part).items():
            elsewhere = known.setdefault(name, said)
            if said != elsewhere:
                raise _wrong(path, f"{name} is {said}, elsewhere {elsewhere}")


def _said(part: Mapping[str, Any]) -> dict[str, object]:
    """What a part says of what all have in common, as far as it came to know it."""
    said: dict[str, object] = {name: part.get(name) for name in SAME}
    said |= {name: part[name] for name in SAME_ONCE_BEGUN if part.get(name)}
    client = part.get("client") or {}
    if client.get("capabilities"):  # everybody who starts has one
        said |= {called: client.get(name) for name, called in SAME_OF_THE_CLIENT.items()}
    if spoken := _spoken(part):
        said["what client and Vault speak"] = spoken
    return said


def _spoken(part: Mapping[str, Any]) -> str:
    """What a part was run with; empty where that cannot be told.

    Some scenarios speak TLS whatever the others do, and none speaks plain HTTP so.
    """
    if any(one.get("wire") == "plain" for one in part["scenarios"]):
        return "plain HTTP"
    return "TLS" if part.get("wires") else ""


def _lacking(paths: Sequence[Path], parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parts that there were, and that are not here: ``2/4``.

    Raises:
        SettingsError: They are parts of two sizes, or one is here twice.
    """
    found: dict[str, Path] = {}
    for path, part in zip(paths, parts, strict=True):
        name = part.get("shard")
        if not name:
            continue
        if name in found:
            raise _wrong(path, f"part {name} is here twice, also in {found[name]}")
        found[name] = path
    sizes = sorted({name.partition("/")[2] for name in found})
    if len(sizes) > 1:
        path = next(path for name, path in found.items() if name.endswith(f"/{sizes[1]}"))
        raise _wrong(path, f"some are parts of {sizes[0]}, others of {sizes[1]}")
    if not sizes:
        return []
    every = [f"{number}/{sizes[0]}" for number in range(1, int(sizes[0]) + 1)]
    return [name for name in every if name not in found]


def _first_word(parts: Iterable[Mapping[str, Any]], name: str) -> str:
    """What the first part says that says anything: one that was killed early does not know."""
    return next((str(part[name]) for part in parts if part.get(name)), "")


def lines_of(records: Iterable[Mapping[str, Any]], *, undecided: bool = False) -> list[Line]:
    """The lines of a journal's scenarios, with what was known of them.

    Args:
        records: Of the scenarios.
        undecided: Whether others of the run are not among them, or came to no end: a secret may
            have come out there, and fail the row about that.
    """
    lines = []
    for record in records:
        known = record.get("known") or {}
        line = Line(
            str(record["id"]),
            str(record["promise"]),
            str(record["severity"]),
            str(record["word"]),
            float(record["seconds"]),
            str(record.get("why") or ""),
            str(record.get("rate") or ""),
            tuple(str(leak["seen"]) for leak in record.get("leaks") or ()),
            about_leaks=bool(record.get("about_leaks")),
            broken=tuple(str(one["promise"]) for one in record.get("findings") or ()),
            forgiven=bool(record.get("forgiven")),
            harm=not record.get("about_leaks")
            and any(one.get("harm") for one in record.get("findings") or ()),
            known=known.get("kind", ""),
            reason=str(known.get("reason", "")),
        )
        passes = line.about_leaks and line.word == "pass"
        lines.append(replace(line, undecided=undecided and passes))
    return lines


def _wrong(path: Path, cause: str) -> SettingsError:
    return SettingsError(
        one_line(f"these are not the parts of one run: {cause}"),
        looked_at=str(path),
        remedy="join the journals of --shard 1/N to N/N, all of one client on one suite",
    )
