"""Putting a backup into an empty Vault: a single server, or all nodes of a cluster.

A snapshot goes to the leader, which answers once it and most of the others have it. Under Shamir's
seal, with keys of another Vault, every node seals itself as it takes the snapshot, and is opened
with the keys that the snapshot has. A node that does not run meanwhile could do neither, so all
have to.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vault_harness import dialect, files
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.engine import static_key_path
from vault_harness.errors import (
    DeadlineExceeded,
    OperatorError,
    StackError,
    VaultIsSealed,
)
from vault_harness.vault import approle, cluster
from vault_harness.vault.backup._contents import Comparison, Contents, compare
from vault_harness.vault.backup._files import Keys
from vault_harness.vault.backup._make import take_snapshot
from vault_harness.vault.keyring import Keyring, keep_beside
from vault_harness.vault.operator import Operator, health_in_words
from vault_harness.vault.root import (
    OPERATOR_TOKEN_NAME,
    alive,
    needing_root,
    standing_operator,
)
from vault_harness.waiting import wait_until

Checkpoint = Callable[[str], None]

KEYRING_ON_THE_WAY = "init.json.restoring"
_RESTORE_SECONDS = 60.0
_SETTLE_SECONDS = 3.0
_CATCH_UP_SECONDS = 30.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Restored:
    """What came of a restore.

    Attributes:
        comparison: Secret by secret, against what the backup says; of a cluster what differs
            through any of its nodes.
        resumed: Whether an earlier run had put the snapshot in already.
        seconds: How long it took.
        secret_ids: How many secret-ids from before are good again, by AppRole: whoever has them,
            on a machine that was lost for example, can log in.
        kept: Where the keyring of the Vault that was overwritten is now, if there was one.
        overwritten: A raft snapshot of what was overwritten, which that keyring opens.
        nodes: Through how many nodes it was compared.
    """

    comparison: Comparison
    resumed: bool
    seconds: float
    secret_ids: Mapping[str, int] = field(default_factory=dict)
    kept: Path | None = None
    overwritten: Path | None = None
    nodes: int = 1


def is_empty(op: Operator, mounts: Iterable[str]) -> bool:
    """Whether nobody has put anything into a Vault: none of the mounts, no AppRole, no namespace.

    Args:
        op: With a root token, in the root namespace.
        mounts: KV mounts that a backup has.
    """
    present = op.request("GET", "sys/mounts").get("data", {})
    auth = op.request("GET", "sys/auth").get("data", {})
    if any(f"{mount}/" in present for mount in mounts) or "approle/" in auth:
        return False
    status = op.seal_status()
    if not dialect.has_namespaces(status.product, status.version):
        return True
    return not op.request("LIST", "sys/namespaces").get("data", {}).get("keys")


@without_frames
def restore(
    nodes: Sequence[Operator],
    keyring_path: Path,
    snapshot: bytes,
    contents: Contents,
    keys: Keys,
    *,
    overwrite: bool = False,
    checkpoint: Checkpoint = lambda _step: None,
) -> Restored:
    """Put a backup into an empty, initialised Vault, unseal it with the backup's keys, and compare.

    A run that was ended half-way is finished by the next one with the same backup: whichever keys
    open the Vault tell how far it got.

    Args:
        nodes: At each node of that Vault, all of which must run; no token is needed.
        keyring_path: The keyring of the empty Vault; that of the backup takes its place, and the
            operator's token its place beside it.
        snapshot: From `Backup.open_snapshot`.
        contents: Likewise.
        keys: From `Backup.open_keys`.
        overwrite: Replace what a Vault that is not empty has. Its keyring is kept beside the new
            one, and so is a snapshot of what it had: backups of that Vault open with it.
        checkpoint: Called after each step.

    Raises:
        StackError: The Vault is not empty, or a node does not run.
        KeyringMissing: There is no keyring of the empty Vault.
        OperatorError: Vault refused.
        DeadlineExceeded: A node does not take the snapshot, or does not serve afterwards.
    """
    begun = time.monotonic()
    directory = keyring_path.parent
    way = keyring_path.with_name(KEYRING_ON_THE_WAY)
    _check_nodes(nodes)
    _check_seal(nodes, keys, directory)
    resumed = way.exists() and Keyring.load(way) == keys.keyring and _is_restored(nodes, keys)
    kept = overwritten = None
    if not resumed:
        present = Keyring.load(keyring_path)
        leader = cluster.unseal_all(nodes, present, timeout=_RESTORE_SECONDS)
        acting = standing_operator(leader.address, present, directory, ca_cert=leader.ca_cert)
        with contextlib.closing(acting) as root, needing_root(root, named("restore")):
            if not is_empty(root, contents.mounts):
                if not overwrite:
                    raise _not_empty(root, contents)
                overwritten = _keep_snapshot(root, keyring_path)
                if present.keys != keys.keyring.keys:
                    kept = keep_beside(keyring_path)
            keys.keyring.save(way)
            checkpoint("kept the backup's keys")
            with root.asking("restore a raft snapshot") as client:
                client.sys.force_restore_raft_snapshot(snapshot)
        checkpoint("put the snapshot in")
        if present.keys != keys.keyring.keys:
            _await_taken(nodes, keys, timeout=_RESTORE_SECONDS)
    else:
        with contextlib.suppress(DeadlineExceeded):  # it may have no token that tells
            _await_taken(nodes, keys, timeout=_SETTLE_SECONDS)
    leader = _open(nodes, keys)
    checkpoint("unsealed")
    keys.keyring.save(keyring_path)
    if keys.operator_token:
        files.write_private(keyring_path.with_name(OPERATOR_TOKEN_NAME), keys.operator_token)
    checkpoint("keyring in place")
    acting = standing_operator(leader.address, keys.keyring, directory, ca_cert=leader.ca_cert)
    with contextlib.closing(acting):
        comparison = _compare_all(acting, nodes, contents)
        with contextlib.closing(acting.within(contents.namespace)) as inside:
            secret_ids = {role: len(approle.accessors(inside, role)) for role in contents.approles}
    way.unlink(missing_ok=True)  # last: while it is there, a further run goes on instead of anew
    return Restored(
        comparison,
        resumed,
        time.monotonic() - begun,
        {role: count for role, count in secret_ids.items() if count},
        kept,
        overwritten,
        len(nodes),
    )


def _await_taken(nodes: Sequence[Operator], keys: Keys, *, timeout: float) -> None:
    """Wait until every node has taken a snapshot of other keys than it had.

    A node of Shamir's seal seals itself when it finds that out, some time after the restore was
    answered; one that unseals itself goes on with what the snapshot has.

    Raises:
        DeadlineExceeded: One does not in time.
    """
    wait_until(
        lambda: all(_has_taken(node, keys) for node in nodes),
        "Vault to take the snapshot",
        timeout=timeout,
        evidence=lambda: _states(nodes),
        remedy=f"Look at the logs: {named('logs')}. A node of a cluster that stays as it was gets "
        f"everything anew by {named('node.remove', 'NAME')} and {named('node.add')}.",
    )


def _open(nodes: Sequence[Operator], keys: Keys) -> Operator:
    """Unseal every node with the backup's keys, and again what sealed itself late; the active one.

    Raises:
        DeadlineExceeded: Not all serve in time.
    """
    deadline = time.monotonic() + _RESTORE_SECONDS
    while True:
        try:
            return cluster.unseal_all(nodes, keys.keyring, timeout=_SETTLE_SECONDS)
        except DeadlineExceeded:
            if time.monotonic() >= deadline:
                raise


def _compare_all(acting: Operator, nodes: Sequence[Operator], contents: Contents) -> Comparison:
    """Against the backup, through the leader and then through each other node as it catches up."""
    found = compare(acting, contents)
    different = list(found.different)
    for node in nodes:
        if node.address == acting.address:
            continue
        with contextlib.closing(node.with_token(str(acting.client.token))) as there:
            same = _as_the_leader(there, contents, found)
        different += [
            f"{line}, through {node.address}"
            for line in same.different
            if line not in found.different
        ]
    return replace(found, different=tuple(different))


def _as_the_leader(node: Operator, contents: Contents, wanted: Comparison) -> Comparison:
    """What a standby has, once that is what the leader has, or time is up."""
    deadline = time.monotonic() + _CATCH_UP_SECONDS
    while True:
        error: OperatorError | None = None
        try:
            found = compare(node, contents)
            if found == wanted:
                return found
        except OperatorError as refused:  # it does not know the token yet
            error = refused
        if time.monotonic() >= deadline:
            if error is not None:
                raise error
            return found
        time.sleep(_POLL_SECONDS)  # between two looks, bounded by the deadline


def _keep_snapshot(root: Operator, keyring_path: Path) -> Path:
    """What is about to be overwritten, beside the keyring that opens it."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = keyring_path.with_name(f"{keyring_path.name}.{stamp}.snap")
    files.write_private(path, take_snapshot(root))
    return path


def _is_restored(nodes: Sequence[Operator], keys: Keys) -> bool:
    """Whether one of the nodes has the backup already."""
    return any(_has_backup(node, keys) for node in nodes)


def _has_backup(node: Operator, keys: Keys) -> bool:
    """Whether a node is of the Vault that these keys belong to already.

    One that has just been given a snapshot goes on unsealed for a moment, before it seals itself.

    Raises:
        OperatorError: It does not tell within `_CATCH_UP_SECONDS`.
    """
    begun = time.monotonic()
    deadline, patience = begun + _SETTLE_SECONDS, begun + _CATCH_UP_SECONDS
    while not node.seal_status().sealed:
        try:
            if _knows(node, keys):
                return True
        except VaultIsSealed:
            continue  # it was sealing itself: an answer can take it seconds then
        except OperatorError:
            # While no leader is in reach a standby has nobody to hand the question on to, and
            # sends who asks elsewhere. "It does not know" would be a guess.
            if time.monotonic() > patience:
                raise
            time.sleep(_POLL_SECONDS)  # between two looks, bounded by the patience
            deadline = time.monotonic() + _SETTLE_SECONDS
            continue
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)  # between two looks, bounded by the deadline
    try:
        node.give_keys(keys.keyring)
    except OperatorError:
        return False
    return True


def _has_taken(node: Operator, keys: Keys) -> bool:
    with contextlib.suppress(OperatorError):  # it is busy with it
        return node.seal_status().sealed or _knows(node, keys)
    return False


def _knows(node: Operator, keys: Keys) -> bool:
    """Whether a token of the backup lives there."""
    return any(_is_alive(node, t) for t in (keys.keyring.root_token, keys.operator_token))


def _is_alive(op: Operator, token: str) -> bool:
    if not token:
        return False
    with contextlib.closing(op.with_token(token)) as known:
        return alive(known) is not None


def _states(nodes: Sequence[Operator]) -> str:
    return "; ".join(
        f"{node.address} {health_in_words(status)}"
        for node, status in zip(nodes, cluster.health_of_all(nodes), strict=True)
    )


def _check_nodes(nodes: Sequence[Operator]) -> None:
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


def _check_seal(nodes: Sequence[Operator], keys: Keys, data_dir: Path) -> None:
    """A snapshot is opened by the seal that it was taken from, with its key, and by no other."""
    op = nodes[0]
    status = op.seal_status()
    if status.kind == "recovery" and len(nodes) > 1:
        raise StackError(
            "three nodes that unseal themselves are not restored into; nothing was changed",
            looked_at=f"{op.address}: seal {status.seal}",
            remedy=f"HARNESS_DATA_DIR=FOLDER for all of it: {named('up', '--seal', status.seal)} "
            f"with the seal's key, restore there, {named('down')}, {named('up', '--ha')}",
        )
    if status.kind != keys.keyring.kind:
        theirs = {"shamir": "is unsealed with keys", "recovery": "unseals itself"}
        raise StackError(
            f"the backup is of a Vault that {theirs[keys.keyring.kind]}, and this one "
            f"{theirs[status.kind]}; nothing was changed",
            looked_at=f"{op.address}: seal {status.seal}",
            remedy=f"restore into a stack of the same seal: {named('up', '--seal', 'KIND')} in a "
            "folder of its own, with the seal's key (seal/ or holder/ of the data directory)",
        )
    path = static_key_path(data_dir)
    if keys.static_key and path.exists() and path.read_text().strip() != keys.static_key:
        raise StackError(
            "the key of this Vault's static seal is not the backup's, which alone opens it; "
            "nothing was changed",
            looked_at=str(path),
            remedy=f"HARNESS_DATA_DIR=FOLDER for {named('restore.keys', '--seal-key')}, which puts "
            f"the backup's there, {named('up', '--seal', 'static')}, and this",
        )


def _not_empty(op: Operator, contents: Contents) -> StackError:
    return StackError(
        "this Vault is not empty, a restore would replace what it has; nothing was changed",
        looked_at=f"{op.address}: mounts {', '.join(contents.mounts)}, AppRole, namespaces",
        remedy="Restore into a stack of its own: HARNESS_DATA_DIR=FOLDER for both "
        f"`{named('up')}` and this. Or back up first what is here ({named('backup')}), and give "
        "--overwrite.",
    )
