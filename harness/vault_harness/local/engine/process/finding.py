"""Find servers that another task started."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from vault_harness.local.engine.process.spawn import DetachedProcess
from vault_harness.local.engine.provider import KnownServers

_OPTIONS = ("-config", "-f")
_JOINED = "-config="


def recorded(name: str, record: KnownServers, configuration: Path) -> DetachedProcess | None:
    """Return the recorded process, which may have ended; None if it is not ours.

    The command line of our process names `configuration`. That counts for more than the start time,
    because the clock may have changed. The record of a copied folder names the original's servers.
    """
    service: dict[str, Any] = record.services.get(name, {})
    if "pid" not in service or of_another(name, record, configuration) is not None:
        return None
    pid, born = int(service["pid"]), float(service["born"])
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if any(_is_same(each, configuration) for each in _configurations(process.cmdline())):
            born = process.create_time()
    return DetachedProcess(pid, born)


def of_another(name: str, record: KnownServers, configuration: Path) -> Path | None:
    """Return another stack's configuration file whose server a record names, or None.

    After a move the recorded servers are our own: their old file is gone.
    """
    service: dict[str, Any] = record.services.get(name, {})
    if "pid" not in service:
        return None
    pid, born = int(service["pid"]), float(service["born"])
    with contextlib.suppress(psutil.Error, OSError):
        given = [Path(each) for each in _configurations(psutil.Process(pid).cmdline())]
        if DetachedProcess(pid, born).alive() and not any(
            _is_same(str(each), configuration) for each in given
        ):
            there = [each for each in given if each.name == configuration.name and each.is_file()]
            return next(iter(there), None)
    return None


def started_with(*configurations: Path) -> dict[Path, list[DetachedProcess]]:
    """Look at all processes only once: a machine has hundreds."""
    found: dict[Path, list[DetachedProcess]] = {path: [] for path in configurations}
    for process in psutil.process_iter(["cmdline", "create_time"]):
        given = _configurations(process.info["cmdline"] or [])
        for path in configurations:
            if str(path) in given:
                found[path].append(DetachedProcess(process.pid, float(process.info["create_time"])))
    return found


def _configurations(arguments: Sequence[str]) -> set[str]:
    """Count only configuration options: an editor with the file open must not be killed."""
    given = {value for option, value in pairwise(arguments) if option in _OPTIONS}
    return given | {each.removeprefix(_JOINED) for each in arguments if each.startswith(_JOINED)}


def _is_same(given: str, configuration: Path) -> bool:
    """Compare folders: a copy made of hard links shares its files with the original."""
    there = Path(given)
    if there == configuration:
        return True
    with contextlib.suppress(OSError):
        same_name = there.name == configuration.name
        return same_name and configuration.parent.samefile(there.parent)
    return False
