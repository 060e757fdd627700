"""Finds servers that another task started: by the record, or by what their command line names."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from vault_harness.engine._provider import KnownServers
from vault_harness.engine.process._spawn import DetachedProcess

_OPTIONS = ("-config", "-f")
_JOINED = "-config="


def recorded(name: str, record: KnownServers, configuration: Path) -> DetachedProcess | None:
    """The process that a record names, which may have ended; None if it names none of ours.

    What its command line names says more than its birth, which a clock tells that somebody may have
    set since; and the record of a folder that was copied names the servers of the other one.

    Args:
        name: Of the server.
        record: Names its process.
        configuration: The file that its command line names, now that the folder is where it is.
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
    """The configuration file of another stack, whose server a record names; None if it does not.

    A folder that was moved has the record of its own servers: the file that they were given is not
    there any more.

    Args:
        name: Of the server.
        record: Names its process.
        configuration: The file that one of our own would have been given.
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
    """Processes that were given one of these files as their configuration, by that file.

    One look at all processes for all of them: a machine has hundreds, and a stack up to ten.
    """
    found: dict[Path, list[DetachedProcess]] = {path: [] for path in configurations}
    for process in psutil.process_iter(["cmdline", "create_time"]):
        given = _configurations(process.info["cmdline"] or [])
        for path in configurations:
            if str(path) in given:
                found[path].append(DetachedProcess(process.pid, float(process.info["create_time"])))
    return found


def _configurations(arguments: Sequence[str]) -> set[str]:
    """The files that a command line names as configurations.

    Not just any path: an editor that has the file open is not to be ended.
    """
    given = {value for option, value in pairwise(arguments) if option in _OPTIONS}
    return given | {each.removeprefix(_JOINED) for each in arguments if each.startswith(_JOINED)}


def _is_same(given: str, configuration: Path) -> bool:
    """Whether both are one file, by another name of its folder perhaps.

    By the folders: a copy may have been made of hard links, and its files are the other one's.
    """
    there = Path(given)
    if there == configuration:
        return True
    with contextlib.suppress(OSError):
        same_name = there.name == configuration.name
        return same_name and configuration.parent.samefile(there.parent)
    return False
