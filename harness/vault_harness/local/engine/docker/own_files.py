"""Replace the compose files in a stack's data directory while nodes run."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from vault_harness import files
from vault_harness.local.engine.docker.layout import NODES_FILE_NAME, SEAL_FILE_NAME


def write_own_files(data_dir: Path, *, nodes: str | None, seal: str | None) -> None:
    """Write the compose files of nodes and seal.

    The order keeps two rules, even if this is interrupted. No node lacks its key. The seal file
    names no node that the nodes file lacks: Compose rejects a service without an image.

    Args:
        nodes: All nodes except the first; None for a single node.
        seal: The key files of all nodes; None for Shamir's seal.
    """
    paths = (data_dir / NODES_FILE_NAME, nodes), (data_dir / SEAL_FILE_NAME, seal)
    fewer = seal is None or _services(seal) < _services(_read(data_dir / SEAL_FILE_NAME))
    for path, text in reversed(paths) if fewer else paths:
        keep_file(path, text)


def keep_file(path: Path, text: str | None) -> None:
    """Write a file, or delete it if `text` is None."""
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
