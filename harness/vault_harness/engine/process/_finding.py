"""Finds servers that another task started: by the record, or by what their command line names."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from vault_harness.engine._provider import KnownServers
from vault_harness.engine.process._spawn import DetachedProcess

_OPTIONS = ("-config", "-f")


def recorded(name: str, record: KnownServers) -> DetachedProcess | None:
    """The process that a record names, which may have ended; None if it names none."""
    service: dict[str, Any] = record.services.get(name, {})
    if "pid" not in service:
        return None
    return DetachedProcess(int(service["pid"]), float(service["born"]))


def started_with(configuration: Path) -> list[DetachedProcess]:
    """Processes that were given this file as their configuration."""
    path = str(configuration)
    named = {(option, path) for option in _OPTIONS}
    found = []
    for process in psutil.process_iter(["cmdline", "create_time"]):
        arguments: list[str] = process.info["cmdline"] or []
        # Not just the path: an editor that has the file open is not to be ended.
        if f"-config={path}" in arguments or named.intersection(pairwise(arguments)):
            found.append(DetachedProcess(process.pid, float(process.info["create_time"])))
    return found
