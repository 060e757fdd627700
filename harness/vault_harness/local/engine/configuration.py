"""Write configuration that Vault and OpenBao both read, and keep their data apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vault_harness import files
from vault_harness.errors import CapabilityMissing, EngineError, StackError, named
from vault_harness.local.dialect import OPENBAO, VAULT, Dialect
from vault_harness.local.engine.shape import NodeSpec

AUDIT_LOG_NAME = "audit.log"
"""File name of a node's audit log. Relative on purpose: OpenBao stores the path and refuses to
start with another one. An absolute path would break a moved project, a restored backup, or a change
of engine."""

DATA_NAME = "data"
"""Folder of a node's raft data."""


QUICK_AUTOPILOT = {"autopilot_reconcile_interval": "500ms", "autopilot_update_interval": "500ms"}
"""By default autopilot looks at a new node, and counts it for the quorum, only after 10 s."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Addresses and files of a node, as its server sees them.

    Attributes:
        api: ``host:port`` to listen on; `cluster` likewise, for other nodes.
        address: Base URL that clients are sent to; empty if VAULT_API_ADDR gives it.
        cluster_address: ``host:port`` at which other nodes reach this node.
        certificate: The chain; empty without TLS.
        ca: For checking other nodes' certificates.
        clients: For checking client certificates; empty if none are required.
        own: Certificate and key for joining another node; empty likewise.
    """

    api: str
    cluster: str
    address: str
    cluster_address: str
    data: str
    certificate: str = ""
    key: str = ""
    ca: str = ""
    clients: str = ""
    own: str = ""
    join: tuple[str, ...] = ()


def server_configuration(spec: NodeSpec, dialect: Dialect, place: Place) -> dict[str, object]:
    """Return a server's configuration.

    ``spec.extra`` is merged last: its stanzas replace ours, and its values of ``listener tcp`` are
    added to ours.
    """
    configuration: dict[str, object] = {
        "storage": {spec.storage: _storage(spec, place)},
        "listener": {"tcp": _listener(place)},
        # Between nodes, Vault always uses its own TLS.
        "cluster_addr": f"https://{place.cluster_address}",
        "telemetry": {"prometheus_retention_time": "24h", "disable_hostname": True},
        "ui": False,
        **dialect.base_configuration(),
    }
    if place.address:
        configuration["api_addr"] = place.address
    if spec.audit:
        configuration |= dialect.audit_configuration(AUDIT_LOG_NAME, raw=spec.audit_raw)
    return _laid_over(configuration, spec.extra)


def as_text(configuration: Mapping[str, object]) -> str:
    return json.dumps(configuration, indent=2) + "\n"


def _listener(place: Place) -> dict[str, object]:
    listener: dict[str, object] = {
        "address": place.api,
        "cluster_address": place.cluster,
        # No token needed: metrics contain names of mounts and policies, but no secrets.
        "telemetry": {"unauthenticated_metrics_access": True},
    }
    if not place.certificate:
        return listener | {"tls_disable": True}
    listener |= {"tls_cert_file": place.certificate, "tls_key_file": place.key}
    if place.clients:
        listener |= {
            "tls_require_and_verify_client_cert": True,
            "tls_client_ca_file": place.clients,
        }
    return listener


def _storage(spec: NodeSpec, place: Place) -> dict[str, object]:
    if spec.storage == "inmem":
        return {}
    raft: dict[str, object] = {
        "path": place.data,
        "node_id": spec.name,
        # The default of 5, for slow networks, slows elections and initialisation: 8.8 s instead of
        # 1 s.
        "performance_multiplier": 1,
    }
    if place.join:
        raft["retry_join"] = [_leader(address, place) for address in place.join]
    return raft


def _leader(address: str, place: Place) -> dict[str, object]:
    leader: dict[str, object] = {"leader_api_addr": address}
    if place.ca:
        leader["leader_ca_cert_file"] = place.ca
    if place.own:
        leader |= {"leader_client_cert_file": place.own, "leader_client_key_file": place.own}
    return leader


def _laid_over(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """Merge: stanzas replace stanzas, blocks of the same kind are extended."""
    merged = {**below, **above}
    for name in below.keys() & above.keys():
        ours, theirs = below[name], above[name]
        if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
            continue
        if ours.keys() == theirs.keys():
            merged[name] = {kind: _extended(ours[kind], theirs[kind]) for kind in ours}
    return merged


def _extended(ours: object, theirs: object) -> object:
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        return {**ours, **theirs}
    return theirs


_NAME = "product"


def check_product(directory: Path, dialect: Dialect, *, looked_at: str) -> None:
    """Note which product runs on a node's directory, and refuse the other one later.

    The other one would reject the keys and may damage the data.
    """
    note = directory / _NAME
    written = files.tail(note).strip()
    if not any((directory / DATA_NAME).glob("*")):
        files.write_private(note, f"{dialect.product}\n")
        return
    if written in {"", dialect.product}:
        return
    other = OPENBAO if written == OPENBAO.product else VAULT
    raise StackError(
        f"the data of this stack was written by {other.title}, and {dialect.title} would run on it",
        looked_at=f"{note}, {looked_at}",
        remedy=f"choose {other.title} again (HARNESS_VAULT_BINARY for processes, VAULT_IMAGE for "
        "containers), or another folder with HARNESS_DATA_DIR",
    )


def check_storage(storage: str, dialect: Dialect, *, looked_at: str) -> None:
    if storage not in dialect.storages:
        raise EngineError(
            f"{dialect.title} has no storage {storage}",
            looked_at=looked_at,
            remedy=f"choose one of {', '.join(sorted(dialect.storages))}",
        )


def check_seal_of_product(kind: str, dialect: Dialect | None, *, looked_at: str) -> None:
    """Refuse a seal that the product lacks. Only the server knows the seals of a cloud."""
    if kind != "static" or dialect is None or dialect.static_seal:
        return
    raise CapabilityMissing(
        f"{dialect.title} has no seal static: it is {OPENBAO.title}'s alone",
        looked_at=looked_at,
        remedy=f"take the seal transit, which both have ({named('up', '--seal', 'transit')}, "
        f"{named('seal.migrate', 'transit')}); or for a new stack {OPENBAO.title} "
        "(HARNESS_VAULT_BINARY for processes, VAULT_IMAGE for containers)",
    )
