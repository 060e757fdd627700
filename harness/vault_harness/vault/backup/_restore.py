"""Putting a backup into an empty Vault: a single server, or all nodes of a cluster.

A snapshot goes to the leader, which answers once it and most of the others have it. Under Shamir's
seal, with keys of another Vault, every node seals itself as it takes the snapshot, and is opened
with the keys that the snapshot has. Under any other each opens it with the key of that seal, and
goes on; but a standby does so with the mounts and audit devices that it knew before (OpenBao 2.7.2:
it refuses every request), so that all are started again once they have it. A node that does not run
meanwhile could do neither, so all have to.
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

from vault_harness import dialect, files
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.engine import static_key_path
from vault_harness.errors import (
    DeadlineExceeded,
    HarnessError,
    KeyringMissing,
    OperatorError,
    StackError,
)
from vault_harness.vault import approle, cluster
from vault_harness.vault.backup._acting import acting_on, put_keys
from vault_harness.vault.backup._contents import Comparison, Contents, compare
from vault_harness.vault.backup._files import Keys, check_snapshot
from vault_harness.vault.backup._left_behind import Remake, left_behind, make_anew, parted
from vault_harness.vault.backup._make import take_snapshot
from vault_harness.vault.backup._progress import (
    CATCH_UP_SECONDS,
    POLL_SECONDS,
    RESTORE_SECONDS,
    SETTLE_SECONDS,
    await_on_all,
    await_taken,
    check_nodes,
    is_restored,
    lives,
    must_start_anew,
)
from vault_harness.vault.keyring import Keyring, keep_beside, keyring_on_the_way
from vault_harness.vault.operator import Operator
from vault_harness.vault.root import OPERATOR_POLICY, needing_root, standing_operator
from vault_harness.vault.unfinished import SOURCE, unfinished_restore
from vault_harness.waiting import Awaited

Checkpoint = Callable[[str], None]

_OF = "snapshot"
"""In the file that notes them beside the keys: of two backups of one Vault they are the same."""
_KEPT = "kept"
"""Likewise what is kept of the Vault that is overwritten: the end of the run tells it."""

_NAMED = 5  # of what is in the way


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
        kept_token: Where the operator's token of that Vault is now, if the backup has another one.
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
    """What of the Vault that is overwritten is kept beside the keyring; see `Restored`."""

    kept: Path | None = None
    overwritten: Path | None = None
    kept_token: Path | None = None


_OF_EVERY_VAULT = frozenset({"system", "identity", "cubbyhole", "token"})
"""Types of what a server mounts by itself, and nobody else can mount."""

_POLICIES_OF_EVERY_VAULT = frozenset({"root", "default", OPERATOR_POLICY})
"""The last is the tasks' own, which a token of theirs brings with it."""


def put_in(op: Operator) -> tuple[str, ...]:
    """What somebody has put into a Vault, a few words each; nothing for an empty one.

    Whatever the server does not make by itself counts, also where no backup has anything of the
    kind: a restore would take it away. An audit device does not, since a server may start with it.

    Args:
        op: With a root token, in the root namespace.
    """
    found = []
    for path, what in (("sys/mounts", "mount"), ("sys/auth", "auth method")):
        every = op.request("GET", path).get("data", {})
        own = sorted(name for name, each in every.items() if each["type"] not in _OF_EVERY_VAULT)
        found += [f"{what} {name}" for name in own]
    policies = op.request("LIST", "sys/policies/acl").get("data", {}).get("keys", [])
    found += [f"policy {name}" for name in sorted({*policies} - _POLICIES_OF_EVERY_VAULT)]
    if found:
        return tuple(found)  # namespaces are for root alone to list, and would change nothing
    status = op.seal_status()
    if dialect.has_namespaces(status.product, status.version):
        spaces = op.request("LIST", "sys/namespaces").get("data", {}).get("keys") or []
        found += [f"namespace {name}" for name in sorted(spaces)]
    return tuple(found)


@without_frames
def restore(
    nodes: Sequence[Operator],
    keyring_path: Path,
    snapshot: bytes,
    contents: Contents,
    keys: Keys,
    *,
    overwrite: bool = False,
    source: str = "",
    rehearse: Callable[[], None] = lambda: None,
    restart: Callable[[], object] | None = None,
    remake: Remake | None = None,
    checkpoint: Checkpoint = lambda _step: None,
) -> Restored:
    """Put a backup into an empty, initialised Vault, unseal it with the backup's keys, and compare.

    A run that was ended half-way is finished by the next one with the same backup: whichever keys
    open the Vault tell how far it got. Over the Vault that the backup is of, which has the same
    keys, one that had not put the snapshot in is begun anew; so is one with another backup of that
    Vault than the last.

    Args:
        nodes: At each node of that Vault, all of which must run; no token is needed.
        keyring_path: The keyring of the empty Vault; that of the backup takes its place, and the
            operator's token its place beside it.
        snapshot: From `Backup.open_snapshot`.
        contents: Likewise.
        keys: From `Backup.open_keys`.
        overwrite: Replace what a Vault that is not empty has. Its keyring and the operator's token
            are kept beside the new ones, and so is a snapshot of what it had: backups of that Vault
            open with them.
        source: The backup's folder, for who is to be told with which one an ended run goes on.
        rehearse: Called before anything is changed; whatever it raises is the end of it.
        restart: Ends the servers of all nodes and starts them again; must be given for several that
            unseal themselves.
        remake: Makes the nodes at these addresses anew, of what the others have: without it a
            cluster whose power failed before all of it had the snapshot cannot be gone on with.
        checkpoint: Called after each step.

    Raises:
        StackError: The Vault is not empty, a node does not run, or one was away when the others
            took the snapshot and cannot come back.
        KeyringMissing: There is no keyring of the empty Vault.
        TokensEnded: The backup is in place, and nobody can compare it.
        OperatorError: Vault refused.
        DeadlineExceeded: A node does not take the snapshot, or does not serve afterwards.
    """
    begun = time.monotonic()
    directory = keyring_path.parent
    way = keyring_on_the_way(keyring_path)
    check_nodes(nodes)
    _check_seal(nodes, keys, directory)
    of = hashlib.sha256(snapshot).hexdigest()
    noted, begun_before = _on_the_way(way, keys, of)
    anew = must_start_anew(nodes)
    if anew:
        assert restart is not None, "several nodes that unseal themselves are started again"
        if noted is not None:
            _let_catch_up(nodes, keys, contents)
            restart()  # standbys that were left as they were tell nothing
            with contextlib.suppress(DeadlineExceeded):  # who never gets it is looked for next
                cluster.wait_for_all(nodes, timeout=RESTORE_SECONDS)
    patience = SETTLE_SECONDS if anew else CATCH_UP_SECONDS
    have, behind = (
        parted(nodes, keys, contents.vault, keyring_path, remake, patience=patience)
        if begun_before
        else ([], [])
    )
    resumed = bool(have)
    beside = _kept_before(way, directory) if resumed else _Beside()
    note = partial(_note, way, directory, keys, of, source=source)
    if noted is not None and not begun_before and is_restored(nodes, keys, contents.vault):
        # Another backup of that Vault is in: this one goes over it, as over any of its own. Who may
        # act there the other one says: a root token that this one has not got, say.
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
                if present != keys.keyring:  # by its keys, or by its root token alone
                    beside = replace(beside, kept=keep_beside(keyring_path))
            # Its own Vault knows the backup's keys and tokens all along, which then tell nothing of
            # how far this got: that the file is there tells it.
            own = present.keys == keys.keyring.keys
            if own:
                way.unlink(missing_ok=True)  # another backup's, which is in no more in a moment
            else:
                note(beside)
            checkpoint("kept the backup's keys")
            with root.asking("restore a raft snapshot") as client:
                client.sys.force_restore_raft_snapshot(snapshot)
            if own:
                note(beside)
        checkpoint("put the snapshot in")
        if anew:
            await_on_all(nodes, keys, contents.vault)
            assert restart is not None  # see above
            restart()
            checkpoint("started the nodes again")
        elif present.keys != keys.keyring.keys:
            await_taken(nodes, keys, contents.vault, timeout=RESTORE_SECONDS)
    else:
        with contextlib.suppress(DeadlineExceeded):  # it may have no token that tells
            await_taken(have, keys, contents.vault, timeout=SETTLE_SECONDS)
    leader = _open(have or nodes, keys)
    checkpoint("unsealed")
    kept_token = put_keys(leader, keys, keyring_path) or beside.kept_token
    beside = replace(beside, kept_token=kept_token)
    note(beside)
    checkpoint("keyring in place")
    make_anew(behind, remake)
    with contextlib.closing(acting_on(leader, keyring_path)) as acting:
        comparison = _compare_all(acting, nodes, contents)
        with contextlib.closing(acting.within(contents.namespace)) as inside:
            secret_ids = {role: len(approle.accessors(inside, role)) for role in contents.approles}
    way.unlink(missing_ok=True)  # last: while it is there, a further run goes on instead of anew
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


def _note(
    way: Path, directory: Path, keys: Keys, snapshot: str, beside: _Beside, source: str = ""
) -> None:
    """Note that a backup is on its way, by the keys that it has and the digest of its snapshot.

    Args:
        way: Where.
        directory: Where the keyring is.
        keys: Of the backup.
        snapshot: Its digest.
        beside: What is kept of the Vault that is overwritten.
        source: Where the backup is.
    """
    # By name, so that the folder can be moved; but for what is where a link leads.
    names = {
        what: path.name if path.parent == directory else str(path)
        for what, path in vars(beside).items()
        if path is not None
    }
    content = {**keys.keyring.to_json(way.parent), _OF: snapshot, SOURCE: source, _KEPT: names}
    files.write_private(way, json.dumps(content, indent=2) + "\n")


def _kept_before(way: Path, directory: Path) -> _Beside:
    """What the run that was ended has kept, which nobody was told; an earlier release noted none.

    Args:
        way: What it has noted.
        directory: Where the keyring is.
    """
    names = json.loads(way.read_text()).get(_KEPT) or {}
    found = {what: directory / names[what] for what in vars(_Beside()) if what in names}
    return _Beside(**{what: path for what, path in found.items() if path.exists()})


def _on_the_way(way: Path, keys: Keys, snapshot: str) -> tuple[Keyring | None, bool]:
    """What a restore of that Vault that was ended half-way has noted.

    Two backups of one Vault may have other root tokens, or none: its keys tell which Vault it is.

    Returns:
        The keyring of that backup, None if there is none, or one of another Vault; and whether its
        snapshot is this one. An earlier release noted none, and was sure of the keyring alone.
    """
    noted = Keyring.load(way) if way.exists() else None
    if noted is None or noted.keys != keys.keyring.keys:
        return None, False
    of = json.loads(way.read_text()).get(_OF)
    return noted, of == snapshot if of else noted == keys.keyring


def _acting_on_what_is_here(
    nodes: Sequence[Operator], present: Keyring, keys: Keys, keyring_path: Path
) -> Operator:
    """Who may act before the snapshot is put in, at nodes that are opened for that.

    Raises:
        KeyringMissing: No token is good.
        OperatorError: The keys that are here open nothing, or Vault does not answer.
        DeadlineExceeded: Not all nodes serve in time.
    """
    try:
        leader = cluster.unseal_all(nodes, present, timeout=RESTORE_SECONDS)
        return _acting(leader, present, keys, keyring_path.parent)
    except (OperatorError, KeyringMissing) as error:
        raise _another_first(error, keyring_path, keys) from None


def _acting(leader: Operator, present: Keyring, keys: Keys, directory: Path) -> Operator:
    """Who may act before the snapshot is put in.

    Where the backup's own Vault took it and nobody noted that, since the answer was lost, the
    tokens of after the backup are no more, and the backup's are good.

    Raises:
        KeyringMissing: No token is good.
        OperatorError: Vault does not answer.
    """
    try:
        return standing_operator(leader.address, present, directory, ca_cert=leader.ca_cert)
    except KeyringMissing:
        for token in (keys.keyring.root_token, keys.operator_token):
            if lives(leader, token):
                return leader.with_token(token)
        raise


def _another_first(error: HarnessError, keyring_path: Path, keys: Keys) -> HarnessError:
    """The error of keys that open nothing; with what ends that where another backup is half in."""
    unfinished = unfinished_restore(keyring_path)
    if unfinished is None or unfinished.keys_here or unfinished.is_of(keys.keyring):
        return error
    return type(error)(
        f"{error.cause}; a restore of another backup was ended half-way, and its keys are not here "
        "yet",
        looked_at=f"{error.looked_at}; {unfinished.note}",
        remedy=f"{unfinished.remedy}; and then this, with --overwrite",
    )


def _let_catch_up(nodes: Sequence[Operator], keys: Keys, contents: Contents) -> None:
    """Wait for a node that was away when the leader took the snapshot, if it has taken it.

    It gets it with the certificates that the nodes still go by; after a start of the others they
    have the backup's, and it cannot come back to them.
    """
    leader = cluster.find_leader(nodes)
    if leader is not None and is_restored([leader], keys, contents.vault):
        with contextlib.suppress(DeadlineExceeded):  # who is left behind is told at the end
            await_on_all(nodes, keys, contents.vault)


def _open(nodes: Sequence[Operator], keys: Keys) -> Operator:
    """Unseal every node with the backup's keys, and again what sealed itself late; the active one.

    Raises:
        DeadlineExceeded: Not all serve in time.
    """
    deadline = time.monotonic() + RESTORE_SECONDS
    while True:
        try:
            return cluster.unseal_all(nodes, keys.keyring, timeout=SETTLE_SECONDS)
        except DeadlineExceeded:
            if time.monotonic() >= deadline:
                raise


def _compare_all(acting: Operator, nodes: Sequence[Operator], contents: Contents) -> Comparison:
    """Against the backup, through the leader and then through each other node as it catches up."""
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


def _answered(node: Operator, contents: Contents, wanted: Comparison | None = None) -> Comparison:
    """What a node has, once that is what the leader has, or time is up.

    A cluster that was opened a moment ago may choose its leader anew. A node that leads no more
    sends on what it is asked, and until it knows to whom it refuses.
    """
    deadline = time.monotonic() + CATCH_UP_SECONDS
    awaited = Awaited(f"{node.address} to have all secrets of the backup", CATCH_UP_SECONDS)
    while True:
        error: OperatorError | None = None
        try:
            found = compare(node, contents)
            if wanted is None or found == wanted:
                return found
        except OperatorError as refused:  # it does not know the token yet, or the leader
            error = refused
        awaited.still()
        if time.monotonic() >= deadline:
            if error is not None:
                raise error
            return found
        time.sleep(POLL_SECONDS)  # between two looks, bounded by the deadline


def _keep_snapshot(root: Operator, keyring_path: Path) -> Path:
    """What is about to be overwritten, beside the keyring that opens it; it overwrites nothing.

    Raises:
        OperatorError: The server's answer is not whole: it would be the only copy.
    """
    snapshot = take_snapshot(root)
    try:
        check_snapshot(snapshot, source=f"{root.address}/v1/sys/storage/raft/snapshot")
    except HarnessError as error:
        raise OperatorError(
            f"what this Vault has could not be kept, so that it was not overwritten: {error.cause}",
            looked_at=error.looked_at,
            remedy=f"this again; if it stays so, look at the server's log ({named('logs')})",
        ) from None
    name = f"{keyring_path.name}.{time.strftime('%Y%m%d-%H%M%S')}"
    path = keyring_path.with_name(f"{name}.snap")
    # A clock that is set back, as in autumn, comes by the same second again.
    for number in itertools.count(1):
        if not os.path.lexists(path):
            break
        path = keyring_path.with_name(f"{name}.{number}.snap")
    files.write_private(path, snapshot)
    return path


def _check_seal(nodes: Sequence[Operator], keys: Keys, data_dir: Path) -> None:
    """A snapshot is opened by the seal that it was taken from, with its key, and by no other."""
    op = nodes[0]
    status = op.seal_status()
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


def _not_empty(op: Operator, there: Sequence[str]) -> StackError:
    more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
    return StackError(
        "this Vault is not empty, a restore would replace what it has; nothing was changed",
        looked_at=f"{op.address}: {', '.join(there[:_NAMED])}{more}",
        remedy="Restore into a stack of its own: HARNESS_DATA_DIR=FOLDER for both "
        f"`{named('up')}` and this. Or give --overwrite: what is here stays beside it, as a "
        "snapshot with its keys.",
    )
