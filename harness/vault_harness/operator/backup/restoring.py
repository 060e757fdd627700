"""Restore a backup into an empty Vault: a single server, or all nodes of a cluster.

The leader answers once most nodes have the snapshot. With Shamir's seal and keys of another Vault,
every node seals itself as it takes it, and the snapshot's keys then open it. With any other seal,
each node opens the snapshot with the seal's key and goes on.

A standby of such a cluster keeps its earlier mounts and audit devices and refuses every request
(OpenBao 2.7.2). So all nodes restart once they have the snapshot, and all must run.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from vault_harness import files
from vault_harness.errors import (
    DeadlineExceeded,
    HarnessError,
    KeyringMissing,
    OperatorError,
    StackError,
    named,
    without_frames,
)
from vault_harness.local import dialect
from vault_harness.local.engine.seal import static_key_path
from vault_harness.local.vault import approle, cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import (
    SOURCE,
    Keyring,
    keep_beside,
    unfinished_keyring,
    unfinished_restore,
)
from vault_harness.local.vault.tokens import (
    OPERATOR_POLICY,
    admin_with_token,
    needing_root,
)
from vault_harness.local.written_ahead import Checkpoint
from vault_harness.operator.backup.contents import Comparison, Contents, compare
from vault_harness.operator.backup.files import Keys, Opened, check_snapshot
from vault_harness.operator.backup.make import take_snapshot
from vault_harness.operator.backup.progress import (
    CATCH_UP_SECONDS,
    POLL_SECONDS,
    RESTORE_SECONDS,
    SETTLE_SECONDS,
    Remake,
    acting_on,
    await_on_all,
    await_taken,
    check_nodes,
    is_restored,
    left_behind,
    lives,
    must_start_again,
    parted,
    put_keys,
    rebuild,
)
from vault_harness.waiting import Awaited

_OF = "snapshot"
"""In the note beside the keys; tells two backups of one Vault apart."""
_KEPT = "kept"
"""In that note: files kept of the overwritten Vault, which the last run reports."""

_NAMED = 5  # in a message


@dataclass(frozen=True)
class Restored:
    """The result of a restore.

    Attributes:
        comparison: With the backup, and for a cluster with each node.
        resumed: An earlier run had put the snapshot in already.
        secret_ids: Number of old secret-ids that are valid again, by AppRole. Who has one, for
            example from a lost machine, can log in.
        kept: Path of the overwritten Vault's keyring.
        overwritten: A raft snapshot of that Vault, which that keyring opens.
        kept_token: Path of its operator's token, if another one.
    """

    comparison: Comparison
    resumed: bool
    seconds: float
    secret_ids: Mapping[str, int] = field(default_factory=dict)
    kept: Path | None = None
    overwritten: Path | None = None
    nodes: int = 1
    kept_token: Path | None = None


@dataclass(frozen=True)
class _Beside:
    """See `Restored`."""

    kept: Path | None = None
    overwritten: Path | None = None
    kept_token: Path | None = None


_OF_EVERY_VAULT = frozenset({"system", "identity", "cubbyhole", "token"})
"""Only the server makes mounts of these types."""

_POLICIES_OF_EVERY_VAULT = frozenset({"root", "default", OPERATOR_POLICY})
"""The last one comes with the tasks' token."""


def put_in(op: VaultAdmin) -> tuple[str, ...]:
    """Describe what somebody has put into a Vault. Empty for an empty Vault.

    Everything counts that the server does not make itself, since a restore would remove it. Audit
    devices do not count, since a server may start with one.
    """
    found = []
    for path, what in (("sys/mounts", "mount"), ("sys/auth", "auth method")):
        every = op.request("GET", path).get("data", {})
        own = sorted(name for name, each in every.items() if each["type"] not in _OF_EVERY_VAULT)
        found += [f"{what} {name}" for name in own]
    policies = op.request("LIST", "sys/policies/acl").get("data", {}).get("keys", [])
    found += [f"policy {name}" for name in sorted({*policies} - _POLICIES_OF_EVERY_VAULT)]
    if found:
        return tuple(found)  # only root may list namespaces, and the answer would not change
    status = op.seal_status()
    if dialect.has_namespaces(status.product, status.version):
        spaces = op.request("LIST", "sys/namespaces").get("data", {}).get("keys") or []
        found += [f"namespace {name}" for name in sorted(spaces)]
    return tuple(found)


@without_frames
def restore(
    nodes: Sequence[VaultAdmin],
    keyring_path: Path,
    opened: Opened,
    *,
    overwrite: bool = False,
    rehearse: Callable[[], None] = lambda: None,
    restart: Callable[[], object] | None = None,
    remake: Remake | None = None,
    checkpoint: Checkpoint = lambda _step: None,
) -> Restored:
    """Restore a backup into an initialised Vault, unseal it with the backup's keys, and compare.

    The next run finishes an interrupted one: the keys that open the Vault tell how far it got. Two
    cases start over: the Vault is the backup's own, with the same keys, and the snapshot was not in
    yet; or the last run used another backup of that Vault.

    Args:
        nodes: All must run, and no token is needed.
        keyring_path: The present Vault's, which the backup's replaces, with its operator's token
            beside it.
        overwrite: Replace the content of a Vault. Its keyring, its operator's token and a snapshot
            are kept beside the new ones.
        rehearse: Called before anything changes.
        restart: Restarts all servers. Required for several nodes that unseal themselves.
        remake: Without it, a cluster whose power failed half-way cannot continue.

    Raises:
        StackError: The Vault is not empty, a node does not run, or a node was away and cannot
            rejoin.
        TokensEnded: The backup is in place, but it cannot be compared.
    """
    begun = time.monotonic()
    contents, keys = opened.contents, opened.keys
    directory = keyring_path.parent
    way = unfinished_keyring(keyring_path)
    check_nodes(nodes)
    _check_seal(nodes, keys, directory)
    noted, begun_before = _unfinished(way, opened)
    start_again = must_start_again(nodes)
    if start_again:
        assert restart is not None, "several nodes that unseal themselves are started again"
        if noted is not None:
            _let_catch_up(nodes, keys, contents)
            restart()  # standbys with their earlier state tell nothing
            with contextlib.suppress(DeadlineExceeded):  # `parted` finds nodes that never get it
                cluster.wait_for_all(nodes, timeout=RESTORE_SECONDS)
    patience = SETTLE_SECONDS if start_again else CATCH_UP_SECONDS
    have, behind = (
        parted(nodes, keys, contents.vault, keyring_path, remake, patience=patience)
        if begun_before
        else ([], [])
    )
    resumed = bool(have)
    beside = _kept_before(way, directory) if resumed else _Beside()
    note = partial(_note, way, directory, opened)
    if noted is not None and not begun_before and is_restored(nodes, keys, contents.vault):
        # This backup replaces another one of that Vault, which may have a root token that this one
        # lacks.
        theirs = replace(keys, keyring=noted)
        beside = _Beside(kept_token=put_keys(_open(nodes, keys), theirs, keyring_path))
    if not resumed:
        present = Keyring.load(keyring_path)
        acting = _acting_on_what_is_here(nodes, present, keys, keyring_path)
        with contextlib.closing(acting) as root, needing_root(root, named("restore")):
            there = put_in(root)
            if there and not overwrite:
                raise _not_empty(root, there)
            rehearse()
            if there:
                beside = replace(beside, overwritten=_keep_snapshot(root, keyring_path))
                if present != keys.keyring:  # other keys, or only another root token
                    beside = replace(beside, kept=keep_beside(keyring_path))
            # The backup's own Vault accepts its keys and tokens from the start, so only the note
            # tells how far this got.
            own = present.keys == keys.keyring.keys
            if own:
                way.unlink(missing_ok=True)  # note of another backup, about to be replaced
            else:
                note(beside)
            checkpoint("kept the backup's keys")
            with root.asking("restore a raft snapshot") as client:
                client.sys.force_restore_raft_snapshot(opened.snapshot)
            if own:
                note(beside)
        checkpoint("put the snapshot in")
        if start_again:
            await_on_all(nodes, keys, contents.vault)
            assert restart is not None
            restart()
            checkpoint("started the nodes again")
        elif present.keys != keys.keyring.keys:
            await_taken(nodes, keys, contents.vault, timeout=RESTORE_SECONDS)
    else:
        with contextlib.suppress(DeadlineExceeded):  # no token may be valid to tell
            await_taken(have, keys, contents.vault, timeout=SETTLE_SECONDS)
    leader = _open(have or nodes, keys)
    checkpoint("unsealed")
    kept_token = put_keys(leader, keys, keyring_path) or beside.kept_token
    beside = replace(beside, kept_token=kept_token)
    note(beside)
    checkpoint("keyring in place")
    rebuild(behind, remake)
    with contextlib.closing(acting_on(leader, keyring_path)) as acting:
        comparison = _compare_all(acting, nodes, contents)
        with contextlib.closing(acting.within(contents.namespace)) as inside:
            secret_ids = {role: len(approle.accessors(inside, role)) for role in contents.approles}
    way.unlink(missing_ok=True)  # last: while it exists, another run continues this one
    return Restored(
        comparison,
        resumed,
        time.monotonic() - begun,
        {role: count for role, count in secret_ids.items() if count},
        beside.kept,
        beside.overwritten,
        len(nodes),
        beside.kept_token,
    )


def _digest(snapshot: bytes) -> str:
    return hashlib.sha256(snapshot).hexdigest()


def _note(way: Path, directory: Path, opened: Opened, beside: _Beside) -> None:
    # By name, so that the folder can be moved. Files behind a link keep their whole path.
    names = {
        what: path.name if path.parent == directory else str(path)
        for what, path in vars(beside).items()
        if path is not None
    }
    content = {
        **opened.keys.keyring.to_json(way.parent),
        _OF: _digest(opened.snapshot),
        SOURCE: opened.source,
        _KEPT: names,
    }
    files.write_private(way, json.dumps(content, indent=2) + "\n")


def _kept_before(way: Path, directory: Path) -> _Beside:
    """Return the files that an interrupted run kept. Older releases noted none."""
    names = json.loads(way.read_text()).get(_KEPT) or {}
    found = {what: directory / names[what] for what in vars(_Beside()) if what in names}
    return _Beside(**{what: path for what, path in found.items() if path.exists()})


def _unfinished(way: Path, opened: Opened) -> tuple[Keyring | None, bool]:
    """Return what an interrupted restore of that Vault has noted.

    Its keyring, or None, also for another Vault's; and whether the snapshot is this one. Two
    backups of one Vault may have other root tokens, so their keys tell which Vault it is. Older
    releases noted no snapshot, so only an equal keyring counts.
    """
    noted = Keyring.load(way) if way.exists() else None
    keyring = opened.keys.keyring
    if noted is None or noted.keys != keyring.keys:
        return None, False
    of = json.loads(way.read_text()).get(_OF)
    return noted, of == _digest(opened.snapshot) if of else noted == keyring


def _acting_on_what_is_here(
    nodes: Sequence[VaultAdmin], present: Keyring, keys: Keys, keyring_path: Path
) -> VaultAdmin:
    try:
        leader = cluster.unseal_all(nodes, present, timeout=RESTORE_SECONDS)
        return _acting(leader, present, keys, keyring_path.parent)
    except (OperatorError, KeyringMissing) as error:
        raise _another_first(error, keyring_path, keys) from None


def _acting(leader: VaultAdmin, present: Keyring, keys: Keys, directory: Path) -> VaultAdmin:
    """Return an operator with a valid token, before the snapshot is put in.

    If the backup's own Vault took the snapshot and the answer was lost, newer tokens are gone, and
    the backup's are valid.
    """
    try:
        return admin_with_token(leader.address, present, directory, ca_cert=leader.ca_cert)
    except KeyringMissing:
        for token in (keys.keyring.root_token, keys.operator_token):
            if lives(leader, token):
                return leader.with_token(token)
        raise


def _another_first(error: HarnessError, keyring_path: Path, keys: Keys) -> HarnessError:
    """Add to this error the command that finishes another backup's interrupted restore."""
    unfinished = unfinished_restore(keyring_path)
    if unfinished is None or unfinished.keys_here or unfinished.is_of(keys.keyring):
        return error
    return type(error)(
        f"{error.cause}; a restore of another backup was interrupted, and its keys are not here "
        "yet",
        looked_at=f"{error.looked_at}; {unfinished.note}",
        remedy=f"{unfinished.remedy}; then run this with --overwrite",
    )


def _let_catch_up(nodes: Sequence[VaultAdmin], keys: Keys, contents: Contents) -> None:
    """Wait for a node that was away when the leader took the snapshot.

    It needs the certificates that the nodes still use. After a restart they use the backup's, and
    it cannot rejoin.
    """
    leader = cluster.find_leader(nodes)
    if leader is not None and is_restored([leader], keys, contents.vault):
        with contextlib.suppress(DeadlineExceeded):  # the end of the restore reports such a node
            await_on_all(nodes, keys, contents.vault)


def _open(nodes: Sequence[VaultAdmin], keys: Keys) -> VaultAdmin:
    deadline = time.monotonic() + RESTORE_SECONDS
    while True:
        try:
            return cluster.unseal_all(nodes, keys.keyring, timeout=SETTLE_SECONDS)
        except DeadlineExceeded:
            if time.monotonic() >= deadline:
                raise


def _compare_all(acting: VaultAdmin, nodes: Sequence[VaultAdmin], contents: Contents) -> Comparison:
    """Compare through the leader, then through each other node as it catches up."""
    found = _answered(acting, contents) if len(nodes) > 1 else compare(acting, contents)
    different = list(found.different)
    for node in nodes:
        if node.address == acting.address:
            continue
        with contextlib.closing(node.with_token(str(acting.client.token))) as there:
            try:
                same = _answered(there, contents, found)
            except OperatorError as error:
                raise left_behind(node, error) from None
        different += [
            f"{line}, through {node.address}"
            for line in same.different
            if line not in found.different
        ]
    return replace(found, different=tuple(different))


def _answered(node: VaultAdmin, contents: Contents, wanted: Comparison | None = None) -> Comparison:
    """Return what a node has, once it equals the leader's answer or time is up.

    A cluster that was just unsealed may elect another leader. A former leader refuses requests
    until it knows the new one.
    """
    deadline = time.monotonic() + CATCH_UP_SECONDS
    awaited = Awaited(f"{node.address} to have all secrets of the backup", CATCH_UP_SECONDS)
    while True:
        error: OperatorError | None = None
        try:
            found = compare(node, contents)
            if wanted is None or found == wanted:
                return found
        except OperatorError as refused:  # it does not know the token or the leader yet
            error = refused
        awaited.still()
        if time.monotonic() >= deadline:
            if error is not None:
                raise error
            return found
        time.sleep(POLL_SECONDS)  # bounded by the deadline


def _keep_snapshot(root: VaultAdmin, keyring_path: Path) -> Path:
    """Save a snapshot of the Vault to be overwritten beside the keyring."""
    snapshot = take_snapshot(root)
    try:
        check_snapshot(snapshot, source=f"{root.address}/v1/sys/storage/raft/snapshot")
    except HarnessError as error:
        raise OperatorError(
            f"this Vault's content could not be saved, so it was not overwritten: {error.cause}",
            looked_at=error.looked_at,
            remedy=f"Run this again. If that fails, look at the server's log: {named('logs')}.",
        ) from None
    name = f"{keyring_path.name}.{time.strftime('%Y%m%d-%H%M%S')}"
    path = keyring_path.with_name(f"{name}.snap")
    # The same second occurs twice when the clock is set back in autumn.
    for number in itertools.count(1):
        if not os.path.lexists(path):
            break
        path = keyring_path.with_name(f"{name}.{number}.snap")
    files.write_private(path, snapshot)
    return path


def _check_seal(nodes: Sequence[VaultAdmin], keys: Keys, data_dir: Path) -> None:
    op = nodes[0]
    status = op.seal_status()
    if status.kind != keys.keyring.kind:
        theirs = {"shamir": "is unsealed with keys", "recovery": "unseals itself"}
        raise StackError(
            f"the backup is of a Vault that {theirs[keys.keyring.kind]}, and this one "
            f"{theirs[status.kind]}; nothing was changed",
            looked_at=f"{op.address}: seal {status.seal}",
            remedy=f"Restore into a stack with the same seal: {named('up', '--seal', 'KIND')} in a "
            "new folder, with the seal's key (seal/ or holder/ of the data directory).",
        )
    path = static_key_path(data_dir)
    if keys.static_key and path.exists() and path.read_text().strip() != keys.static_key:
        raise StackError(
            "this Vault's static seal has another key than the backup, so it cannot open it; "
            "nothing was changed",
            looked_at=str(path),
            remedy="Set HARNESS_DATA_DIR to a new folder. Put the key there with "
            f"{named('restore.keys', '--seal-key')}, run {named('up', '--seal', 'static')}, and "
            "run this again.",
        )


def _not_empty(op: VaultAdmin, there: Sequence[str]) -> StackError:
    more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
    return StackError(
        "this Vault is not empty, and a restore would replace its content; nothing was changed",
        looked_at=f"{op.address}: {', '.join(there[:_NAMED])}{more}",
        remedy="Restore into a new stack: set HARNESS_DATA_DIR=FOLDER for both "
        f"`{named('up')}` and this. Or give --overwrite: the present content is kept as a "
        "snapshot with its keys.",
    )
