"""Operate a cluster: several nodes, one keyring, one leader. One node is a cluster too."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from vault_harness.certificates import first_in_file, shown_beside
from vault_harness.errors import DeadlineExceeded, OperatorError, named, without_frames
from vault_harness.local.vault.admin import (
    ACTIVE,
    SEALED,
    SERVING,
    VaultAdmin,
    health_in_words,
    knew_no_leader,
)
from vault_harness.local.vault.keyring import Keyring
from vault_harness.waiting import Awaited, in_words

_POLL_SECONDS = 0.02
_LOOK_SECONDS = 2.0
"""So short that a paused node delays nobody for long."""

_BY_ITSELF_SECONDS = 20.0

_TURN_SECONDS = 1.0
"""Short, because the other nodes wait for their keys."""

_TRIES_SECONDS = 6.5
"""A server with auto-unseal tries to unseal itself every five seconds."""

_JOINING = ("sys/storage/raft/join", "sys/storage/raft/bootstrap/")
"""Paths in the message of a refused join, of either node."""

_AGAIN_SECONDS = 5.0
"""Seconds between two attempts to give keys to a node that stays sealed.

A node that has just joined may not have the data yet that its keys open. It gives up ("failed to
read master key") until it gets the keys again.
"""

_ELECTION_SECONDS = 3.0


@dataclass(frozen=True)
class Peer:
    """A member of a raft cluster, as its leader knows it.

    `address` is ``host:port`` for the other nodes. A new node is a `voter` after about 20 s.
    """

    node_id: str
    address: str
    voter: bool
    leader: bool


@contextlib.contextmanager
def operators(
    addresses: Sequence[str],
    keyring: Keyring | None = None,
    *,
    token: str | None = None,
    ca_cert: Path | None = None,
    timeout: float = 10.0,
) -> Iterator[tuple[VaultAdmin, ...]]:
    """Open an operator at each node for the length of the block."""
    if ca_cert is None and keyring is not None:
        ca_cert = keyring.ca_cert
    with contextlib.ExitStack() as stack:
        yield tuple(
            stack.enter_context(contextlib.closing(VaultAdmin(address, token, ca_cert, timeout)))
            for address in addresses
        )


def health_of_all(nodes: Sequence[VaultAdmin]) -> list[int]:
    """Return each node's status of ``sys/health``; 0 without an answer."""
    if not nodes:
        return []
    if len(nodes) == 1:
        return [nodes[0].health(timeout=_LOOK_SECONDS)]
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        return list(pool.map(lambda node: node.health(timeout=_LOOK_SECONDS), nodes))


def find_leader(nodes: Sequence[VaultAdmin]) -> VaultAdmin | None:
    return _active(dict(zip(nodes, health_of_all(nodes), strict=True)))


def wait_for_active(nodes: Sequence[VaultAdmin], *, timeout: float) -> VaultAdmin:
    """Wait until one node is active. Silent nodes are ignored."""
    return _await_leader(nodes, "one of the nodes to be active", timeout, lambda _: True)


def _await_leader(
    nodes: Sequence[VaultAdmin],
    what: str,
    timeout: float,
    settled: Callable[[Mapping[VaultAdmin, int]], bool],
    refused: Mapping[str, str] | None = None,
) -> VaultAdmin:
    """Wait until `settled`, which gets each node's health, and one node is active."""
    began = time.monotonic()
    awaited = Awaited(what, timeout)
    while True:
        health = dict(zip(nodes, health_of_all(nodes), strict=True))
        done, leader = settled(health), _active(health)
        if done and leader is not None:
            return leader
        awaited.still(partial(_states, health, refused))
        if time.monotonic() >= began + timeout:
            raise DeadlineExceeded(
                f"waited {in_words(timeout)} for {what}",
                looked_at=f"sys/health: {_states(health, refused)}",
                remedy=f"look at the servers' logs: {named('logs')}",
            )
        # Bounded by the deadline. An election takes seconds, and a look costs CPU.
        pause = (time.monotonic() - began) / 20
        time.sleep(min(_POLL_SECONDS * 5, max(_POLL_SECONDS, pause)))


def unseal_all(
    nodes: Sequence[VaultAdmin],
    keyring: Keyring,
    *,
    timeout: float,
    given: Collection[VaultAdmin] = (),
    check: Callable[[], object] = lambda: None,
) -> VaultAdmin:
    """Unseal every sealed node, wait until all serve, and return the active one.

    `given` got their keys a moment ago. An error is raised after the other nodes got their keys.
    """
    deadline = time.monotonic() + timeout
    # All before any wait: a leader needs a quorum of unsealed nodes.
    if keyring.kind == "recovery" and len(nodes) > 1:
        _give_patiently(nodes, lambda node: node.give_keys(keyring))
        return wait_for_all(nodes, timeout=deadline - time.monotonic(), check=check)
    outside = give_keys_to_all([node for node in nodes if node not in given], keyring)
    for refusal in outside.values():
        raise refusal
    return wait_for_all(nodes, timeout=deadline - time.monotonic(), keyring=keyring, check=check)


def give_keys_to_all(
    nodes: Sequence[VaultAdmin], keyring: Keyring
) -> dict[VaultAdmin, OperatorError]:
    """Give keys to every sealed node, without waiting for the result.

    Return the nodes that are no members yet, which must join again. An error is raised after the
    other nodes got their keys.
    """
    outside: dict[VaultAdmin, OperatorError] = {}
    refused: list[OperatorError] = []
    for node in nodes:
        try:
            node.give_keys(keyring)
        except OperatorError as error:
            if _is_refused_for_now(error):
                outside[node] = error
            else:
                refused.append(error)
    if refused:
        raise refused[0]
    return outside


def wait_for_all(
    nodes: Sequence[VaultAdmin],
    *,
    timeout: float,
    keyring: Keyring | None = None,
    check: Callable[[], object] = lambda: None,
) -> VaultAdmin:
    """Wait until one node is active and all others are standbys.

    Args:
        keyring: Gives its keys again to a node that stays sealed.
        check: Called every second if no node leads. Raises if waiting does not help.
    """
    check_at = time.monotonic() + _ELECTION_SECONDS
    again = time.monotonic() + _AGAIN_SECONDS
    refused: dict[str, str] = {}

    def settled(health: Mapping[VaultAdmin, int]) -> bool:
        nonlocal check_at, again
        leader = _active(health)
        if leader is not None and SERVING.issuperset(health.values()):
            return True
        if leader is None and time.monotonic() >= check_at:
            check()
            check_at = time.monotonic() + 1.0
        if keyring is not None and time.monotonic() >= again:
            for node, status in health.items():
                if status == SEALED:
                    try:
                        node.give_keys(keyring)
                    except OperatorError as error:  # it may not have its data yet
                        refused[node.address] = error.cause
            again = time.monotonic() + _AGAIN_SECONDS
        return False

    return _await_leader(nodes, "all nodes to serve", timeout, settled, refused)


def migrate_seal(nodes: Sequence[VaultAdmin], keyring: Keyring, *, timeout: float) -> VaultAdmin:
    """Migrate all nodes to the seal of their configuration, and wait until all serve with it.

    They were started with that seal, and with the old one disabled. The leader changes the data,
    and the others get it from there.
    """
    deadline = time.monotonic() + timeout
    _give_patiently(
        nodes, lambda node: node.give_keys_between_seals(keyring, patience=_TURN_SECONDS)
    )

    def settled(health: Mapping[VaultAdmin, int]) -> bool:
        for node, status in health.items():
            if not status:
                node.see_that_it_answers()  # raises at once for a dead node, instead of a wait
        return (
            _active(health) is not None
            and SERVING.issuperset(health.values())
            # A follower without the change could not start with the new seal alone.
            and not any(node.seal_status_between_seals().migrating for node in nodes)
        )

    left = max(deadline - time.monotonic(), 0.0)
    return _await_leader(nodes, "all nodes to serve under their new seal", left, settled)


def _give_patiently(nodes: Sequence[VaultAdmin], give: Callable[[VaultAdmin], None]) -> None:
    """Give keys to nodes that may be about to unseal themselves.

    A node that has just started or joined tries so every five seconds, and takes no recovery keys
    meanwhile. It looks the same as a node that was sealed by hand, which waits for keys. Each round
    asks every node, since one may open only after the others.
    """
    deadline = time.monotonic() + _BY_ITSELF_SECONDS
    left = list(nodes)
    awaited = Awaited("nodes to unseal themselves, or to take their keys", _BY_ITSELF_SECONDS)
    while True:
        refused: dict[VaultAdmin, OperatorError] = {}
        for node in left:
            try:
                give(node)
            except OperatorError as error:
                node.see_that_it_answers()
                refused[node] = error
        if not refused:
            return
        awaited.still(partial(_causes, refused.values()))
        if time.monotonic() >= deadline:
            raise next(iter(refused.values()))
        left = list(refused)
        time.sleep(_POLL_SECONDS * 5)  # bounded by the deadline


def seal_all(nodes: Sequence[VaultAdmin]) -> None:
    """Seal every unsealed node, standbys first."""
    leader = find_leader(nodes)
    for node in sorted(nodes, key=lambda node: node is leader):
        if not node.seal_status().sealed:
            node.seal()


def wait_until_no_unseal_attempts(leader: VaultAdmin) -> None:
    """Wait until no node tries to unseal itself any more, which would undo a seal.

    A server with auto-unseal that starts without keys tries every five seconds until it finds
    itself unsealed.
    """
    deadline = time.monotonic() + _TRIES_SECONDS
    while _unsealed_for(leader) < _TRIES_SECONDS and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS * 5)  # bounded by the deadline


def _unsealed_for(leader: VaultAdmin) -> float:
    data = leader.request("GET", "sys/storage/raft/autopilot/state").get("data") or {}
    servers = list((data.get("servers") or {}).values())
    if not servers or not all(server.get("healthy") for server in servers):
        return 0.0
    now = datetime.now(UTC)
    return min(
        (now - datetime.fromisoformat(str(server["stable_since"]))).total_seconds()
        for server in servers
    )


@without_frames  # the request holds a key
def join(node: VaultAdmin, leader: VaultAdmin, *, at: str | None = None) -> None:
    """Make a new, uninitialised node a member. It needs the cluster's keys next.

    `at` is the leader's base URL for the node, if not the operator's.
    """
    body: dict[str, object] = {"leader_api_addr": at or leader.address, "retry": False}
    if leader.ca_cert is not None:
        body["leader_ca_cert"] = leader.ca_cert.read_text()
    if (own := shown_beside(leader.ca_cert)) is not None:
        body["leader_client_cert"], body["leader_client_key"] = first_in_file(own), own.read_text()
    answer = node.request("POST", "sys/storage/raft/join", **body)
    if not answer.get("joined"):
        raise OperatorError(
            f"{node.address} did not join the cluster of {leader.address}",
            looked_at=f"{node.address}/v1/sys/storage/raft/join",
            remedy=f"look at both servers' logs: {named('logs')}",
        )


@without_frames  # the requests hold keys
def admit(
    node: VaultAdmin,
    leader: VaultAdmin,
    keyring: Keyring,
    *,
    timeout: float,
    at: str | None = None,
) -> None:
    """Join a node, and give it the keys that prove to the leader that it may join.

    A leader that is busy or about to lose its lead refuses with 5xx. That uses up the challenge, so
    the whole join starts over. Recovery keys prove nothing.
    """
    deadline = time.monotonic() + timeout
    awaited = Awaited(f"{node.address} to become a member of the cluster", timeout)
    while True:
        try:
            join(node, leader, at=at)
            if keyring.kind == "shamir":
                node.give_keys(keyring)
        except OperatorError as error:
            if not _is_refused_for_now(error):
                raise
            awaited.still(partial(_causes, [error]))
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"waited {in_words(timeout)} for {node.address} to become a member of the "
                    "cluster",
                    looked_at=f"{leader.address}, which leads; {error.cause}",
                    remedy=f"look at both servers' logs ({named('logs')}), then {named('unseal')} "
                    "tries again",
                ) from None
        else:
            return
        time.sleep(_POLL_SECONDS * 10)  # bounded by the deadline


def _is_refused_for_now(error: OperatorError) -> bool:
    return error.passing and any(path in error.cause for path in _JOINING)


def peers(leader: VaultAdmin) -> list[Peer]:
    data = leader.request("GET", "sys/storage/raft/configuration").get("data", {})
    return [
        Peer(
            node_id=str(server["node_id"]),
            address=str(server["address"]),
            voter=bool(server["voter"]),
            leader=bool(server["leader"]),
        )
        for server in (data.get("config") or {}).get("servers") or []
    ]


def step_down(leader: VaultAdmin) -> None:
    """Make the leader a standby."""
    leader.request("POST", "sys/step-down")


def remove(leader: VaultAdmin, node_id: str) -> None:
    """Remove a node from the members. It need not run."""
    leader.request("POST", "sys/storage/raft/remove-peer", server_id=node_id)


def wait_for_voters(leader: VaultAdmin, count: int, *, timeout: float) -> list[Peer]:
    """Wait until enough members vote, about 20 s. Before that, a lost leader stops the cluster."""
    deadline = time.monotonic() + timeout
    awaited = Awaited(f"{count} nodes to count for the quorum", timeout)
    while True:
        found: list[Peer] = []
        states = ""
        try:
            found = peers(leader)
        except OperatorError as error:
            if not knew_no_leader(error):
                raise
            states = error.cause  # it lost its lead, and the next leader knows them
        if sum(peer.voter for peer in found) >= count:
            return found
        states = states or ", ".join(
            f"{peer.node_id} is {'a voter' if peer.voter else 'not a voter yet'}" for peer in found
        )
        awaited.still(partial(str, states))
        if time.monotonic() >= deadline:
            raise DeadlineExceeded(
                f"waited {in_words(timeout)} for {count} voters",
                looked_at=f"{leader.address}/v1/sys/storage/raft/configuration: {states}",
                remedy=f"look at the servers' logs: {named('logs')}",
            )
        time.sleep(_POLL_SECONDS * 5)  # bounded by the deadline


def _active(health: Mapping[VaultAdmin, int]) -> VaultAdmin | None:
    return next((node for node, status in health.items() if status == ACTIVE), None)


def _states(health: Mapping[VaultAdmin, int], refused: Mapping[str, str] | None = None) -> str:
    why = refused or {}
    return "; ".join(
        f"{node.address} {health_in_words(status)}"
        + (f" ({why[node.address]})" if status == SEALED and node.address in why else "")
        for node, status in health.items()
    )


def _causes(errors: Iterable[OperatorError]) -> str:
    return "; ".join(error.cause for error in errors)
