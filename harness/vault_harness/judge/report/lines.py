"""Make one line for each scenario, the lines around the table, and where a run's time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vault_harness.judge.record import ScenarioRecord
from vault_harness.judge.report.timing import one_line

WORDS = ("fail", "flaky", "not exercised", "error")

OFTEN = 5
"""If this many scenarios broke the same promise, a report says so once for all."""

HARM = "harm:"
"""The prefix of a known failure's reason that excuses harm too."""


@dataclass(frozen=True)
class Line:
    """One scenario's line in the table.

    Attributes:
        word: The verdict; ``error`` if the harness itself failed.
        why: The reason of any verdict except ``pass``, in one line.
        rate: How many runs passed: ``4 of 5``.
        about_leaks: Whether such leaks fail this line.
        forgiven: Whether it did not pass but does not fail the run: a SHOULD.
        known: Set if the client is known to break this promise.
        undecided: Whether a leak in another part of the run may still fail the line.
        harm: False for the line about leaks.
        at_the_end: Whether every finding comes from the closing act.
    """

    id: str
    promise: str
    severity: str
    word: str
    seconds: float
    why: str = ""
    rate: str = ""
    leaks: tuple[str, ...] = ()
    about_leaks: bool = False
    broken: tuple[str, ...] = ()
    forgiven: bool = False
    known: Literal["", "failing", "flaky"] = ""
    reason: str = ""
    undecided: bool = False
    harm: bool = False
    at_the_end: bool = False

    @property
    def is_excused(self) -> bool:
        """Return whether it fails as it is known to: always, or now and then."""
        words = {"failing": ("fail",), "flaky": ("fail", "flaky")}.get(self.known, ())
        return self.word in words and not self.did_new_harm

    @property
    def did_new_harm(self) -> bool:
        return bool(self.known) and self.harm and not self.reason.lower().startswith(HARM)

    @property
    def counts_as(self) -> Literal["kept", "broken", "not exercised", "skipped", "error"]:
        """Return what it means for the run: a known failure is kept, its pass is broken."""
        if self.forgiven:
            return "kept"
        match self.word:
            case "pass":
                return "broken" if self.is_news else "kept"
            case "fail" | "flaky":
                return "kept" if self.is_excused else "broken"
            case "not exercised" | "skipped" as word:
                return word
        return "error"

    @property
    def mark(self) -> Literal["", "SHOULD", "known", "fixed"]:
        """Return why the verdict counts as another one."""
        if self.forgiven:
            return "SHOULD"
        return "known" if self.is_excused else "fixed" if self.is_news else ""

    @property
    def is_news(self) -> bool:
        return self.word == "pass" and self.known == "failing" and not self.undecided

    def __str__(self) -> str:
        word = f"{self.word} {self.rate}" if self.word == "flaky" else self.word
        if self.is_excused:
            word = f"{self.word} (known)"
        if self.is_news:
            word = "pass (fixed)"
        return f"{self.id:<8} {word:<13} {self.seconds:6.1f} s  {self.promise}"


HEADER = f"{'id':<8} {'verdict':<13} {'time':>8}  promise"


def line_of(
    record: Mapping[str, Any], *, about_leaks: bool = False, undecided: bool = False
) -> Line:
    """Return the line of a scenario that has just ended, or that a journal holds.

    `undecided` means that other scenarios of the run are missing. A secret may have leaked there,
    which fails the line about leaks.
    """
    findings = record.get("findings") or ()
    known = record.get("known") or {}
    about_leaks = about_leaks or bool(record.get("about_leaks"))
    word = str(record.get("word", "error"))
    return Line(
        str(record["id"]),
        str(record.get("promise", "")),
        str(record.get("severity", "")),
        word,
        round(float(record.get("seconds") or 0.0), 2),
        str(record.get("why") or ""),
        str(record.get("rate") or ""),
        tuple(_leak(leak) for leak in record.get("leaks") or ()),
        about_leaks,
        tuple(dict.fromkeys(str(finding["promise"]) for finding in findings)),
        forgiven=bool(record.get("forgiven")),
        known=known.get("kind", ""),
        reason=str(known.get("reason", "")),
        undecided=undecided and about_leaks and word == "pass",
        harm=not about_leaks and any(finding.get("harm") for finding in findings),
        at_the_end=bool(findings) and all(finding.get("closing") for finding in findings),
    )


def lines_in(journal: Mapping[str, Any]) -> list[Line]:
    part = bool(journal.get("left_out")) or not journal.get("complete", True)
    return [line_of(record, undecided=part) for record in journal["scenarios"]]


def wire_of(record: ScenarioRecord) -> str:
    """Return an empty text for plain HTTP.

    A client without HTTP/2 falls back to HTTP/1.1, and the verdict is then about HTTP/1.1.
    """
    if record.get("wire", "plain") == "plain":
        return ""
    spoken = {one["protocol"] for one in record.get("handshakes", ())} - {None}
    if record["wire"] == "h2" and spoken and "h2" not in spoken:
        return "HTTP/2 offered, the client speaks HTTP/1.1 over TLS"
    return "HTTP/2" if "h2" in spoken else "TLS"


def _leak(leak: Mapping[str, Any]) -> str:
    when = f"+{leak['at']:.2f} s: " if leak.get("at") is not None else ""
    return f"{when}{leak['seen']}"


@dataclass
class Summary:
    """The summary of a run, short enough to paste into a chat.

    Attributes:
        broken: Node ids of tests without a line, or with an error after it.
        lacking: Parts of the run that are missing, such as ``2/4``.
        broken_off: Parts of the run that did not end, such as ``part 2/4``.
        wires: Except plain HTTP.
    """

    subject: str
    lines: list[Line] = field(default_factory=list)
    product: str = ""
    engine: str = ""
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)
    complete: bool = True
    unfinished: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    broken_off: list[str] = field(default_factory=list)
    wires: set[str] = field(default_factory=set)

    def leaks(self) -> list[str]:
        return [f"{line.id:<8} {one_line(leak)}" for line in self.lines for leak in line.leaks]

    def interruption(self, running: Collection[str]) -> str:
        """`running` names the scenarios that were under way."""
        judged, rest = len(self.lines), len(self.unfinished)
        ending = "this is no pass, whatever is written above"
        if not judged + rest:
            return f"interrupted before any scenario began: {ending}"
        text = f"interrupted: {judged} of {judged + rest} scenarios have a verdict"
        begun = sorted({*running} & {*self.unfinished})
        if begun:
            text += f", {len(begun)} were under way ({', '.join(begun)})"
        if left := rest - len(begun):
            text += f", {left} had not begun"
        return f"{text}; {ending}"

    def settle_leaks(self) -> list[Line]:
        """Fail the line about leaks if a secret leaked anywhere; return the changed lines."""
        found = self.leaks()
        if not found:
            return []
        why = f"a secret came out in {found[0]}"
        changed = [
            replace(line, word="fail", why=why)
            for line in self.lines
            if line.about_leaks and line.word in ("pass", "not exercised")
        ]
        by_id = {line.id: line for line in changed}
        self.lines = [by_id.get(line.id, line) for line in self.lines]
        return changed

    def __str__(self) -> str:
        counts = Counter(line.word for line in self.lines)
        judged = len(self.lines) - counts["skipped"]
        text = f"{self.subject}: {counts['pass']} of {judged} scenarios pass"
        as_known = [line for line in self.lines if line.is_excused]
        for word in WORDS:
            found = {line.id: line for line in self.lines if line.word == word}
            told = [
                f"{one} (SHOULD)" if found[one].forgiven else one
                for one in sorted(found)
                if found[one] not in as_known
            ]
            text += f"; {word}: {', '.join(told)}" if told else ""
        if as_known:
            text += f"; fail as known: {', '.join(sorted(line.id for line in as_known))}"
        if news := sorted(line.id for line in self.lines if line.is_news):
            text += f"; known to fail, and pass: {', '.join(news)}"
        if harmful := sorted(line.id for line in self.lines if line.did_new_harm):
            text += f"; known to fail, and did harm: {', '.join(harmful)}"
        if leaking := sorted({line.id for line in self.lines if line.leaks}):
            text += f"; secrets came out in {', '.join(leaking)}"
        if self.broken:
            text += f"; the harness broke down in {', '.join(sorted(set(self.broken)))}"
        if self.unfinished:
            text += f"; incomplete: {', '.join(sorted(self.unfinished))} did not come to an end"
        if self.broken_off:
            text += f"; incomplete: {', '.join(self.broken_off)} did not come to its end"
        if self.lacking:
            text += f"; incomplete: part {', '.join(self.lacking)} is not there"
        if counts["skipped"]:
            text += f"; {counts['skipped']} skipped"
        where = ", ".join(
            part
            for part in (
                self.product,
                self.engine and f"{self.engine} engine",
                *sorted(self.wires),
            )
            if part
        )
        return one_line(f"{text} ({where}{', ' if where else ''}{self.seconds:.0f} s)")


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
    """The wall-clock and CPU seconds of a whole run, with all its processes."""

    wall: float
    user: float
    system: float
    side_by_side: int
    cores: int


def where_time_went(scenarios: Iterable[ScenarioRecord], effort: Effort) -> list[str]:
    """The longest scenario comes first. Scenarios that never began have no row."""
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
    """`outside` means that servers run in containers, so their CPU is unknown."""
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
