"""Find out how far the nodes of a Vault are with a restore, and act with the backup's tokens.

The cluster id travels with a snapshot, and any unsealed node tells it without a token. A valid
token of the backup proves the same, but it may have expired or been revoked.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vault_harness import files
from vault_harness.errors import (
    DeadlineExceeded,
    KeyringMissing,
    OperatorError,
    StackError,
    VaultIsSealed,
    named,
)
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import NEW, VaultAdmin, alive, health_in_words
from vault_harness.local.vault.keyring import Keyring, keep_beside
from vault_harness.local.vault.tokens import (
    OPERATOR_TOKEN_NAME,
    admin_with_token,
    operator_token,
)
from vault_harness.operator.backup.files import Keys
from vault_harness.operator.backup.make import cluster_id
from vault_harness.waiting import Awaited, wait_until

RESTORE_SECONDS = 60.0
SETTLE_SECONDS = 3.0
CATCH_UP_SECONDS = 30.0
POLL_SECONDS = 0.05


def await_taken(nodes: Sequence[VaultAdmin], keys: Keys, vault: str, *, timeout: float) -> None:
    """Wait until every node has taken a snapshot that has other keys.

    A node with Shamir's seal seals itself some time after the restore was answered. A node that
    unseals itself goes on with the snapshot's data. ``vault`` is its cluster id, or "".
    """
    wait_until(
        lambda: all(_has_taken(node, keys, vault) for node in nodes),
        "Vault to take the snapshot",
        timeout=timeout,
        evidence=lambda: _states(nodes),
        remedy=f"Look at the logs: {named('logs')}. Rebuild a node that stays as it was: "
        f"{named('node.remove', 'NAME')} and {named('node.add')}.",
    )


def must_start_again(nodes: Sequence[VaultAdmin]) -> bool:
    """Return whether standbys keep their earlier state until they restart."""
    return len(nodes) > 1 and nodes[0].seal_status().kind == "recovery"


def await_on_all(nodes: Sequence[VaultAdmin], keys: Keys, vault: str) -> None:
    """Wait until every node has the whole snapshot, as the leader reports it.

    If no token is valid there, each node is asked about itself. A node that restarts too early gets
    the snapshot later, as a standby.
    """
    wanted: list[int] = []

    def caught_up() -> bool:
        leader = cluster.find_leader(nodes)
        if leader is None:
            return False
        with contextlib.suppress(OperatorError):  # busy with the snapshot
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
        "run this again: it continues.",
    )


def _indexes(leader: VaultAdmin, nodes: Sequence[VaultAdmin], keys: Keys, vault: str) -> list[int]:
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
    nodes: Sequence[VaultAdmin], keys: Keys, vault: str, *, patience: float = CATCH_UP_SECONDS
) -> list[VaultAdmin]:
    """Return the nodes that have the backup, after a wait for slow ones.

    A node whose power failed before it had the snapshot never gets it, since it has the earlier
    certificates. After all nodes restarted, none can get it from another, so a short ``patience``
    is enough.
    """
    if len(nodes) > 1 and is_restored(nodes, keys, vault):
        with contextlib.suppress(DeadlineExceeded):
            await_taken(nodes, keys, vault, timeout=patience)
    return [node for node in nodes if _is_of_it(node, keys, vault, alone=len(nodes) == 1)]


def _is_of_it(node: VaultAdmin, keys: Keys, vault: str, *, alone: bool) -> bool:
    if not alone and vault and (own := cluster_id(node)):
        return own == vault  # told even without a leader
    return _has_backup(node, keys, vault)


def is_restored(nodes: Sequence[VaultAdmin], keys: Keys, vault: str) -> bool:
    """Return whether a node has the backup already.

    Raise `OperatorError` if no node that answers has it, and one does not answer.
    """
    if vault and any(cluster_id(node) == vault for node in nodes):
        return True
    refused: OperatorError | None = None
    # A sealed node answers at once. An open one without a leader may never answer.
    for node in sorted(nodes, key=lambda node: not node.seal_status().sealed):
        try:
            if _has_backup(node, keys, vault):
                return True
        except OperatorError as error:
            refused = error
    if refused is not None:
        raise refused
    return False


def _has_backup(node: VaultAdmin, keys: Keys, vault: str) -> bool:
    """Return whether a node belongs to the Vault of these keys already.

    A node that was just given a snapshot stays unsealed for a moment.
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
            continue  # it was sealing itself: the answer may take seconds
        except OperatorError:
            # A standby without a leader cannot forward the question, which does not mean that it
            # lacks the backup.
            if time.monotonic() > patience:
                raise
            time.sleep(POLL_SECONDS)
            deadline = time.monotonic() + SETTLE_SECONDS
            continue
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    try:
        node.give_keys(keys.keyring)
    except OperatorError:
        return False
    return True


def _has_taken(node: VaultAdmin, keys: Keys, vault: str) -> bool:
    with contextlib.suppress(OperatorError):  # busy with the snapshot
        return node.seal_status().sealed or _knows(node, keys, vault)
    return False


def _knows(node: VaultAdmin, keys: Keys, vault: str) -> bool:
    if vault and cluster_id(node) == vault:
        return True
    return any(lives(node, token) for token in (keys.keyring.root_token, keys.operator_token))


def lives(op: VaultAdmin, token: str) -> bool:
    if not token:
        return False
    with contextlib.closing(op.with_token(token)) as known:
        return alive(known) is not None


def _states(nodes: Sequence[VaultAdmin]) -> str:
    return "; ".join(
        f"{node.address} {health_in_words(status)}"
        for node, status in zip(nodes, cluster.health_of_all(nodes), strict=True)
    )


def check_nodes(nodes: Sequence[VaultAdmin]) -> None:
    """Raise `StackError` if a node is away: it would come back alone, with its old data."""
    away = [
        f"{node.address} {health_in_words(status)}"
        for node, status in zip(nodes, cluster.health_of_all(nodes), strict=True)
        if status in {0, NEW}
    ]
    if away and len(nodes) > 1:
        raise StackError(
            "every node must take part in a restore, and one does not; nothing was changed",
            looked_at="; ".join(away),
            remedy=f"{named('up')} starts and joins every stopped node; or remove it with "
            f"{named('node.remove', 'NAME')}",
        )


Remake = Callable[[Sequence[str]], object]
"""Rebuilds the nodes at these addresses from the others."""


def parted(
    nodes: Sequence[VaultAdmin],
    keys: Keys,
    vault: str,
    keyring_path: Path,
    remake: Remake | None,
    *,
    patience: float = CATCH_UP_SECONDS,
) -> tuple[list[VaultAdmin], list[VaultAdmin]]:
    """Split nodes, after an interrupted restore, into those with the snapshot and those to rebuild.

    If more than half of the nodes lack the snapshot, the others are rebuilt from them. The restore
    then starts over, and both lists are empty. ``keyring_path`` has the earlier keys.
    """
    have = having(nodes, keys, vault, patience=patience)
    others = [node for node in nodes if node not in have]
    if len(have) > len(others):
        return have, others
    if have:
        cluster.unseal_all(others, Keyring.load(keyring_path), timeout=RESTORE_SECONDS)
        rebuild(have, remake)
    return [], []


def rebuild(nodes: Sequence[VaultAdmin], remake: Remake | None) -> None:
    """Rebuild these nodes from the others; without ``remake`` raise `StackError`."""
    if not nodes:
        return
    addresses = [node.address for node in nodes]
    if remake is None:
        raise StackError(
            "the power failed before all nodes had the snapshot, and some cannot get it any more",
            looked_at=", ".join(addresses),
            remedy=f"{named('restore')} rebuilds these nodes from the data of the others",
        )
    remake(addresses)


def left_behind(node: VaultAdmin, error: OperatorError) -> StackError:
    """Describe a node that was away and has no certificate that the others know."""
    return StackError(
        f"the backup is in place, but the node at {node.address} does not show its content: "
        f"{error.cause}",
        looked_at=f"{error.looked_at}, for {CATCH_UP_SECONDS:g} s",
        remedy="Run this again first: the node may have been slow. A node that was away when the "
        f"others took the snapshot cannot rejoin: {named('status')} shows its name, and "
        f"{named('node.remove', 'NAME')} and {named('node.add')} rebuild it.",
    )


class TokensEnded(KeyringMissing):
    """A backup is restored and unsealed, but none of its tokens is valid."""


def put_keys(leader: VaultAdmin, keys: Keys, keyring_path: Path) -> Path | None:
    """Save a backup's keys and tokens where the tasks look for them.

    A valid token in place stays: somebody made it after the backup's own had expired. Another one
    belongs to the earlier Vault and is kept beside the new one. Return the path of the earlier
    operator's token, or None.
    """
    present = None
    with contextlib.suppress(StackError):  # no file, or no keyring
        present = Keyring.load(keyring_path)
    same = present is not None and present.keys == keys.keyring.keys
    if present is None or not same or not lives(leader, present.root_token):
        keys.keyring.save(keyring_path)
    directory = keyring_path.parent
    if not keys.operator_token or lives(leader, operator_token(directory)):
        return None
    return put_operator_token(keys.operator_token, directory)


def put_operator_token(token: str, directory: Path) -> Path | None:
    """Save an operator's token, and return where an earlier one is kept, or None."""
    file, present = directory / OPERATOR_TOKEN_NAME, operator_token(directory)
    if present == token:
        return None
    there = file.exists() and file.stat().st_size  # keep the content even if it is no token
    kept = keep_beside(file) if there else None
    files.write_private(files.led_to(file), token)
    return kept


def acting_on(leader: VaultAdmin, keyring_path: Path) -> VaultAdmin:
    """Return an operator with a valid token for the Vault that now has the backup."""
    directory, keyring = keyring_path.parent, Keyring.load(keyring_path)
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return admin_with_token(leader.address, keyring, directory, ca_cert=leader.ca_cert)
        except KeyringMissing:
            if time.monotonic() >= deadline:
                break
        time.sleep(POLL_SECONDS)  # bounded by the deadline
    raise TokensEnded(
        "the backup is in place and unsealed, but none of its tokens is valid any more, so "
        "nothing could be compared",
        looked_at=f"{leader.address}: the root token of {keyring_path}, the operator's token "
        f"{directory / OPERATOR_TOKEN_NAME}",
        remedy=f"{named('root.generate')} makes a root token from its keys, or says what this "
        "server needs for that. Then run this again to compare.",
    )
