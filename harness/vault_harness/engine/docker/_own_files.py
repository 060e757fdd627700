"""The files in a stack's data directory that compose reads, exchanged under nodes that run."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from vault_harness import files
from vault_harness.engine.docker._layout import NODES_FILE_NAME, SEAL_FILE_NAME


def write_own_files(data_dir: Path, *, nodes: str | None, seal: str | None) -> None:
    """Write which nodes there are, and what they unseal themselves with.

    Whenever this ends half-way, no node lacks its key, and the second file names none that the
    first does not have: compose takes a service without an image for no project.

    Args:
        data_dir: Of the stack.
        nodes: The nodes but the first; None for a single one.
        seal: What all find their key by; None for Shamir's seal.
    """
    paths = (data_dir / NODES_FILE_NAME, nodes), (data_dir / SEAL_FILE_NAME, seal)
    fewer = seal is None or _services(seal) < _services(_read(data_dir / SEAL_FILE_NAME))
    for path, text in reversed(paths) if fewer else paths:
        keep_file(path, text)


def keep_file(path: Path, text: str | None) -> None:
    """Write a file, or see that there is none."""
    if text is None:
        path.unlink(missing_ok=True)
    else:
        files.write_private(path, text)


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return "{}"


def _services(text: str) -> set[str]:
    with contextlib.suppress(ValueError, LookupError, TypeError):
        return set(json.loads(text)["services"])
    return set()
