"""How a Vault server is laid out inside its container: one shape, whoever starts it.

A container's server has the very directory that a child process would have, mounted at `INSIDE`:
its configuration, its raft data and its audit log, all of them this user's. So a stack may change
from one engine to the other and keep its data and its keys, a backup of one opens in the other, and
the audit log is this user's to read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault_harness import files
from vault_harness.addresses import base_url
from vault_harness.certificates import OPERATOR
from vault_harness.dialect import Dialect
from vault_harness.engine._configuration import (
    DATA_NAME,
    QUICK_AUTOPILOT,
    Place,
    as_text,
    server_configuration,
)
from vault_harness.engine._provider import NODE_NAME
from vault_harness.engine._shape import NodeSpec
from vault_harness.engine.docker._cloud import plugin_inside
from vault_harness.engine.docker._seal_files import seal_of, seen_inside

if TYPE_CHECKING:
    import docker

API_PORT = 8200
CLUSTER_PORT = 8201

INSIDE = "/vault/node"
"""The node's directory, as its server names it; also where the server runs."""

CONFIGURATION_NAME = "vault.json"

_TLS_NAME = "tls"

# All interfaces of the container: only its network and the published port lead there.
_EVERYWHERE = "0.0.0.0"  # noqa: S104 -- inside a container of our own


def write_configuration(
    spec: NodeSpec, dialect: Dialect, *, address: str, host: str, join: Iterable[str] = ()
) -> None:
    """Put into a node's directory what its server needs at its start.

    Args:
        spec: What the node shall be.
        dialect: Whose server the image holds.
        address: Base URL for clients on this machine: redirects go to them.
        host: The container's name on its network.
        join: API addresses of nodes to join, on that network.
    """
    if spec.storage == "raft":
        files.private_directory(spec.directory / DATA_NAME)
    copy_tls_files(spec)
    text = as_text(configuration(spec, dialect, address=address, host=host, join=join))
    files.write_private(spec.directory / CONFIGURATION_NAME, text)


def configuration(
    spec: NodeSpec,
    dialect: Dialect,
    *,
    address: str,
    host: str,
    data: str = f"{INSIDE}/{DATA_NAME}",
    join: Iterable[str] = (),
) -> dict[str, object]:
    """The content of that file; ``data`` is the folder of its raft data."""
    tls = f"{INSIDE}/{_TLS_NAME}" if spec.tls else ""
    asks = tls if spec.tls and spec.tls.clients else ""
    place = Place(
        api=f"{_EVERYWHERE}:{API_PORT}",
        cluster=f"{_EVERYWHERE}:{CLUSTER_PORT}",
        address=address,
        cluster_address=f"{host}:{CLUSTER_PORT}",
        data=data,
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
    """The file of ``compose/config`` for whoever starts the compose files without a task."""
    spec = NodeSpec(name=NODE_NAME, directory=Path(), storage="raft")
    return as_text(configuration(spec, dialect, address="", host=NODE_NAME, data=INSIDE))


def by_hand_joining(dialect: Dialect) -> str:
    """The same for the other nodes of a cluster; who one is, its environment says."""
    spec = NodeSpec(
        name="",
        directory=Path(),
        storage="raft",
        extra={"storage": {"raft": QUICK_AUTOPILOT}},
    )
    names = (NODE_NAME, *(f"{NODE_NAME}-{number}" for number in (2, 3)))
    join = [base_url(f"{name}:{API_PORT}") for name in names]
    content: dict[str, Any] = configuration(
        spec, dialect, address="", host="", data=INSIDE, join=join
    )
    del content["cluster_addr"], content["storage"]["raft"]["node_id"]
    return as_text(content)


def static_seal_by_hand() -> str:
    """The file beside it by which Vault unseals itself, with the key that is mounted then."""
    key = seen_inside(
        {"static": {"current_key_id": "by-hand", "current_key": "file:///static.key"}}
    )
    return as_text({"seal": key})


def copy_tls_files(spec: NodeSpec) -> None:
    """Bring what it shows and whom it trusts to where the server sees it: its own directory."""
    if spec.tls is None:
        return
    inside = files.private_directory(spec.directory / _TLS_NAME)
    for name, source in asdict(spec.tls).items():
        if source is not None:
            files.write_private(inside / f"{name}.pem", Path(source).read_bytes())
    if (own := spec.tls.own(OPERATOR)) is not None:  # of its health check, and where it joins
        files.write_private(inside / f"{OPERATOR}.pem", own.read_bytes())


def container_user(client: docker.DockerClient) -> str:
    """Who a server is inside, as ``uid:gid``, so that its files belong to this user outside."""
    if any("rootless" in option for option in client.info().get("SecurityOptions") or ()):
        return "0:0"  # the rootless engine maps its root to whoever started it
    return f"{os.getuid()}:{os.getgid()}"
