"""Where the time of a run went: a row for each scenario, and a total."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vault_harness.judge.record import ScenarioRecord

_WAITING = "waiting for "
_HEADER = (
    f"{'':8} {'':6}  {'start of':^17}   {'':13}  {'CPU seconds':^23}".rstrip(),
    (
        f"{'id':<8} {'time':>6}  {'servers':>8} {'subject':>8}   {'waits':>6} {'else':>6}  "
        f"{'servers':>7} {'subject':>7} {'harness':>7}  waited for"
    ),
)


@dataclass(frozen=True)
class Effort:
    """What a whole run took: wall-clock and CPU seconds of all its processes."""

    wall: float
    user: float
    system: float
    side_by_side: int
    cores: int


def where_time_went(scenarios: Iterable[ScenarioRecord], effort: Effort) -> list[str]:
    """Return the lines of a table, the longest scenario first, and a summary.

    Scenarios that never began have no row.
    """
    rows = [one for one in scenarios if "spent" in one]
    if not rows:
        return ["no scenario began"]
    rows.sort(key=lambda one: -_wall(one))
    lines = [*_HEADER, *(_row(one["id"], one["spent"]) for one in rows)]
    walls, cpus = (_sum(one["spent"][what] for one in rows) for what in ("wall", "cpu"))
    lines.append(_row("all", {"wall": walls, "cpu": cpus}))
    outside = any(one.get("engine") == "docker" for one in rows)
    summary = _summary(sum(map(_wall, rows)), sum(cpus.values()), effort, outside=outside)
    return [*lines, "", *summary]


def _wall(record: ScenarioRecord) -> float:
    return float(sum(record["spent"]["wall"].values()))


def _sum(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for what, seconds in part.items():
            total[what] = total.get(what, 0.0) + seconds
    return total


def _row(name: str, spent: Mapping[str, Mapping[str, float]]) -> str:
    wall, cpu = spent["wall"], spent["cpu"]
    named = [(what, seconds) for what, seconds in wall.items() if what.startswith(_WAITING)]
    waits = {what.removeprefix(_WAITING): seconds for what, seconds in named}
    longest = sorted(waits.items(), key=lambda wait: -wait[1])
    told = ", ".join(f"{what} {seconds:.1f}" for what, seconds in longest if seconds >= 0.05)
    servers, subject = wall.get("the servers' start", 0.0), wall.get("the subject's start", 0.0)
    return (
        f"{name:<8} {sum(wall.values()):6.1f}  {servers:8.2f} {subject:8.2f}   "
        f"{sum(waits.values()):6.1f} {wall.get('else', 0.0):6.1f}  "
        f"{cpu['servers']:7.2f} {cpu['subject']:7.2f} {cpu['harness']:7.2f}  {told}"
    ).rstrip()


def _summary(busy: float, counted: float, effort: Effort, *, outside: bool) -> Sequence[str]:
    """Return two lines. `outside` means that servers run in containers, so their CPU is unknown."""
    cpu = effort.user + effort.system
    slots = max(1, effort.side_by_side)
    empty = max(0.0, 1 - busy / (slots * effort.wall))
    idle = max(0.0, 1 - cpu / (effort.cores * effort.wall))
    run = (
        f"the run: {effort.wall:.1f} s for {busy:.0f} s of scenarios, up to {slots} side by side; "
        f"{empty:.0%} of their places stood empty"
    )
    rest = (
        "what the servers took in their containers is not counted"
        if outside
        else f"{idle:.0%} of {effort.cores} cores stood idle"
    )
    used = (
        f"CPU: {cpu:.1f} s ({effort.user:.1f} user, {effort.system:.1f} system), {counted:.1f} of "
        f"them in scenarios; {rest}"
    )
    return run, used
