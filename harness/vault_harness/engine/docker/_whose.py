"""Whose the containers are that a record names: a folder is moved, copied, or named in two ways.

The project of a stack's containers comes from the path of its folder. The record says which project
it was when they were started, and in which folder.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from vault_harness.engine._provider import NODE_NAME, KnownServers
from vault_harness.engine.docker._compose import project_name

FOLDER = "HARNESS_DATA_DIR"
"""The variable of the compose files that names it."""


def project_here(data_dir: Path, known: KnownServers) -> str:
    """The project of the containers of a folder: as they were started, if any were.

    Args:
        data_dir: By the name that it has now.
        known: Its record.
    """
    project, _ = recorded(known)
    if not project or copied_from(data_dir, known) is not None:
        return project_name(data_dir)
    return project


def as_started(data_dir: Path, known: KnownServers) -> Path:
    """A folder by the name that its containers were started with, if it still leads there.

    By another one compose would replace them, all at once.
    """
    _, folder = recorded(known)
    if folder is not None:
        with contextlib.suppress(OSError):
            return folder if folder.samefile(data_dir) else data_dir
    return data_dir


def recorded(known: KnownServers) -> tuple[str, Path | None]:
    """The project that a record names, and the folder it was started in; empty without any."""
    node = known.services.get(NODE_NAME) or {}
    folder = (node.get("environment") or {}).get(FOLDER)
    return str(node.get("project") or ""), Path(str(folder)) if folder else None


def copied_from(data_dir: Path, known: KnownServers) -> Path | None:
    """The folder of which this one is a copy, whose containers the record names.

    Returns:
        None if they are its own, also where it was moved since: the other one is not there then.
    """
    _, folder = recorded(known)
    if folder is None:
        return None
    try:
        return None if folder.samefile(data_dir) else folder
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # somebody else's, which may not be looked into
        return folder


def is_elsewhere(data_dir: Path, known: KnownServers) -> Path | None:
    """The folder in which the record's servers were started, if it is not this one.

    Files beside it name that one, for compose, until all are started here.
    """
    _, folder = recorded(known)
    if folder is None or folder == data_dir:
        return None
    try:
        return None if folder.samefile(data_dir) else folder
    except OSError:
        return folder
