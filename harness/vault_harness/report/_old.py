"""What a run leaves behind: a line a scenario, a text a failure, and the journal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vault_harness.commands import named
from vault_harness.scenario.history import Exchange, History, Operation
from vault_harness.scenario.lab import Lab
from vault_harness.scenario.verdict import Verdict

TIMELINE = 14
"""Lines of the history that a failure shows."""


@dataclass(frozen=True)
class Line:
    """One scenario's line in the table.

    Attributes:
        id: Of the scenario.
        promise: What a good client does.
        severity: How bad it is to break that promise.
        word: The verdict; ``error`` if the harness itself failed.
        seconds: How long it took.
        why: Of any verdict but ``pass``: the reason in one line.
    """

    id: str
    promise: str
    severity: str
    word: str
    seconds: float
    why: str = ""

    def __str__(self) -> str:
        return f"{self.id:<8} {self.word:<13} {self.seconds:6.1f} s  {self.promise}"


HEADER = f"{'id':<8} {'verdict':<13} {'time':>8}  promise"


@dataclass
class Summary:
    """What a person pastes into a chat.

    Attributes:
        subject: The client that was tested.
        lines: Of the scenarios that came to an end.
        product: Of the Vault.
        engine: Which engine ran it.
        seconds: How long the whole took.
        broken: Node ids of tests without a line, or with an error after it.
    """

    subject: str
    lines: list[Line] = field(default_factory=list)
    product: str = ""
    engine: str = ""
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = Counter(line.word for line in self.lines)
        judged = len(self.lines) - counts["skipped"]
        text = f"{self.subject}: {counts['pass']} of {judged} scenarios pass"
        for word in ("fail", "not exercised", "error"):
            if ids := [line.id for line in self.lines if line.word == word]:
                text += f"; {word}: {', '.join(sorted(ids))}"
        if self.broken:
            text += f"; the harness broke down in {', '.join(sorted(set(self.broken)))}"
        if counts["skipped"]:
            text += f"; {counts['skipped']} skipped"
        where = ", ".join(
            part for part in (self.product, self.engine and f"{self.engine} engine") if part
        )
        return f"{text} ({where}{', ' if where else ''}{self.seconds:.0f} s)"


def explain(lab: Lab, verdict: Verdict, *, again: str) -> str:
    """The text of a failure: what was promised and seen, the fault, and how to run it again."""
    entry, history = lab.entry, lab.history
    lines = [f"{entry.id}  {verdict.word}: {entry.promise}", f"  guards against: {entry.source}"]
    if verdict.findings:
        lines.append("  seen:")
        lines += [f"    {finding}" for finding in verdict.findings]
    if verdict.untouched:
        lines.append("  not exercised, because:")
        lines += [f"    {text}" for text in verdict.untouched]
    if history.faults:
        lines.append("  faults:")
        for fault in history.faults:
            until = f"to +{fault.ended:.2f} s" if fault.ended is not None else "not undone"
            lines.append(f"    {fault.name}: +{fault.began:.2f} s {until}")
    if verdict.evidence:
        lines.append("  the fault is known to have touched the subject:")
        lines += [f"    {text}" for text in verdict.evidence]
    times = f"T = {lab.ttl:g} s, max TTL {entry.max_ttl:g} s, deadline {lab.deadline:g} s"
    lines.append(f"  timeline ({times}):")
    lines += [f"    {text}" for text in timeline(history)]
    if log := lab.subject_log():
        lines.append("  the subject logged last:")
        lines += [f"    {text}" for text in log.splitlines()]
    lines.append(f"  run it again: {again}")
    return "\n".join(lines)


def timeline(history: History, most: int = TIMELINE) -> list[str]:
    """The moments of a history that matter; the middle is left out if there are many."""
    moments: list[tuple[float, str]] = [(mark.at, mark.text) for mark in history.marks]
    for fault in history.faults:
        moments.append((fault.began, f"FAULT {fault.name}"))
        if fault.ended is not None:
            moments.append((fault.ended, f"undone: {fault.name}"))
    moments += [
        (e.began, _exchange(e)) for e in history.exchanges if e.kind != "read" or not e.good
    ]
    moments += [
        (o.began, _operation(o))
        for o in history.operations
        if o.outcome != "ok" or o.verb in ("start", "close")
    ]
    texts = [f"+{at:.2f} s  {text}" for at, text in sorted(moments)]
    if len(texts) > most:
        half = most // 2
        texts = [*texts[:half], f"... {len(texts) - most} more ...", *texts[-half:]]
    return texts


def _exchange(exchange: Exchange) -> str:
    answer = (
        str(exchange.status)
        if exchange.status is not None
        else f"no answer ({exchange.closed or 'pending'})"
    )
    ttl = f", TTL {exchange.ttl:g} s" if exchange.ttl else ""
    credential = (
        f" with {exchange.secret_id or exchange.token}"
        if exchange.secret_id or exchange.token
        else ""
    )
    return f"Vault saw {exchange.kind}{credential}: {answer}{ttl}"


def _operation(operation: Operation) -> str:
    taken = (
        f" after {operation.ended - operation.began:.2f} s" if operation.ended is not None else ""
    )
    said = f": {operation.message[:100]}" if operation.message else ""
    return f"{operation.verb} {operation.path} ended {operation.outcome}{taken}{said}".replace(
        "  ", " "
    )


def journal_of(lab: Lab, line: Line) -> dict[str, Any]:
    """One scenario's part of ``journal.json``: every event on one clock, no secrets."""
    history, verdict = lab.history, lab.verdict
    return {
        **asdict(line),
        "source": lab.entry.source,
        "subject": lab.environment.subject.text,
        "seed": lab.environment.seed,
        "times": {"ttl": lab.ttl, "max_ttl": lab.entry.max_ttl, "deadline": lab.deadline},
        "started": history.started_wall,
        "findings": [asdict(finding) for finding in verdict.findings] if verdict else [],
        "untouched": verdict.untouched if verdict else [],
        "evidence": verdict.evidence if verdict else [],
        "faults": [
            {"name": f.name, "began": f.began, "ended": f.ended, "detail": dict(f.detail)}
            for f in history.faults
        ],
        "operations": [asdict(operation) for operation in history.operations],
        "exchanges": [asdict(exchange) for exchange in history.exchanges],
        "connections": history.connections,
        "audit": [asdict(record) for record in history.audit],
        "rotations": [asdict(rotation) for rotation in history.rotations],
        "marks": [asdict(mark) for mark in history.marks],
    }


def write_part(directory: Path, lab: Lab, line: Line) -> None:
    """Keep one scenario's journal until the run ends."""
    parts = directory / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    text = lab.secrets.redact(json.dumps(journal_of(lab, line), default=str))
    (parts / f"{line.id}.json").write_text(text, encoding="utf-8")


def clear_parts(directory: Path) -> None:
    """Remove what is there of scenarios whose run was killed."""
    parts = directory / "parts"
    for part in parts.glob("*.json") if parts.is_dir() else ():
        part.unlink()


def collect_parts(directory: Path, summary: Summary) -> Path:
    """Join the parts into ``journal.json``, in the order of their ids, and remove them."""
    parts = directory / "parts"
    scenarios = []
    for part in sorted(parts.glob("*.json")) if parts.is_dir() else ():
        scenarios.append(json.loads(part.read_text(encoding="utf-8")))
        part.unlink()
    if parts.is_dir():
        parts.rmdir()
    with_journal = {scenario["id"] for scenario in scenarios}
    scenarios += [asdict(line) for line in summary.lines if line.id not in with_journal]
    scenarios.sort(key=lambda scenario: str(scenario["id"]))
    journal = {
        "summary": str(summary),
        "subject": summary.subject,
        "product": summary.product,
        "engine": summary.engine,
        "seconds": round(summary.seconds, 1),
        "scenarios": scenarios,
    }
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / "journal.json"
    new = directory / ".journal.json.new"
    new.write_text(json.dumps(journal, indent=1) + "\n", encoding="utf-8")
    new.replace(target)
    return target


def again(id: str, *, subject: str, declared: Mapping[str, float], seed: int) -> str:  # noqa: A002 - it is one
    """The command that runs one scenario again as it was."""
    words = ["--only", id, "--subject", subject]
    words += [
        word for name, value in declared.items() for word in ("--declare", f"{name}={value:g}")
    ]
    return named("scenarios", *words, "--seed", seed)
