"""How far the nodes of a Vault have got with a backup that is put into them.

Its cluster id travels with a snapshot, and any node that is open tells it to everybody. A token of
the backup that lives tells as much, and may have ended since: a root token is revoked, an
operator's ends unless it is renewed. Either is enough.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from vault_harness.commands import named
from vault_harness.errors import DeadlineExceeded, OperatorError, StackError, VaultIsSealed
from vault_harness.vault import cluster
from vault_harness.vault.backup._files import Keys
from vault_harness.vault.backup._make import cluster_id
from vault_harness.vault.operator import Operator, health_in_words
from vault_harness.vault.root import alive
from vault_harness.waiting import Awaited, wait_until

RESTORE_SECONDS = 60.0
SETTLE_SECONDS = 3.0
CATCH_UP_SECONDS = 30.0
POLL_SECONDS = 0.05


def await_taken(nodes: Sequence[Operator], keys: Keys, vault: str, *, timeout: float) -> None:
    """Wait until every node has taken a snapshot of other keys than it had.

    A node of Shamir's seal seals itself when it finds that out, some time after the restore was
    answered; one that unseals itself goes on with what the snapshot has.

    Args:
        nodes: An operator at each.
        keys: Of the backup.
        vault: The cluster id that the snapshot has; empty if it is not known.
        timeout: Seconds.

    Raises:
        DeadlineExceeded: One does not in time.
    """
    wait_until(
        lambda: all(_has_taken(node, keys, vault) for node in nodes),
        "Vault to take the snapshot",
        timeout=timeout,
        evidence=lambda: _states(nodes),
        remedy=f"Look at the logs: {named('logs')}. A node of a cluster that stays as it was gets "
        f"everything anew by {named('node.remove', 'NAME')} and {named('node.add')}.",
    )


def must_start_anew(nodes: Sequence[Operator]) -> bool:
    """Whether standbys go by what they knew before until they are started again."""
    return len(nodes) > 1 and nodes[0].seal_status().kind == "recovery"


def await_on_all(nodes: Sequence[Operator], keys: Keys, vault: str) -> None:
    """Wait until every node has the whole of a snapshot, by what the leader knows of each.

    Where no token lives that the leader would tell it to, by what each says of itself. One that was
    started again without it would take it later, as a standby.

    Args:
        nodes: An operator at each.
        keys: Of the backup.
        vault: As `await_taken` has it.

    Raises:
        DeadlineExceeded: One has not in time.
    """
    wanted: list[int] = []

    def caught_up() -> bool:
        leader = cluster.find_leader(nodes)
        if leader is None:
            return False
        with contextlib.suppress(OperatorError):  # it is busy with it
            indexes = _indexes(leader, nodes, keys, vault)
            if len(indexes) < len(nodes):
                return False
            wanted.append(max(indexes))
            return min(indexes) >= wanted[0]
        return False

    wait_until(
        caught_up,
        "all nodes to have the snapshot",
        timeout=RESTORE_SECONDS,
        evidence=lambda: _states(nodes),
        remedy=f"Look at the logs: {named('logs')}; {named('up')} starts what does not run. Then "
        "this again, which goes on.",
    )


def _indexes(leader: Operator, nodes: Sequence[Operator], keys: Keys, vault: str) -> list[int]:
    """How far each node is in the log of the backup's Vault; nothing if not all are of it yet."""
    for token in (keys.keyring.root_token, keys.operator_token):
        if lives(leader, token):
            with contextlib.closing(leader.with_token(token)) as known:
                state = known.request("GET", "sys/storage/raft/autopilot/state").get("data") or {}
            servers = (state.get("servers") or {}).values()
            return [int(server.get("last_index") or 0) for server in servers]
    if vault and all(cluster_id(node) == vault for node in nodes):
        own = [node.request("GET", "sys/leader") for node in nodes]
        return [int(answer.get("raft_applied_index") or 0) for answer in own]
    return []


def having(
    nodes: Sequence[Operator], keys: Keys, vault: str, *, patience: float = CATCH_UP_SECONDS
) -> list[Operator]:
    """Those of the nodes that have the backup; the cluster id as `await_taken` has it.

    All are waited for as long as one that is slow may take: one whose power failed before it had
    the snapshot never gets it, since it has the certificates of before.

    Args:
        nodes: An operator at each.
        keys: Of the backup.
        vault: Its cluster id.
        patience: Seconds for that. Little will do where all were just started anew: by that each
            has the certificates of what it has, and none gets it from another one any more.

    Raises:
        OperatorError: A node does not tell.
    """
    if len(nodes) > 1 and is_restored(nodes, keys, vault):
        with contextlib.suppress(DeadlineExceeded):
            await_taken(nodes, keys, vault, timeout=patience)
    return [node for node in nodes if _is_of_it(node, keys, vault, alone=len(nodes) == 1)]


def _is_of_it(node: Operator, keys: Keys, vault: str, *, alone: bool) -> bool:
    if not alone and vault and (own := cluster_id(node)):
        return own == vault  # which it tells too while it knows no leader
    return _has_backup(node, keys, vault)


def is_restored(nodes: Sequence[Operator], keys: Keys, vault: str) -> bool:
    """Whether one of the nodes has the backup already; the cluster id as `await_taken` has it.

    Raises:
        OperatorError: None that tells has it, and one does not tell.
    """
    if vault and any(cluster_id(node) == vault for node in nodes):
        return True
    refused: OperatorError | None = None
    # What is sealed tells at once, by the keys. What is open and knows no leader never may.
    for node in sorted(nodes, key=lambda node: not node.seal_status().sealed):
        try:
            if _has_backup(node, keys, vault):
                return True
        except OperatorError as error:
            refused = error
    if refused is not None:
        raise refused
    return False


def _has_backup(node: Operator, keys: Keys, vault: str) -> bool:
    """Whether a node is of the Vault that these keys belong to already.

    One that has just been given a snapshot goes on unsealed for a moment, before it seals itself.

    Raises:
        OperatorError: It does not tell within `CATCH_UP_SECONDS`.
    """
    begun = time.monotonic()
    deadline, patience = begun + SETTLE_SECONDS, begun + CATCH_UP_SECONDS
    awaited = Awaited(f"{node.address} to say which Vault it is of", CATCH_UP_SECONDS)
    while not node.seal_status().sealed:
        awaited.still()
        try:
            if _knows(node, keys, vault):
                return True
        except VaultIsSealed:
            continue  # it was sealing itself: an answer can take it seconds then
        except OperatorError:
            # While no leader is in reach a standby has nobody to hand the question on to, and
            # sends who asks elsewhere. "It does not know" would be a guess.
            if time.monotonic() > patience:
                raise
            time.sleep(POLL_SECONDS)  # between two looks, bounded by the patience
            deadline = time.monotonic() + SETTLE_SECONDS
            continue
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)  # between two looks, bounded by the deadline
    try:
        node.give_keys(keys.keyring)
    except OperatorError:
        return False
    return True


def _has_taken(node: Operator, keys: Keys, vault: str) -> bool:
    with contextlib.suppress(OperatorError):  # it is busy with it
        return node.seal_status().sealed or _knows(node, keys, vault)
    return False


def _knows(node: Operator, keys: Keys, vault: str) -> bool:
    """Whether it is the backup's Vault: by its cluster id, or by a token that lives there."""
    if vault and cluster_id(node) == vault:
        return True
    return any(lives(node, token) for token in (keys.keyring.root_token, keys.operator_token))


def lives(op: Operator, token: str) -> bool:
    """Whether a token is good there; an empty one is not.

    Raises:
        OperatorError: Vault does not answer, or is sealed.
    """
    if not token:
        return False
    with contextlib.closing(op.with_token(token)) as known:
        return alive(known) is not None


def _states(nodes: Sequence[Operator]) -> str:
    return "; ".join(
        f"{node.address} {health_in_words(status)}"
        for node, status in zip(nodes, cluster.health_of_all(nodes), strict=True)
    )


def check_nodes(nodes: Sequence[Operator]) -> None:
    """A node of a cluster that is away would come back with what was there before, and alone."""
    away = [
        f"{node.address} {health_in_words(status)}"
        for node, status in zip(nodes, cluster.health_of_all(nodes), strict=True)
        if status in {0, 501}
    ]
    if away and len(nodes) > 1:
        raise StackError(
            "every node has to take part in a restore, and one does not; nothing was changed",
            looked_at="; ".join(away),
            remedy=f"{named('up')} starts what does not run and makes members of all; or "
            f"{named('node.remove', 'NAME')}",
        )
