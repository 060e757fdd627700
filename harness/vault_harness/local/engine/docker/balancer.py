"""HAProxy in a container in front of a cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from vault_harness import files
from vault_harness.certificates import TlsFiles
from vault_harness.local.engine.balancing import Backends, balancer_configuration
from vault_harness.local.engine.docker.inside import API_PORT
from vault_harness.local.engine.provider import BALANCER_NAME, NODE_NAME

STATUS_PORT = 8205
"""For HAProxy's own health check, inside the container."""

INSIDE_BALANCER = PurePosixPath("/balancer")

_CONFIGURATION_NAME = "haproxy.cfg"
_OWN_NAME = "own.pem"
_BY_HAND = (NODE_NAME, f"{NODE_NAME}-2", f"{NODE_NAME}-3")


def write_balancer_configuration(
    directory: Path, nodes: Iterable[str], tls: TlsFiles | None
) -> None:
    files.private_directory(directory)
    own = tls.own(BALANCER_NAME) if tls else None
    if own is not None:
        files.write_private(directory / _OWN_NAME, own.read_bytes())
    files.write_private(directory / _CONFIGURATION_NAME, configuration(nodes, tls))


def alive_path(nodes: Iterable[str], tls: TlsFiles | None) -> str:
    """Return the path that answers 200 once HAProxy runs with these nodes and certificate."""
    own = tls.own(BALANCER_NAME) if tls else None
    shown = own.read_bytes() if own is not None and own.exists() else b""
    digest = hashlib.sha256(repr((tuple(nodes), tls is not None)).encode() + shown).hexdigest()
    return f"/alive/{digest[:12]}"


def configuration(nodes: Iterable[str], tls: TlsFiles | None, *, path: str | None = None) -> str:
    names = tuple(nodes)
    return balancer_configuration(
        Backends(
            {name: f"{name}:{API_PORT}" for name in names},
            tls=tls is not None,
            own=INSIDE_BALANCER / _OWN_NAME if tls and tls.own(BALANCER_NAME) else None,
        ),
        listen=f"*:{API_PORT}",
        alive=f"*:{STATUS_PORT}",
        alive_path=path or alive_path(names, tls),
        by_name=True,
    )


def balancer_by_hand() -> str:
    """Return the file of ``compose/config``, for compose files started by hand."""
    return configuration(_BY_HAND, None, path="/alive")
