"""Make the record of one scenario: all that happened, as data without secrets.

Times are seconds since the scenario began.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from vault_harness.judge.catalogue import Entry
from vault_harness.judge.environment import Environment
from vault_harness.judge.lab import Lab
from vault_harness.judge.verdict import Verdict, Word
from vault_harness.recorder.fault import Fault
from vault_harness.recorder.secrets import Redaction

FORMAT = 2
"""Raised when a field of the journal changes its meaning."""

ScenarioRecord = Mapping[str, Any]


def record_of(
    environment: Environment,
    entry: Entry,
    lab: Lab | None,
    *,
    word: Word,
    why: str,
) -> dict[str, Any]:
    """`lab` is None if the scenario never began."""
    record: dict[str, Any] = {
        "format": FORMAT,
        "id": entry.id,
        "promise": entry.promise,
        "severity": entry.severity,
        "word": word,
        "why": why,
        "source": entry.source,
        "subject": environment.subject.text,
        "declared": dict(environment.declared),
        "seed": environment.seed,
        "engine": environment.engine.name,
        "ttl_scale": environment.ttl_scale,
        "wire": entry.wire or environment.wire,
        "times": {"ttl": entry.ttl, "max_ttl": entry.max_ttl, "deadline": entry.deadline},
        **_verdict(lab.verdict if lab is not None else None),
    }
    if lab is None:
        return record
    history = lab.history
    record |= {
        "product": lab.product,
        "client": lab.said,
        "times": {"ttl": lab.ttl, "max_ttl": entry.max_ttl, "deadline": lab.deadline},
        "started": history.started_wall,
        "clock_gap": round(history.clock_gap(), 6),
        "no_closing": lab.no_closing,
        "faults": [
            {"name": f.name, "began": f.began, "ended": f.ended, "detail": _detail(f)}
            for f in history.faults
        ],
        "operations": list(history.operations),
        "exchanges": list(history.exchanges),
        "connections": history.connections,
        "touches": list(history.touches),
        "handshakes": list(history.handshakes),
        "audit": list(history.audit),
        "rotations": list(history.rotations),
        "uses": list(history.uses),
        "marks": list(history.marks),
        "stalls": list(history.stalls),
        "log": list(lab.log_lines()),
    }
    redaction = lab.secrets.redaction()
    return {name: _without_secrets(redaction, value) for name, value in record.items()}


def _without_secrets(redaction: Redaction, value: object) -> Any:
    """Return observations as plain data, with secrets replaced string by string.

    The document shows whether there is anything to replace, which is rare. It cannot be replaced
    itself, because it escapes quotes and line ends of secrets.
    """
    document = json.dumps(value, default=_as_data, ensure_ascii=False)
    plain = json.loads(document)
    there = redaction.narrowed(document)
    return plain if there is None else there.of_data(plain)


def _as_data(value: object) -> object:
    # `asdict` would copy thousands of requests.
    return vars(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def leaks_of_others(
    shown: Iterable[Mapping[str, Any]], others: Mapping[str, Iterable[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """A secret that leaked in one run of ten has leaked, whichever run is shown."""
    told = {str(leak["seen"]): dict(leak) for leak in shown}
    for called, leaks in others.items():
        for leak in leaks:
            at = leak.get("at")  # on that run's clock
            when = "" if at is None else f", +{at:.2f} s"
            seen = f"{called}{when}: {leak['seen']}"
            told.setdefault(str(leak["seen"]), {**leak, "seen": seen, "at": None})
    return list(told.values())


def _detail(fault: Fault) -> dict[str, object]:
    counted = {} if fault.counter is None else {"requests": fault.touched}
    return {**fault.detail, **counted}


def _verdict(verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {"findings": [], "untouched": [], "evidence": [], "set_aside": [], "leaks": []}
    return {
        "findings": [asdict(finding) for finding in verdict.findings],
        "untouched": verdict.untouched,
        "evidence": verdict.evidence,
        "set_aside": [asdict(one) for one in verdict.set_aside],
        "leaks": [asdict(leak) for leak in verdict.leaks],
    }
