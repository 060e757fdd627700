"""The one writer of server configuration, in the JSON form that both products read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from vault_harness.dialect import Dialect
from vault_harness.engine._shape import NodeSpec

AUDIT_LOG_NAME = "audit.log"
"""A node's audit log, by its name in the directory that the server runs in.

Not the whole path: OpenBao keeps it in its storage and refuses to go on with another one, so that a
project that was moved, a backup that is restored elsewhere, or a Vault that another engine runs
from now on could never be opened again.
"""

DATA_NAME = "data"
"""A node's raft data, by its name in the same directory."""


QUICK_AUTOPILOT = {"autopilot_reconcile_interval": "500ms", "autopilot_update_interval": "500ms"}
"""Of raft storage, for a cluster. By default a new node is looked at every 10 s, and counts for the
quorum after as long."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an engine puts a node, everything as the server itself names it.

    Attributes:
        api: ``host:port`` that the API listens on.
        cluster: ``host:port`` that the listener for other nodes listens on.
        address: Base URL that clients are sent to; empty where VAULT_API_ADDR says it.
        cluster_address: ``host:port`` by which other nodes reach it.
        data: Folder of the raft data.
        certificate: File of the certificate chain, empty without TLS.
        key: File of its private key.
        ca: File of the CA certificate that other nodes' certificates are checked with.
        clients: File of the CA certificates that clients' certificates are checked with; empty
            where clients are asked for none.
        own: File of certificate and key that it shows to a node that it joins, empty likewise.
        join: API addresses of nodes to join, as this server reaches them.
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
    """What the server of a node is started with.

    ``spec.extra`` is laid over it: its stanzas replace ours, and one more value of ``listener tcp``
    is added to the others.
    """
    configuration: dict[str, object] = {
        "storage": {spec.storage: _storage(spec, place)},
        "listener": {"tcp": _listener(place)},
        # Nodes speak TLS of their own making with each other, whatever the API speaks.
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
    """The content of the file."""
    return json.dumps(configuration, indent=2) + "\n"


def _listener(place: Place) -> dict[str, object]:
    listener: dict[str, object] = {
        "address": place.api,
        "cluster_address": place.cluster,
        # Metrics name mounts and policies but hold no secret; a monitor needs no token for them.
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
        # The default of 5 is for slow networks; on one machine it only makes elections and init
        # slow (8.8 s in place of 1).
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
    """Stanzas replace stanzas; a block of the same kind (``listener tcp``) is extended."""
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
