"""A cluster as its operator sees it: several nodes, one keyring, one leader. One node is one too.

The functions take an `Operator` for each node. Waiting ends with a condition, never with a while,
and each wait says what every node was when it gave up.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from vault_harness.boundary import without_frames
from vault_harness.certificates import first_in_file, shown_beside
from vault_harness.commands import named
from vault_harness.errors import DeadlineExceeded, OperatorError
from vault_harness.vault.keyring import Keyring
from vault_harness.vault.operator import Operator, health_in_words, knew_no_leader
from vault_harness.waiting import Awaited

_POLL_SECONDS = 0.02
_LOOK_SECONDS = 2.0
"""For one node to say how it is: a paused one holds nobody up for longer."""

_BY_ITSELF_SECONDS = 20.0
"""For a node to unseal itself, or to take recovery keys."""

_TURN_SECONDS = 1.0
"""For one node to say which seal it has, while the others wait for their keys."""

_TRIES_SECONDS = 6.5
"""In which a server that still tries to unseal itself has done so: it does every five seconds."""

_JOINING = ("sys/storage/raft/join", "sys/storage/raft/bootstrap/")
"""In what is told of a join that was refused: what the node was asked, or what it asked itself."""

_AGAIN_SECONDS = 5.0
"""From one time that keys are given to a node that stays sealed to the next.

One that has just joined gets its data bit by bit. It may find the keyring there, and not yet what
its keys open: it gives up for good then ("failed to read master key"), until it has them anew.
"""

_ACTIVE, _SEALED, _SERVING = 200, 503, frozenset({200, 429})


@dataclass(frozen=True)
class Peer:
    """A member of a raft cluster, as its leader knows it.

    Attributes:
        node_id: Its name.
        address: ``host:port`` for the other nodes.
        voter: Whether it counts for the quorum. A new node does so after about 20 s.
        leader: Whether it leads.
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
) -> Iterator[tuple[Operator, ...]]:
    """An operator at each node, closed at the end of the block.

    Args:
        addresses: Base URLs of the nodes.
        keyring: The cluster's: its CA is trusted.
        ca_cert: Whom to trust instead.
        token: What to act with; None for what needs no token (unseal, seal status, leader).
        timeout: Seconds for each request.
    """
    if ca_cert is None and keyring is not None:
        ca_cert = keyring.ca_cert
    with contextlib.ExitStack() as stack:
        yield tuple(
            stack.enter_context(contextlib.closing(Operator(address, token, ca_cert, timeout)))
            for address in addresses
        )


def health_of_all(nodes: Sequence[Operator]) -> list[int]:
    """Each node's status of ``sys/health``, asked all at once; 0 for one that does not answer."""
    if not nodes:
        return []
    if len(nodes) == 1:
        return [nodes[0].health(timeout=_LOOK_SECONDS)]
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        return list(pool.map(lambda node: node.health(timeout=_LOOK_SECONDS), nodes))


def find_leader(nodes: Sequence[Operator]) -> Operator | None:
    """The node that serves as the active one, or None while there is none."""
    return _active(nodes, health_of_all(nodes))


def wait_for_active(nodes: Sequence[Operator], *, timeout: float) -> Operator:
    """Wait until one of the nodes is active, and return it.

    Args:
        nodes: An operator at each node; those that do not answer do not matter.
        timeout: Seconds.

    Raises:
        DeadlineExceeded: None is within ``timeout`` seconds; each node's state is named.
    """
    began = time.monotonic()
    deadline = began + timeout
    awaited = Awaited("one of the nodes to be active", timeout)
    while True:
        health = health_of_all(nodes)
        leader = _active(nodes, health)
        if leader is not None:
            return leader
        awaited.still(partial(_states, nodes, health))
        if time.monotonic() >= deadline:
            raise _never("one of the nodes to be active", timeout, nodes, health)
        _look_away(began)  # between two looks at the condition, bounded by the deadline


def _look_away(since: float) -> None:
    """Wait from one look at all nodes to the next: an election takes seconds, each look a core."""
    time.sleep(min(_POLL_SECONDS * 5, max(_POLL_SECONDS, (time.monotonic() - since) / 20)))


def unseal_all(
    nodes: Sequence[Operator],
    keyring: Keyring,
    *,
    timeout: float,
    given: Collection[Operator] = (),
) -> Operator:
    """Unseal every node that is sealed, and wait until all serve; returns the active one.

    Args:
        nodes: An operator at each node.
        keyring: The cluster's.
        timeout: Seconds for all of it.
        given: Those that have had their keys a moment ago, and may not have come to use them.

    Raises:
        KeyringMissing: The keyring holds fewer keys than are needed.
        OperatorError: A node does not answer, or does not take the keys; the others have had
            theirs.
        DeadlineExceeded: Not all serve within ``timeout`` seconds; each node's state is named.
    """
    deadline = time.monotonic() + timeout
    # All of them before any wait: a leader needs a quorum of unsealed nodes.
    if keyring.kind == "recovery" and len(nodes) > 1:
        _give_patiently(nodes, lambda node: node.give_keys(keyring))
        return wait_for_all(nodes, timeout=deadline - time.monotonic())
    outside = give_keys_to_all([node for node in nodes if node not in given], keyring)
    for refusal in outside.values():
        raise refusal
    return wait_for_all(nodes, timeout=deadline - time.monotonic(), keyring=keyring)


def give_keys_to_all(nodes: Sequence[Operator], keyring: Keyring) -> dict[Operator, OperatorError]:
    """Give keys to every node that is sealed, without waiting for what follows.

    What is amiss with one keeps none of the others closed.

    Args:
        nodes: An operator at each node.
        keyring: The cluster's.

    Returns:
        Those that are no members yet, and what they said: the leader refused them when they
        answered, with the keys, what it had asked. They have to join anew.

    Raises:
        KeyringMissing: The keyring holds fewer keys than are needed.
        OperatorError: A node does not answer, or does not take the keys; the others have had
            theirs.
    """
    outside: dict[Operator, OperatorError] = {}
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
    nodes: Sequence[Operator], *, timeout: float, keyring: Keyring | None = None
) -> Operator:
    """Wait until one node is active and every other one a standby; returns the active one.

    Args:
        nodes: An operator at each node.
        timeout: Seconds.
        keyring: Whose keys a node that stays sealed is given now and then, though it has had them.

    Raises:
        DeadlineExceeded: Not all serve within ``timeout`` seconds; each node's state is named.
    """
    began = time.monotonic()
    deadline, again = began + timeout, began + _AGAIN_SECONDS
    refused: dict[str, str] = {}
    awaited = Awaited("all nodes to serve", timeout)
    while True:
        health = health_of_all(nodes)
        leader = _active(nodes, health)
        if leader is not None and _SERVING.issuperset(health):
            return leader
        awaited.still(partial(_states, nodes, health, refused))
        if keyring is not None and time.monotonic() >= again:
            for node, status in zip(nodes, health, strict=True):
                if status == _SEALED:
                    try:
                        node.give_keys(keyring)
                    except OperatorError as error:  # it may not have got its data yet
                        refused[node.address] = error.cause
            again = time.monotonic() + _AGAIN_SECONDS
        if time.monotonic() >= deadline:
            raise _never("all nodes to serve", timeout, nodes, health, refused)
        _look_away(began)  # between two looks at the condition, bounded by the deadline


def migrate_seal(nodes: Sequence[Operator], keyring: Keyring, *, timeout: float) -> Operator:
    """Let all nodes go over to the seal of their configuration, and wait until all serve with it.

    They were started with that seal, and with the old one marked as disabled. Whichever leads first
    changes what all of them have; the others get it with the rest of the data.

    Args:
        nodes: An operator at each node; all of them run.
        keyring: Their keys, which stay the same; see `Operator.migrate_seal`.
        timeout: Seconds for all of it.

    Raises:
        OperatorError: A node ended, does not take the keys, or cannot use one of the two seals.
        DeadlineExceeded: Not all serve under the new seal within ``timeout`` seconds.
    """
    began = time.monotonic()
    deadline = began + timeout
    _give_patiently(
        nodes, lambda node: node.give_keys_between_seals(keyring, patience=_TURN_SECONDS)
    )
    awaited = Awaited("all nodes to serve under their new seal", timeout)
    while True:
        health = health_of_all(nodes)
        awaited.still(partial(_states, nodes, health))
        for node, status in zip(nodes, health, strict=True):
            if not status:
                node.see_that_it_answers()  # one that died says so at once, and is not waited for
        leader = _active(nodes, health)
        if (
            leader is not None
            and _SERVING.issuperset(health)
            # A follower that has not got the change yet could not be started with the new alone.
            and not any(node.seal_status_between_seals().migrating for node in nodes)
        ):
            return leader
        if time.monotonic() >= deadline:
            raise _never("all nodes to serve under their new seal", timeout, nodes, health)
        _look_away(began)  # between two looks at the condition, bounded by the deadline


def _give_patiently(nodes: Sequence[Operator], give: Callable[[Operator], None]) -> None:
    """Give keys to nodes that may be about to unseal themselves.

    A node that was started a moment ago tries that every five seconds, and so does one that has
    just joined; it takes no recovery keys meanwhile. Nobody can tell it from one that was sealed by
    hand, which waits for keys. All have their turn: what opens one may be that the others are open.

    Raises:
        OperatorError: A node does not answer, or is opened neither way.
    """
    deadline = time.monotonic() + _BY_ITSELF_SECONDS
    left = list(nodes)
    awaited = Awaited("nodes to unseal themselves, or to take their keys", _BY_ITSELF_SECONDS)
    while True:
        refused: dict[Operator, OperatorError] = {}
        for node in left:
            try:
                give(node)
            except OperatorError as error:
                node.see_that_it_answers()
                refused[node] = error
        if not refused:
            return
        awaited.still(partial(_causes, list(refused.values())))
        if time.monotonic() >= deadline:
            raise next(iter(refused.values()))
        left = list(refused)
        time.sleep(_POLL_SECONDS * 5)  # between two tries, bounded by the deadline


def seal_all(nodes: Sequence[Operator]) -> None:
    """Seal every node that is not sealed; needs tokens that may. Standbys first.

    Raises:
        OperatorError: A node does not answer, or its token may not.
    """
    leader = find_leader(nodes)
    for node in sorted(nodes, key=lambda node: node is leader):
        if not node.seal_status().sealed:
            node.seal()


def wait_until_nobody_tries(leader: Operator) -> None:
    """Wait until no node tries to unseal itself any more, and a seal is not undone.

    A server with auto-unseal that is started before it has keys (a new one, or one that joins then)
    tries every five seconds, and ends that only when it finds itself unsealed. So it has ended on
    each node that has served for so long by what the leader knows, and on all after a wait of that
    length.

    Args:
        leader: Of a cluster with raft storage; with a token that may read autopilot's state.

    Raises:
        OperatorError: The leader does not say how its nodes are.
    """
    deadline = time.monotonic() + _TRIES_SECONDS
    while _unsealed_for(leader) < _TRIES_SECONDS and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS * 5)  # between two looks, bounded by the deadline


def _unsealed_for(leader: Operator) -> float:
    """For how many seconds every node of its cluster has served, at least."""
    data = leader.request("GET", "sys/storage/raft/autopilot/state").get("data") or {}
    servers = list((data.get("servers") or {}).values())
    if not servers or not all(server.get("healthy") for server in servers):
        return 0.0
    now = datetime.now(UTC)
    return min(
        (now - datetime.fromisoformat(str(server["stable_since"]))).total_seconds()
        for server in servers
    )


@without_frames  # what the leader asks for has a key
def join(node: Operator, leader: Operator, *, at: str | None = None) -> None:
    """Make a new, uninitialised node a member of the leader's raft cluster.

    It is sealed afterwards as the others were: give it the cluster's keys.

    Args:
        node: At the new node.
        leader: At the leader.
        at: Base URL by which the new node reaches the leader, if not by the operator's.

    Raises:
        OperatorError: It is initialised already, or cannot reach the leader.
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


@without_frames  # as above, and the keys
def admit(
    node: Operator,
    leader: Operator,
    keyring: Keyring,
    *,
    timeout: float,
    at: str | None = None,
) -> None:
    """`join`, and give it the keys by which it answers what the leader asks of it then.

    A leader that is busy, or is about to lose its lead, refuses with 5xx what it does a moment
    later. Its question is spent by that, so all of it is begun anew.

    Args:
        node: At the new node.
        leader: At the leader.
        keyring: The cluster's; recovery keys answer nothing, and are not given.
        timeout: Seconds in which it is tried again.
        at: As for `join`.

    Raises:
        OperatorError: It cannot become a member, or does not take the keys.
        DeadlineExceeded: It was refused for now, throughout.
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
                    f"waited {timeout:g} s for {node.address} to become a member of the cluster",
                    looked_at=f"{leader.address}, which leads; {error.cause}",
                    remedy=f"look at both servers' logs ({named('logs')}), then {named('unseal')}: "
                    "it tries again",
                ) from None
        else:
            return
        time.sleep(_POLL_SECONDS * 10)  # between two tries, bounded by the deadline


def _is_refused_for_now(error: OperatorError) -> bool:
    """Whether a node says that it has not become a member, and may when it tries again."""
    return error.passing and any(path in error.cause for path in _JOINING)


def peers(leader: Operator) -> list[Peer]:
    """The members of a raft cluster; needs a token that may read them.

    Raises:
        OperatorError: Its storage is not raft, or it may not be read.
    """
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


def step_down(leader: Operator) -> None:
    """Let the leader give its lead to another node; it stays a standby.

    Args:
        leader: At the leader itself, with a token that may.

    Raises:
        OperatorError: It does not answer, or the token may not.
    """
    leader.request("POST", "sys/step-down")


def remove(leader: Operator, node_id: str) -> None:
    """Let a node be no member any more; it need not run.

    Raises:
        OperatorError: There is no such member, or it may not be removed.
    """
    leader.request("POST", "sys/storage/raft/remove-peer", server_id=node_id)


def wait_for_voters(leader: Operator, count: int, *, timeout: float) -> list[Peer]:
    """Wait until so many members count for the quorum: before that a lost leader is the end.

    Args:
        leader: With a token that may read the members.
        count: How many voters.
        timeout: Seconds; a new node takes about 20.

    Raises:
        DeadlineExceeded: There are fewer within ``timeout`` seconds.
    """
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
            states = error.cause  # it lost its lead: whoever has it next knows them
        if sum(peer.voter for peer in found) >= count:
            return found
        states = states or ", ".join(
            f"{peer.node_id} is {'a voter' if peer.voter else 'no voter yet'}" for peer in found
        )
        awaited.still(partial(str, states))
        if time.monotonic() >= deadline:
            raise DeadlineExceeded(
                f"waited {timeout:g} s for {count} voters",
                looked_at=f"{leader.address}/v1/sys/storage/raft/configuration: {states}",
                remedy=f"look at the servers' logs: {named('logs')}",
            )
        time.sleep(_POLL_SECONDS * 5)  # between two looks, bounded by the deadline


def _active(nodes: Sequence[Operator], health: Sequence[int]) -> Operator | None:
    return next(
        (node for node, status in zip(nodes, health, strict=True) if status == _ACTIVE), None
    )


def _never(
    what: str,
    timeout: float,
    nodes: Sequence[Operator],
    health: Sequence[int],
    refused: Mapping[str, str] | None = None,
) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"waited {timeout:g} s for {what}",
        looked_at=f"sys/health: {_states(nodes, health, refused)}",
        remedy=f"look at the servers' logs: {named('logs')}",
    )


def _states(
    nodes: Sequence[Operator], health: Sequence[int], refused: Mapping[str, str] | None = None
) -> str:
    why = refused or {}
    return "; ".join(
        f"{node.address} {health_in_words(status)}"
        + (f" ({why[node.address]})" if status == _SEALED and node.address in why else "")
        for node, status in zip(nodes, health, strict=True)
    )


def _causes(errors: Sequence[OperatorError]) -> str:
    return "; ".join(error.cause for error in errors)
