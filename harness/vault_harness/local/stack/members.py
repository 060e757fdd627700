"""The nodes of a local cluster: look at them, let them join."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vault_harness.addresses import base_url
from vault_harness.errors import HarnessError, StackError, named
from vault_harness.local.engine.provider import Endpoints, NodeEndpoint, StackProvider
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import ACTIVE, NEW, SEALED, STANDBY, VaultAdmin
from vault_harness.local.vault.keyring import Keyring

Role = Literal["leader", "standby", "sealed", "not a member", "not answering", "down"]
_LOOK_SECONDS = 2.0
_VOTER_SECONDS = 60.0
_JOIN_SECONDS = 30.0
"""Enough for a new node even if the leader is overloaded."""

_ROLES: dict[int, Role] = {
    ACTIVE: "leader",
    STANDBY: "standby",
    NEW: "not a member",
    SEALED: "sealed",
    0: "not answering",
}


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """One node of a cluster.

    Attributes:
        voter: None if unknown.
        lag: Raft log entries behind the leader; None if unknown.
        cut: Whether the user cut it off.
    """

    name: str
    address: str
    role: Role
    voter: bool | None = None
    lag: int | None = None
    cut: bool = False


def health_of(endpoints: Endpoints) -> list[int]:
    """Return each node's status of ``sys/health``; 0 without an answer."""
    with cluster.operators(endpoints.addresses, ca_cert=endpoints.ca_cert) as nodes:
        return cluster.health_of_all(nodes)


def look(
    endpoints: Endpoints, keyring: Keyring | None, serving: set[str], leader: VaultAdmin | None
) -> tuple[NodeStatus, ...]:
    """Return the status of each node. `serving` are the names of those that run unpaused."""
    with cluster.operators(
        endpoints.addresses, keyring, ca_cert=endpoints.ca_cert, timeout=_LOOK_SECONDS
    ) as nodes:
        asked = [
            node
            for node, endpoint in zip(nodes, endpoints.nodes, strict=True)
            if endpoint.name in serving
        ]
        health = dict(
            zip((node.address for node in asked), cluster.health_of_all(asked), strict=True)
        )
    servers, voters = _autopilot(leader), _voters(leader)
    ahead = max((int(each.get("last_index") or 0) for each in servers.values()), default=0)

    def status(node: NodeEndpoint) -> NodeStatus:
        running = node.name in serving
        role: Role = _ROLES.get(health.get(node.address, 0), "not answering") if running else "down"
        known = servers.get(node.name)
        following = known is not None and role in {"leader", "standby"}
        return NodeStatus(
            name=node.name,
            address=node.address,
            role=role,
            voter=voters.get(node.name),
            lag=ahead - int(known["last_index"]) if known and following else None,
        )

    return tuple(status(node) for node in endpoints.nodes)


def _autopilot(leader: VaultAdmin | None) -> dict[str, dict[str, Any]]:
    if leader is None:
        return {}
    with contextlib.suppress(HarnessError):
        state = leader.request("GET", "sys/storage/raft/autopilot/state").get("data") or {}
        return dict(state.get("servers") or {})
    return {}


def _voters(leader: VaultAdmin | None) -> dict[str, bool]:
    """Return who votes. Autopilot learns it a moment later."""
    if leader is None:
        return {}
    with contextlib.suppress(HarnessError):
        return {peer.node_id: peer.voter for peer in cluster.peers(leader)}
    return {}


def admit(
    nodes: Sequence[VaultAdmin], leader: VaultAdmin, keyring: Keyring, endpoints: Endpoints
) -> None:
    """Let nodes join. `endpoints` have the leader's address among nodes, maybe not that here."""
    (upstream,) = [n.upstream for n in endpoints.nodes if n.address == leader.address]
    at = base_url(upstream, tls=endpoints.ca_cert is not None)
    for node in nodes:
        cluster.admit(node, leader, keyring, timeout=_JOIN_SECONDS, at=at)


def await_voters(leader: VaultAdmin, count: int) -> None:
    """Wait until `count` nodes vote.

    An operator that may not set how long the leader watches a new node waits 10 s longer, the
    server's default.
    """
    with contextlib.suppress(HarnessError):
        leader.request(
            "POST", "sys/storage/raft/autopilot/configuration", server_stabilization_time="1s"
        )
    cluster.wait_for_voters(leader, count, timeout=_VOTER_SECONDS)


def refuse_cut(provider: StackProvider, what: str) -> None:
    if cut := provider.cut_nodes():
        raise StackError(
            f"{', '.join(cut)} is cut off from the other nodes, and every node has to take part in "
            f"{what}; nothing was changed",
            looked_at=f"the ways between the nodes, by the {provider.name} engine",
            remedy=f"{named('node.join', cut[0])} or {named('heal')}, then repeat this",
        )


def rejoin_all(provider: StackProvider) -> list[str]:
    cut = provider.cut_nodes()
    return [f"joined {name} to the other nodes again" for name in cut if provider.join_node(name)]
