"""Tell whether recorded containers belong to a folder that was moved, copied or has two names.

The Compose project of a stack is named after the path of its folder. The record contains the
project and folder of the last start.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from vault_harness.local.engine.docker.compose import project_name
from vault_harness.local.engine.provider import NODE_NAME, KnownServers

FOLDER = "HARNESS_DATA_DIR"
"""The variable of the compose files for the data directory."""


def project_here(data_dir: Path, known: KnownServers) -> str:
    """Return the Compose project of a folder: the recorded one, unless the folder is a copy."""
    project, _ = recorded(known)
    if not project or copied_from(data_dir, known) is not None:
        return project_name(data_dir)
    return project


def as_started(data_dir: Path, known: KnownServers) -> Path:
    """Return a folder under the name that its containers were started with, if that still works.

    Under another name Compose would replace all containers.
    """
    _, folder = recorded(known)
    if folder is not None:
        with contextlib.suppress(OSError):
            return folder if folder.samefile(data_dir) else data_dir
    return data_dir


def recorded(known: KnownServers) -> tuple[str, Path | None]:
    """Return the project and folder of the last start; empty and None without one."""
    node = known.services.get(NODE_NAME) or {}
    folder = (node.get("environment") or {}).get(FOLDER)
    return str(node.get("project") or ""), Path(str(folder)) if folder else None


def copied_from(data_dir: Path, known: KnownServers) -> Path | None:
    """Return the folder that this one was copied from, whose containers the record names.

    None if the containers belong to this folder, also after a move: then the other one is gone.
    """
    _, folder = recorded(known)
    if folder is None:
        return None
    try:
        return None if folder.samefile(data_dir) else folder
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # it belongs to another user and may not be read
        return folder


def original_of_copy(data_dir: Path, known: KnownServers) -> Path | None:
    """Return the folder in which the record's servers were started, if it is not this one.

    Until a full start here, the compose files still name that folder.
    """
    _, folder = recorded(known)
    if folder is None or folder == data_dir:
        return None
    try:
        return None if folder.samefile(data_dir) else folder
    except OSError:
        return folder
