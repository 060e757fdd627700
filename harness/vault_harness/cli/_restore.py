"""The tasks of putting backups back: all of Vault, or its keys alone."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli._backup_options import KEYRING_HELP, OPENERS, chosen, opener_of
from vault_harness.cli._command import command
from vault_harness.cli._common import local_stack, vault_without_token
from vault_harness.cli._console import plural, say
from vault_harness.commands import named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault_harness.stack import LocalStack
    from vault_harness.vault import Operator
    from vault_harness.vault.backup import Comparison, Keys, SealKeyRestored


@command(
    "restore.now",
    group="operator",
    default=True,
    examples=(
        "restore --source FOLDER --identity backup-key.txt",
        "restore --identity backup-key.txt --dry-run",
    ),
    iterable=["identity"],
    help={
        **OPENERS,
        "keyring": KEYRING_HELP,
        "overwrite": "replace what this Vault has; without it only an empty one is restored into",
        "dry-run": "open and check the backup, change nothing",
    },
)
def now(
    identity: list[str] | None = None,
    source: str | None = None,
    passphrase_file: str | None = None,
    keyring: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> None:
    """Put a backup into an empty stack.

    Every secret is compared afterwards, of a cluster through each node. It is unsealed with the
    backup's own keys; for a Vault that unseals itself another server tries first whether the seal's
    key opens the backup. Ended half-way, the same command goes on.
    """
    from vault_harness.errors import HarnessError
    from vault_harness.interrupts import telling_what_is_left
    from vault_harness.stack import rehearse_on
    from vault_harness.vault import cluster
    from vault_harness.vault.backup import SNAPSHOT, TokensEnded, keyring_on_the_way
    from vault_harness.vault.backup import restore as put_back

    stack = local_stack()
    found = chosen(source, None, SNAPSHOT)
    opener = opener_of(identity, passphrase_file)
    snapshot, contents = found.open_snapshot(opener)
    opened = found.open_keys(opener, file=Path(keyring) if keyring else None)
    say(f"{found.directory} opens and is whole: {plural(len(contents.secrets), 'secret')}")
    if dry_run:
        say(f"would put it into {stack.restorable().vault} and its keys into {stack.keyring_path}")
        return
    with stack.held():
        there = stack.restorable()
        stack.prepare_seal()  # servers are ended on the way, and another one tries its key before
        way = keyring_on_the_way(stack.keyring_path)
        left = "the backup may be in place, and is not of use yet: the same command goes on"
        with (
            # Errors say it themselves: what is there may be another backup's, and this is refused.
            telling_what_is_left(lambda: left if way.exists() else "", but=(HarnessError,)),
            cluster.operators(there.addresses, ca_cert=there.ca_cert) as nodes,
        ):
            try:
                done = put_back(
                    nodes,
                    stack.keyring_path,
                    snapshot,
                    contents,
                    opened,
                    overwrite=overwrite,
                    source=str(found.directory.absolute()),
                    rehearse=lambda: rehearse_on(stack, snapshot, contents, opened),
                    restart=stack.provider().restart_vault,
                    remake=lambda addresses: _remake(stack, addresses),
                )
            except TokensEnded:
                stack.open_nodes()
                raise
        stack.open_nodes()  # clients are led to whoever leads now
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
    seed, doctor = named("seed"), named("doctor")
    say(f"next: {seed}, which writes new credentials for the services, then {doctor}")
    if done.secret_ids:
        count = sum(done.secret_ids.values())
        say(f"{plural(count, 'secret-id')} from before the loss are good again. If a machine that")
        end = named("rotate.secret-id", "--all", "--end-others")
        say(f"had one is in other hands: {end}")
    if done.comparison.different:
        raise SystemExit(1)


def _remake(stack: LocalStack, addresses: Sequence[str]) -> None:
    """Make nodes anew that a power failure has left with other data than the others have."""
    from vault_harness.stack import Nodes

    for name, kept in Nodes(stack).make_anew(addresses).items():
        say(f"{name} is made anew of what the others have; what it had: {kept}")


@command(
    "restore.keys",
    group="operator",
    examples=("restore.keys --source FOLDER --identity backup-key.txt",),
    iterable=["identity"],
    help={
        **OPENERS,
        "source": "the folder of one backup, or a keyring.age; default the newest one that has it",
        "overwrite": "replace another keyring or seal key that is there; it is kept beside",
        "seal-key": "only the key of a static seal, into a new folder that is to be restored into",
        "dry-run": "open and check the backup, change nothing",
    },
)
def keys(
    identity: list[str] | None = None,
    source: str | None = None,
    passphrase_file: str | None = None,
    overwrite: bool = False,
    seal_key: bool = False,
    dry_run: bool = False,
) -> None:
    """Put the unseal keys of a backup back.

    Into vault-data/init.json, where the tasks look for them. The key of a static seal goes into
    vault-data/seal.
    """
    from vault_harness.vault import cluster
    from vault_harness.vault.backup import KEYRING, open_keys_file
    from vault_harness.vault.backup import restore_keys as put_back

    stack = local_stack()
    opener = opener_of(identity, passphrase_file)
    if source and Path(source).is_file():
        origin, opened = Path(source), open_keys_file(Path(source), opener)
    else:
        found = chosen(source, None, KEYRING, own=not seal_key)
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
        nodes: tuple[Operator, ...] = ()
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
        say("no Vault has taken them yet, so that nothing proves whose they are")
    doctor = named("doctor")
    say(f"next: {doctor}" if done.proven else f"next: {named('up')}, then {doctor}")


def _restore_seal_key(stack: LocalStack, keys: Keys, *, overwrite: bool, dry_run: bool) -> None:
    from vault_harness.errors import StackError
    from vault_harness.vault.backup import restore_seal_key

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
    """What became of the key of a static seal; nothing for other seals."""
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
