"""Reading the server's own audit log: one witness of the history."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from harness.scenario.history import AuditRecord, History


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
        if entry.get("type") != "response":
            continue
        request, auth = entry.get("request") or {}, entry.get("auth") or {}
        records.append(
            AuditRecord(
                at=history.wall(_unix(str(entry.get("time", "")))),
                path=str(request.get("path", "")),
                operation=str(request.get("operation", "")),
                accessor=auth.get("accessor"),
                error=entry.get("error"),
            )
        )
    return records


def _unix(text: str) -> float:
    """Seconds of an RFC 3339 time with up to nine digits of a second."""
    whole, _, rest = text.rstrip("Z").partition(".")
    seconds = datetime.fromisoformat(whole + "+00:00").timestamp()
    return seconds + (float(f"0.{rest}") if rest.isdigit() else 0.0)
