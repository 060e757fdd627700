"""The files that a seal's stanza names, and where a server in a container finds them.

A stanza names them as this machine does. A container gets each of them, and nothing else of their
folder, read-only: a key is in no image, no environment and no command line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vault_harness.engine._shape import NodeSpec

_FOLDER = "/vault/seal"
_FILE = "file:///"
"""A relative one is in the directory that the server runs in, which is the same everywhere."""


def seal_of(spec: NodeSpec) -> Mapping[str, Any]:
    """The seal stanza of a node; empty for Shamir's."""
    seal = spec.extra.get("seal")
    return seal if isinstance(seal, Mapping) else {}


def seal_files(seal: Mapping[str, Any]) -> dict[Path, str]:
    """The files that a stanza names, and what each is called inside."""
    return {path: inside for _, _, path, inside in _named(seal)}


def seen_inside(seal: Mapping[str, Any]) -> dict[str, Any]:
    """The same stanza as a server in a container must read it."""
    stanzas = {kind: dict(parameters) for kind, parameters in seal.items()}
    for kind, parameter, _, inside in _named(seal):
        stanzas[kind][parameter] = f"file://{inside}"
    return stanzas


def mounts(files: Mapping[Path, str]) -> list[dict[str, Any]]:
    """Files here, by their places inside, as volumes of a service, for compose."""
    return [
        {
            "type": "bind",
            "source": str(path).replace("$", "$$"),
            "target": inside,
            "read_only": True,
            # One that is missing must not be made, as a folder and as root's.
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
