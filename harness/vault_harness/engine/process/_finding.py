"""Finds servers that another task started: by the record, or by what their command line names."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from vault_harness.engine._provider import KnownServers
from vault_harness.engine.process._spawn import DetachedProcess

_OPTIONS = ("-config", "-f")
_JOINED = "-config="


def recorded(name: str, record: KnownServers) -> DetachedProcess | None:
    """The process that a record names, which may have ended; None if it names none."""
    service: dict[str, Any] = record.services.get(name, {})
    if "pid" not in service:
        return None
    return DetachedProcess(int(service["pid"]), float(service["born"]))


def started_with(*configurations: Path) -> dict[Path, list[DetachedProcess]]:
    """Processes that were given one of these files as their configuration, by that file.

    One look at all processes for all of them: a machine has hundreds, and a stack up to ten.
    """
    found: dict[Path, list[DetachedProcess]] = {path: [] for path in configurations}
    for process in psutil.process_iter(["cmdline", "create_time"]):
        arguments: list[str] = process.info["cmdline"] or []
        # Not just the path: an editor that has the file open is not to be ended.
        given = {value for option, value in pairwise(arguments) if option in _OPTIONS}
        given |= {each.removeprefix(_JOINED) for each in arguments if each.startswith(_JOINED)}
        for path in configurations:
            if str(path) in given:
                found[path].append(DetachedProcess(process.pid, float(process.info["create_time"])))
    return found
