"""Reading the server's own audit log: one witness of the history."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from vault_harness.scenario.history import History
from vault_harness.scenario.observations import AuditRecord


def read_audit(path: Path, history: History) -> list[AuditRecord]:
    """The answered requests in a file audit log (JSON lines, ``log_raw`` or not).

    A last line that the server has not finished writing is left out.
    """
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict) or entry.get("type") != "response":
            continue
        at = _unix(str(entry.get("time", "")))
        if at is None:
            continue
        request, auth = entry.get("request") or {}, entry.get("auth") or {}
        records.append(
            AuditRecord(
                at=history.wall(at),
                path=str(request.get("path", "")),
                operation=str(request.get("operation", "")),
                accessor=auth.get("accessor"),
                error=entry.get("error"),
            )
        )
    return records


def _unix(text: str) -> float | None:
    """Seconds of an RFC 3339 time with up to nine digits of a second, or None if it is none."""
    try:
        # Python 3.11 reads any number of digits, and cuts them to microseconds.
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None
