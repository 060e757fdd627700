"""Restore a backup, or its keys alone."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.backup_options import IN_ONE_FOLDER, KEYRING_HELP, Opening, chosen
from vault_harness.cli.command import command
from vault_harness.cli.common import local_stack, vault_without_token
from vault_harness.cli.printing import plural, say
from vault_harness.errors import HarnessError, StackError, named
from vault_harness.interrupts import telling_what_is_left

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vault_harness.local.stack.local import LocalStack
    from vault_harness.local.vault.admin import VaultAdmin
    from vault_harness.operator.backup import Comparison, Keys, Opened, Restored, SealKeyRestored


@command(
    "restore.now",
    group="operator",
    default=True,
    examples=(
        "restore --source FOLDER --identity backup-key.txt",
        "restore --identity backup-key.txt --dry-run",
    ),
    fields=IN_ONE_FOLDER,
    help={
        "keyring": KEYRING_HELP,
        "overwrite": "replace this Vault's content; without it only an empty Vault is restored",
        "dry-run": "open and check the backup, change nothing",
    },
)
def now(
    opening: Opening,
    keyring: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> None:
    """Restore a backup into an empty stack.

    Afterwards every secret is compared, through each node of a cluster. Vault is unsealed with the
    backup's own keys. For a Vault that unseals itself, another server first tests whether the
    seal's key opens the backup. After an interruption, the same command goes on.
    """
    from vault_harness.operator.backup import SNAPSHOT

    stack = local_stack()
    found = chosen(opening, SNAPSHOT)
    opener = opening.opener()
    file = Path(keyring) if keyring else None
    opened = found.open(opener, keyring=file)
    say(f"{found.directory} opens and is whole: {plural(len(opened.contents.secrets), 'secret')}")
    if dry_run:
        say(f"would put it into {stack.restorable().vault} and its keys into {stack.keyring_path}")
        return
    done = put_into(stack, opened, overwrite=overwrite)
    seed, doctor = named("seed"), named("doctor")
    say(f"next: {seed}, which writes new credentials for the services, then {doctor}")
    if done.secret_ids:
        count = sum(done.secret_ids.values())
        say(f"{plural(count, 'secret-id')} from before the loss are valid again. If a machine that")
        end = named("rotate.secret-id", "--all", "--end-others")
        say(f"had one is lost or stolen: {end}")
    if done.comparison.different:
        raise SystemExit(1)


def put_into(
    stack: LocalStack,
    opened: Opened,
    *,
    overwrite: bool,
    checkpoint: Callable[[str], None] = lambda _step: None,
) -> Restored:
    """Restore an opened backup into the running stack, compare it, and say what was done.

    After an interruption, the same call goes on.
    """
    from vault_harness.local.vault import cluster
    from vault_harness.operator.backup import TokensEnded, unfinished_keyring
    from vault_harness.operator.backup import restore as put_back
    from vault_harness.operator.backup.seal_drill import rehearse_on

    with stack.held():
        there = stack.restorable()
        stack.prepare_seal()  # servers are stopped on the way, and another one tests its key first
        way = unfinished_keyring(stack.keyring_path)
        left = "the restore is not finished: run the same command again to go on"
        with (
            # Errors say how to go on: the state may be another backup's, and this one is refused.
            telling_what_is_left(lambda: left if way.exists() else "", but=(HarnessError,)),
            cluster.operators(there.addresses, ca_cert=there.ca_cert) as nodes,
        ):
            try:
                done = put_back(
                    nodes,
                    stack.keyring_path,
                    opened,
                    overwrite=overwrite,
                    rehearse=lambda: rehearse_on(stack, opened),
                    restart=stack.provider().restart_vault,
                    remake=lambda addresses: _remake(stack, addresses),
                    checkpoint=checkpoint,
                )
            except TokensEnded:
                stack.open_nodes()
                raise
        stack.open_nodes()  # clients are led to the current leader
    tell(done.comparison)
    if done.nodes > 1:
        say(f"compared through each of {done.nodes} nodes")
    say(f"restored in {done.seconds:.1f} s")
    if done.kept is not None:
        say(f"the keyring of what was here before: {done.kept}")
    if done.kept_token is not None:
        say(f"the operator's token of what was here before: {done.kept_token}")
    if done.overwritten is not None:
        say(f"what was here before, as a raft snapshot: {done.overwritten}")
    return done


def _remake(stack: LocalStack, addresses: Sequence[str]) -> None:
    """Rebuild nodes that a power failure has left with other data than the others."""
    from vault_harness.local.stack.nodes import Nodes

    for name, kept in Nodes(stack).rebuild(addresses).items():
        say(f"{name} was rebuilt from the others' data; its old data: {kept}")


@command(
    "restore.keys",
    group="operator",
    examples=("restore.keys --source FOLDER --identity backup-key.txt",),
    fields=IN_ONE_FOLDER,
    help={
        "source": "the folder of a backup, or a keyring.age; default the newest backup with it",
        "overwrite": "replace an existing keyring or seal key; the old one is kept beside it",
        "seal-key": "only the key of a static seal, into a new folder, before a restore there",
        "dry-run": "open and check the backup, change nothing",
    },
)
def keys(
    opening: Opening,
    overwrite: bool = False,
    seal_key: bool = False,
    dry_run: bool = False,
) -> None:
    """Restore the unseal keys of a backup.

    They go into vault-data/init.json, where the tasks look for them. The key of a static seal goes
    into vault-data/seal.
    """
    from vault_harness.local.vault import cluster
    from vault_harness.operator.backup import KEYRING, open_keys_file
    from vault_harness.operator.backup import restore_keys as put_back

    stack = local_stack()
    opener = opening.opener()
    if opening.source and Path(opening.source).is_file():
        origin = Path(opening.source)
        opened = open_keys_file(origin, opener)
    else:
        found = chosen(opening, KEYRING, own=not seal_key)
        origin, opened = found.directory, found.open_keys(opener)
    if seal_key:
        _restore_seal_key(stack, opened, overwrite=overwrite, dry_run=dry_run)
        return
    if dry_run:
        count = plural(len(opened.keyring.keys), "unseal key")
        say(f"would write {count} of {origin} to {stack.keyring_path}")
        return
    with contextlib.ExitStack() as held:
        held.enter_context(stack.held())
        nodes: tuple[VaultAdmin, ...] = ()
        if held.enter_context(vault_without_token(stack)) is not None:
            there = stack.endpoints()
            nodes = held.enter_context(cluster.operators(there.addresses, ca_cert=there.ca_cert))
        done = put_back(opened, stack.keyring_path, nodes=nodes, overwrite=overwrite)
    say(f"{plural(len(opened.keyring.keys), 'unseal key')} of {origin} in {stack.keyring_path}")
    if done.kept is not None:
        say(f"what was there before: {done.kept}")
    if done.kept_token is not None:
        say(f"the operator's token that was there before: {done.kept_token}")
    _say_restored(done.seal)
    if done.unsealed:
        say("they opened this Vault, which was sealed")
    elif done.proven:
        say("they are this Vault's")
    else:
        say("no Vault has accepted them yet, so nothing proves which Vault they open")
    doctor = named("doctor")
    say(f"next: {doctor}" if done.proven else f"next: {named('up')}, then {doctor}")


def _restore_seal_key(stack: LocalStack, keys: Keys, *, overwrite: bool, dry_run: bool) -> None:
    from vault_harness.operator.backup import restore_seal_key

    with contextlib.nullcontext() if dry_run else stack.held():
        done = restore_seal_key(keys, stack.data_dir, overwrite=overwrite, dry_run=dry_run)
    if done.action in {"none", "left"}:
        raise StackError(
            "this backup has no key of a seal"
            if done.action == "none"
            else "another key of a static seal is there",
            looked_at=str(done.path),
            remedy=f"take another backup: {named('backup.list')} shows them"
            if done.action == "none"
            else "give --overwrite, which keeps it beside, or name a new folder (HARNESS_DATA_DIR)",
        )
    if dry_run and done.action == "written":
        say(f"would write the key of the static seal to {done.path}")
        return
    _say_restored(done)
    say(f"next: {named('up', '--seal', 'static')}, then {named('restore')}")


def _say_restored(done: SealKeyRestored) -> None:
    words = {
        "written": f"the key of the static seal: {done.path}",
        "there": f"the key of the static seal is there: {done.path}",
        "left": f"another key of a static seal is there and stays, unless with --overwrite: "
        f"{done.path}",
    }
    if done.action in words:
        say(words[done.action])
    if done.kept is not None:
        say(f"the one that was there before: {done.kept}")


def tell(comparison: Comparison) -> None:
    say(f"{plural(comparison.same, 'secret')} the same as in the backup")
    for line in comparison.different:
        say(f"different: {line}")
