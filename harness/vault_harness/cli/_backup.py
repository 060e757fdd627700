"""The tasks of making backups, and of looking at those that are there."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli._backup_options import (
    KEYRING_HELP,
    LOCKS,
    OPENERS,
    chosen,
    lock_of,
    opener_of,
    vault_here,
)
from vault_harness.cli._command import command
from vault_harness.cli._common import backups_dir, local_stack, whole_server
from vault_harness.cli._console import plural, say, table
from vault_harness.cli._git import warn_of_git
from vault_harness.commands import named

if TYPE_CHECKING:
    from vault_harness.stack import LocalStack
    from vault_harness.vault.backup import Keys


@command(
    "backup.now",
    group="operator",
    default=True,
    examples=("backup.identity --out backup-key.txt", "backup --recipient age1..."),
    iterable=["recipient"],
    help=LOCKS,
)
def now(
    recipient: list[str] | None = None,
    to: str | None = None,
    passphrase_file: str | None = None,
    dry_run: bool = False,
) -> None:
    """Take a snapshot of Vault and of its keys, encrypted.

    Each on its own. The keys are the keyring: unseal keys and root token. The format is age
    (https://age-encryption.org): `age -d` opens it without this project too.

    A snapshot is of the whole server, with all of its namespaces; what is compared after a restore
    is the one that the tasks work in.
    """
    from vault_harness.vault.backup import make_backup

    stack = local_stack()
    whole_server(stack, "a snapshot is")
    lock = lock_of(recipient, passphrase_file)
    with stack.held(), closing(stack.operator()) as op:
        directory, mounts = backups_dir(stack, to), stack.blueprint().mounts
        if dry_run:
            say(f"would write a snapshot of {op.address} and its keyring to {directory},")
            say(f"locked with {lock.kind}, comparing {', '.join(f'{m}/' for m in mounts)} later")
            return
        present = keys_here(stack)
        made = make_backup(op, present, directory, lock, mounts=mounts)
    say(f"{made.directory}: {plural(made.secrets, 'secret')}, locked with {made.locked_with}")
    _say_seal_key(stack, present)
    say("keep keyring.age in another place than snapshot.age; --keyring says where it is")
    warn_of_git(made.directory, "the backup", pattern=f"{made.directory.parent.name}/")
    say(f"next: {named('backup.verify')}; now and then {named('drill')}")


@command(
    "backup.keys",
    group="operator",
    examples=("backup.keys --recipient age1... --to /media/usb",),
    iterable=["recipient"],
    help=LOCKS,
)
def keys(
    recipient: list[str] | None = None,
    to: str | None = None,
    passphrase_file: str | None = None,
    dry_run: bool = False,
) -> None:
    """Back up the unseal keys alone.

    Works while Vault is sealed or away.
    """
    from vault_harness.vault.backup import backup_keys as take

    stack = local_stack()
    lock = lock_of(recipient, passphrase_file)
    directory = backups_dir(stack, to)
    with stack.held():
        present = keys_here(stack)
        if dry_run:
            say(f"would write {stack.keyring_path} to {directory}, locked with {lock.kind}")
            return
        made = take(present, directory, lock, vault=vault_here(stack))
    kind = "unseal" if present.keyring.kind == "shamir" else "recovery"
    say(f"{made.directory}: the {kind} keys, locked with {lock.kind}")
    warn_of_git(made.directory, "the backup", pattern=f"{made.directory.parent.name}/")
    _say_seal_key(stack, present)


@command("backup.list", group="operator", examples=("backup.list",), help={"to": LOCKS["to"]})
def list_(to: str | None = None) -> None:
    """Show the backups that are there, newest first."""
    from vault_harness.vault.backup import SNAPSHOT, list_backups

    directory = backups_dir(local_stack(), to)
    found = list_backups(directory)
    rows = [
        (
            str(each.directory),
            f"{each.made:%Y-%m-%d %H:%M} UTC",
            f"{each.secrets} secrets" if SNAPSHOT in each.checksums else "keys alone",
            f"locked with {each.locked_with}",
            f"of Vault {each.vault}" if each.vault else "",
            ", ".join(f"{part} is not here" for part in each.checksums if not each.has(part)),
        )
        for each in found
    ]
    say(table(rows) if rows else f"no backups in {directory}; make one: {named('backup')}")


@command(
    "backup.verify",
    group="operator",
    examples=("backup.verify", "backup.verify --identity backup-key.txt"),
    iterable=["identity"],
    help={
        **OPENERS,
        "passphrase-file": "a file with the passphrase; else HARNESS_BACKUP_PASSPHRASE. Without "
        "either, and without --identity, checksums alone are looked at",
        "to": LOCKS["to"],
        "keyring": KEYRING_HELP,
    },
)
def verify(
    identity: list[str] | None = None,
    source: str | None = None,
    to: str | None = None,
    passphrase_file: str | None = None,
    keyring: str | None = None,
) -> None:
    """Check that a backup is whole.

    Its checksums always; with a key or a passphrase also that it opens.
    """
    from vault_harness.vault.backup import KEYRING, PASSPHRASE_VARIABLE, SNAPSHOT

    found = chosen(source, to)
    elsewhere = Path(keyring) if keyring else None
    away = found.check_files(keyring=elsewhere)
    here = len(found.checksums) - len(away)
    say(f"{found.directory}: {plural(here, 'part')}, checksums are right")
    if found.vault and vault_here(local_stack()) not in {"", found.vault}:
        say("it is of another Vault than the one here")
    for part in away:
        say(f"not checked: {part}, which is kept in another place")
    if not identity and not passphrase_file and not os.environ.get(PASSPHRASE_VARIABLE):
        say("give --identity or --passphrase-file to see that it opens, too")
        return
    opener = opener_of(identity, passphrase_file)
    if found.has(SNAPSHOT):
        _, contents = found.open_snapshot(opener)
        say(f"the snapshot opens and is whole: {plural(len(contents.secrets), 'secret')}")
    if found.has(KEYRING) or keyring:
        opened = found.open_keys(opener, file=elsewhere)
        say(f"the keyring opens: {plural(len(opened.keyring.keys), 'unseal key')}")


@command(
    "backup.identity",
    group="operator",
    takes=("out",),
    needs=("out",),
    examples=("backup.identity --out backup-key.txt",),
    help={"out": "where the private key goes, mode 0600; must not exist"},
)
def identity(out: str | None = None) -> None:
    """Make a key pair for backups.

    The private key goes into a file, the public one is printed.
    """
    from vault_harness import files
    from vault_harness.errors import SettingsError
    from vault_harness.vault.backup import new_identity

    assert out is not None, "the command line asks for it"
    path = Path(out)
    if path.exists():
        raise SettingsError(
            f"{path} is there already", remedy="Choose another name; it is not overwritten."
        )
    private, public = new_identity()
    files.write_private(path, f"# public key: {public}\n{private}\n")
    say(f"private key: {path} (keep it away from the backups)")
    say(f"public key:  {public}")
    warn_of_git(path, "the private key")


def keys_here(stack: LocalStack) -> Keys:
    from vault_harness.vault import Keyring
    from vault_harness.vault.backup import Keys
    from vault_harness.vault.root import operator_token

    stack.check_settled()
    stack.check_restored()
    return Keys(
        Keyring.load(stack.keyring_path), operator_token(stack.data_dir), stack.static_key()
    )


def _say_seal_key(stack: LocalStack, keys: Keys) -> None:
    """Whether what unseals this Vault by itself is in the backup too."""
    from vault_harness.engine import CLOUD_SEALS, HOLDER_NAME, seal_stanza

    if keys.static_key:
        say("with the key of the static seal, without which the recovery keys open nothing")
    elif "transit" in seal_stanza(stack.data_dir):
        say("NOT in it: the seal's key, without which neither snapshot nor recovery keys open")
        holder = stack.data_dir / HOLDER_NAME
        say(f"anything; the Vault in {holder} gives it to nobody: copy that folder while it is")
        say(f"{named('down')}, and keep the copy in another place than the backups")
    elif not {*CLOUD_SEALS}.isdisjoint(seal_stanza(stack.data_dir)):
        say("NOT in it: the seal's key, without which neither snapshot nor recovery keys open")
        say("anything; a cloud has it: see that nobody deletes it there")
