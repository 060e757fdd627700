"""Join the journals of a suite whose parts ran on several machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vault_harness.errors import SettingsError
from vault_harness.judge.report.journal import JOURNAL, load, of_its_line
from vault_harness.judge.report.known import Known
from vault_harness.judge.report.lines import Summary, line_of
from vault_harness.judge.report.timing import one_line

SAME = ("suite_version", "subject", "schema_version")

SAME_ONCE_BEGUN = ("engine", "product")
"""A part that was killed early does not know them."""

SAME_OF_THE_CLIENT = {
    "version": "the client's version",
    "capabilities": "what the client claims",
    "declares": "what the client declares",
}
"""With their names in messages."""


def journals_in(places: Iterable[Path]) -> list[Path]:
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
    """Return the journal of all parts together.

    It is complete if all parts are here and each is complete. A scenario counts as left out only if
    no part judged it. A leak in one part fails the scenario about leaks in another.

    Args:
        known: The known failures of the client; a complete run adds those that it found. None
            leaves each scenario as its part knew it.
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
    undecided = bool(left_out) or not complete
    lines = [line_of(scenario, undecided=undecided) for scenario in scenarios.values()]
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
    for line in summary.settle_leaks():  # a leak in one part fails a scenario of another
        scenarios[line.id] = {**scenarios[line.id], **of_its_line(line)}
    if known is not None and complete:
        now = known.after(summary.lines)
        summary.lines = [now.mark(line) for line in summary.lines]
        for line in summary.lines:
            scenarios[line.id] = {**scenarios[line.id], "known": None, **of_its_line(line)}
    claiming = [part for part in parts if (part.get("client") or {}).get("capabilities")]
    own = {"run", "planned", "shard"}  # fields of one part that the whole run does not have
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
    """Raise `SettingsError` if parts judged different clients, or one client in different ways."""
    known: dict[str, object] = {}
    for path, part in zip(paths, parts, strict=True):
        for name, said in _said(part).items():
            elsewhere = known.setdefault(name, said)
            if said != elsewhere:
                raise _wrong(path, f"{name} is {said}, elsewhere {elsewhere}")


def _said(part: Mapping[str, Any]) -> dict[str, object]:
    said: dict[str, object] = {name: part.get(name) for name in SAME}
    said |= {name: part[name] for name in SAME_ONCE_BEGUN if part.get(name)}
    client = part.get("client") or {}
    if client.get("capabilities"):  # every client that starts claims something
        said |= {called: client.get(name) for name, called in SAME_OF_THE_CLIENT.items()}
    if spoken := _spoken(part):
        said["what client and Vault speak"] = spoken
    return said


def _spoken(part: Mapping[str, Any]) -> str:
    """Return the wire of a part's run; empty if unknown.

    Scenarios about TLS always speak TLS, but none forces plain HTTP.
    """
    if any(one.get("wire") == "plain" for one in part["scenarios"]):
        return "plain HTTP"
    return "TLS" if part.get("wires") else ""


def _lacking(paths: Sequence[Path], parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the missing parts, such as ``2/4``."""
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
    """A part that was killed early has no value."""
    return next((str(part[name]) for part in parts if part.get(name)), "")


def _wrong(path: Path, cause: str) -> SettingsError:
    return SettingsError(
        one_line(f"these are not the parts of one run: {cause}"),
        looked_at=str(path),
        remedy="join the journals of --shard 1/N to N/N, all of one client on one suite",
    )
