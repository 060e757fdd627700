"""The files that a seal stanza names, and their paths inside a container.

A stanza contains paths of this machine. A container gets exactly these files, read-only, and no
other file of their folder. No key is in an image, an environment or a command line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vault_harness.local.engine.shape import NodeSpec

_FOLDER = "/vault/seal"
_FILE = "file:///"
"""Prefix of absolute paths. A relative path is in the server's directory, the same everywhere."""


def seal_of(spec: NodeSpec) -> Mapping[str, Any]:
    """Return the seal stanza of a node; empty for Shamir's seal."""
    seal = spec.extra.get("seal")
    return seal if isinstance(seal, Mapping) else {}


def seal_files(seal: Mapping[str, Any]) -> dict[Path, str]:
    """Return the files that a stanza names, with their paths inside."""
    return {path: inside for _, _, path, inside in _named(seal)}


def seen_inside(seal: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stanza with the paths inside the container."""
    stanzas = {kind: dict(parameters) for kind, parameters in seal.items()}
    for kind, parameter, _, inside in _named(seal):
        stanzas[kind][parameter] = f"file://{inside}"
    return stanzas


def mounts(files: Mapping[Path, str]) -> list[dict[str, Any]]:
    """Return volumes of a Compose service for files here and their paths inside."""
    return [
        {
            "type": "bind",
            "source": str(path).replace("$", "$$"),
            "target": inside,
            "read_only": True,
            # A missing file must not be created as a folder owned by root.
            "bind": {"create_host_path": False, "selinux": "z"},
        }
        for path, inside in files.items()
    ]


def _named(seal: Mapping[str, Any]) -> Iterator[tuple[str, str, Path, str]]:
    for kind, parameters in seal.items():
        for parameter, value in parameters.items():
            if isinstance(value, str) and value.startswith(_FILE):
                path = Path(value.removeprefix("file://"))
                yield kind, parameter, path, f"{_FOLDER}/{kind}/{parameter}"
