"""The nodes of a local cluster: joined, looked at, and led by another one when that is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vault_harness.addresses import base_url
from vault_harness.engine import Endpoints, NodeEndpoint
from vault_harness.errors import HarnessError
from vault_harness.vault import Keyring, Operator, cluster

Role = Literal["leader", "standby", "sealed", "not a member", "not answering", "down"]
_LOOK_SECONDS = 2.0
_VOTER_SECONDS = 60.0
_JOIN_SECONDS = 30.0
"""For a new node to become a member, while the leader has more to do than it can."""

_ROLES: dict[int, Role] = {
    200: "leader",
    429: "standby",
    501: "not a member",
    503: "sealed",
    0: "not answering",
}


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """One node of a cluster.

    Attributes:
        name: Its name.
        address: Its base URL.
        role: What it is now; ``down`` if its process does not run.
        voter: Whether it counts for the quorum; None if nobody can tell.
        lag: By how many entries of the raft log it is behind the leader; None if nobody can tell.
        cut: Whether it was cut off from the other nodes by hand.
    """

    name: str
    address: str
    role: Role
    voter: bool | None = None
    lag: int | None = None
    cut: bool = False


def look(
    endpoints: Endpoints, keyring: Keyring | None, serving: set[str], leader: Operator | None
) -> tuple[NodeStatus, ...]:
    """What each node is. Changes nothing.

    Args:
        endpoints: Where they are.
        keyring: The cluster's, for its CA.
        serving: Names of those whose process runs and is not paused.
        leader: With a token that may look at the members; None if there is nobody to ask.
    """
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
    return tuple(_status(node, serving, health, voters, servers, ahead) for node in endpoints.nodes)


def _status(
    node: NodeEndpoint,
    serving: set[str],
    health: dict[str, int],
    voters: dict[str, bool],
    servers: dict[str, dict[str, Any]],
    ahead: int,
) -> NodeStatus:
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


def _autopilot(leader: Operator | None) -> dict[str, dict[str, Any]]:
    """What the leader knows of each member, by its name; empty if it cannot be asked."""
    if leader is None:
        return {}
    with contextlib.suppress(HarnessError):
        state = leader.request("GET", "sys/storage/raft/autopilot/state").get("data") or {}
        return dict(state.get("servers") or {})
    return {}


def _voters(leader: Operator | None) -> dict[str, bool]:
    """Which members count for the quorum; autopilot itself hears of a change a moment later."""
    if leader is None:
        return {}
    with contextlib.suppress(HarnessError):
        return {peer.node_id: peer.voter for peer in cluster.peers(leader)}
    return {}


def admit(
    nodes: Sequence[Operator], leader: Operator, keyring: Keyring, endpoints: Endpoints
) -> None:
    """Make members of nodes that are none yet.

    Args:
        nodes: An operator at each of them.
        leader: Of the others.
        keyring: The cluster's.
        endpoints: Where they are; nodes may reach each other by other addresses than this machine.

    Raises:
        OperatorError: One cannot become a member.
        DeadlineExceeded: The leader refused one for as long as was tried.
    """
    (upstream,) = [n.upstream for n in endpoints.nodes if n.address == leader.address]
    at = base_url(upstream, tls=endpoints.ca_cert is not None)
    for node in nodes:
        cluster.admit(node, leader, keyring, timeout=_JOIN_SECONDS, at=at)


def await_voters(leader: Operator, count: int) -> None:
    """Wait until so many nodes count for the quorum.

    Args:
        leader: With a token that may read the members, and should set how long a new one is looked
            at; where it may not, that takes the server's own 10 s longer.
        count: How many.

    Raises:
        DeadlineExceeded: They do not in time.
    """
    with contextlib.suppress(HarnessError):
        leader.request(
            "POST", "sys/storage/raft/autopilot/configuration", server_stabilization_time="1s"
        )
    cluster.wait_for_voters(leader, count, timeout=_VOTER_SECONDS)
