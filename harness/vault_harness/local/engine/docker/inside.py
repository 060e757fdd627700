"""The layout of a Vault server inside its container.

A container mounts the directory that a child process would use, with all files owned by this user.
So a stack can switch engines and keep data and keys, a backup opens under either engine, and the
user can read the audit log.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.certificates import OPERATOR
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.configuration import (
    DATA_NAME,
    QUICK_AUTOPILOT,
    Place,
    as_text,
    server_configuration,
)
from vault_harness.local.engine.docker.cloud import plugin_inside
from vault_harness.local.engine.provider import NODE_NAME
from vault_harness.local.engine.shape import NodeSpec

if TYPE_CHECKING:
    import docker

API_PORT = 8200
CLUSTER_PORT = 8201

INSIDE = "/vault/node"
"""The node's directory inside; also the server's working directory."""

CONFIGURATION_NAME = "vault.json"

_TLS_NAME = "tls"

_FOLDER = "/vault/seal"
"""Holds the files that a seal stanza names."""

_FILE = "file:///"
"""Prefix of absolute paths. Relative paths are the same everywhere."""

# All interfaces: only the container's network and the published port lead to them.
_EVERYWHERE = "0.0.0.0"  # noqa: S104 -- inside a container of our own


def write_configuration(
    spec: NodeSpec, dialect: Dialect, *, address: str, host: str, join: Iterable[str] = ()
) -> None:
    """Write what a node's server needs to start.

    Args:
        address: Base URL for clients on this machine, used in redirects.
        host: The container's name on its network.
        join: API addresses on that network.
    """
    if spec.storage == "raft":
        files.private_directory(spec.directory / DATA_NAME)
    copy_tls_files(spec)
    text = as_text(configuration(spec, dialect, address=address, host=host, join=join))
    files.write_private(spec.directory / CONFIGURATION_NAME, text)


def configuration(
    spec: NodeSpec, dialect: Dialect, *, address: str, host: str, join: Iterable[str] = ()
) -> dict[str, object]:
    tls = f"{INSIDE}/{_TLS_NAME}" if spec.tls else ""
    asks = tls if spec.tls and spec.tls.clients else ""
    place = Place(
        api=f"{_EVERYWHERE}:{API_PORT}",
        cluster=f"{_EVERYWHERE}:{CLUSTER_PORT}",
        address=address,
        cluster_address=f"{host}:{CLUSTER_PORT}",
        data=f"{INSIDE}/{DATA_NAME}",
        certificate=tls and f"{tls}/certificate.pem",
        key=tls and f"{tls}/key.pem",
        ca=tls and f"{tls}/ca.pem",
        clients=asks and f"{asks}/clients.pem",
        own=asks and f"{asks}/{OPERATOR}.pem",
        join=tuple(join),
    )
    if seal := seal_of(spec):
        extra = {**plugin_inside(spec.extra), "seal": seen_inside(seal)}
        spec = replace(spec, extra=extra)
    return server_configuration(spec, dialect, place)


def by_hand(dialect: Dialect) -> str:
    """Return the file of ``compose/config``, for compose files started by hand."""
    spec = NodeSpec(name=NODE_NAME, directory=Path(), storage="raft")
    return as_text(_with_data_here(configuration(spec, dialect, address="", host=NODE_NAME)))


def by_hand_joining(dialect: Dialect) -> str:
    """Return that file for a cluster's other nodes."""
    spec = NodeSpec(
        name="",
        directory=Path(),
        storage="raft",
        extra={"storage": {"raft": QUICK_AUTOPILOT}},
    )
    names = (NODE_NAME, *(f"{NODE_NAME}-{number}" for number in (2, 3)))
    join = [base_url(f"{name}:{API_PORT}") for name in names]
    content = _with_data_here(configuration(spec, dialect, address="", host="", join=join))
    del content["cluster_addr"], content["storage"]["raft"]["node_id"]
    return as_text(content)


def _with_data_here(content: dict[str, Any]) -> dict[str, Any]:
    """Put the raft data into the folder that the compose files mount."""
    content["storage"]["raft"]["path"] = INSIDE
    return content


def static_seal_by_hand() -> str:
    """Return the file for unsealing by the key mounted at ``/static.key``."""
    key = seen_inside(
        {"static": {"current_key_id": "by-hand", "current_key": "file:///static.key"}}
    )
    return as_text({"seal": key})


def copy_tls_files(spec: NodeSpec) -> None:
    if spec.tls is None:
        return
    inside = files.private_directory(spec.directory / _TLS_NAME)
    for name, source in asdict(spec.tls).items():
        if source is not None:
            files.write_private(inside / f"{name}.pem", Path(source).read_bytes())
    if (own := spec.tls.own(OPERATOR)) is not None:  # for its health check, and for joining
        files.write_private(inside / f"{OPERATOR}.pem", own.read_bytes())


def container_user(client: docker.DockerClient) -> str:
    """Return ``uid:gid`` for the server, so that this user owns its files."""
    if any("rootless" in option for option in client.info().get("SecurityOptions") or ()):
        return "0:0"  # a rootless engine maps its root to the user who started it
    return f"{os.getuid()}:{os.getgid()}"


def seal_of(spec: NodeSpec) -> Mapping[str, Any]:
    seal = spec.extra.get("seal")
    return seal if isinstance(seal, Mapping) else {}


def seal_files(seal: Mapping[str, Any]) -> dict[Path, str]:
    """Return the files that a stanza names, with their paths inside.

    A container gets exactly these files, read-only. No key is in an image, an environment or a
    command line.
    """
    return {path: inside for _, _, path, inside in _named(seal)}


def seen_inside(seal: Mapping[str, Any]) -> dict[str, Any]:
    stanzas = {kind: dict(parameters) for kind, parameters in seal.items()}
    for kind, parameter, _, inside in _named(seal):
        stanzas[kind][parameter] = f"file://{inside}"
    return stanzas


def mounts(files: Mapping[Path, str]) -> list[dict[str, Any]]:
    return [
        {
            "type": "bind",
            "source": str(path).replace("$", "$$"),
            "target": inside,
            "read_only": True,
            # Or a missing file would be created as a folder owned by root.
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
