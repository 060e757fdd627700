"""Tasks that make, list and check backups."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.backup_options import (
    KEYRING_HELP,
    Locking,
    Opening,
    chosen,
    vault_here,
)
from vault_harness.cli.command import command
from vault_harness.cli.common import backups_dir, local_stack, seal_kind, warn_of_git, whole_server
from vault_harness.cli.printing import plural, say, say_json, table
from vault_harness.errors import SettingsError, named

if TYPE_CHECKING:
    from vault_harness.local.stack.local import LocalStack
    from vault_harness.operator.backup import Keys
from vault_harness.cli.restore import tell


@command(
    "backup.now",
    group="operator",
    default=True,
    examples=("backup.identity --out backup-key.txt", "backup --recipient age1..."),
)
def now(locking: Locking) -> None:
    """Take a snapshot of Vault and of its keys, encrypted.

    Snapshot and keyring (unseal keys and root token) are two files. The format is age
    (https://age-encryption.org), so `age -d` opens them without this project.

    A snapshot contains the whole server with all namespaces. A restore compares only the namespace
    in which the tasks work.
    """
    from vault_harness.operator.backup import make_backup

    stack = local_stack()
    whole_server(stack, "a snapshot is")
    lock = locking.lock()
    with stack.held(), closing(stack.operator()) as op:
        directory, mounts = backups_dir(stack, locking.to), stack.blueprint().mounts
        if locking.dry_run:
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
)
def keys(locking: Locking) -> None:
    """Back up the unseal keys alone.

    This also works while Vault is sealed or stopped.
    """
    from vault_harness.operator.backup import backup_keys as take

    stack = local_stack()
    lock = locking.lock()
    directory = backups_dir(stack, locking.to)
    with stack.held():
        present = keys_here(stack)
        if locking.dry_run:
            say(f"would write {stack.keyring_path} to {directory}, locked with {lock.kind}")
            return
        made = take(present, directory, lock, vault=vault_here(stack))
    kind = "unseal" if present.keyring.kind == "shamir" else "recovery"
    say(f"{made.directory}: the {kind} keys, locked with {lock.kind}")
    warn_of_git(made.directory, "the backup", pattern=f"{made.directory.parent.name}/")
    _say_seal_key(stack, present)


@command(
    "backup.list",
    group="operator",
    examples=("backup.list", "backup.list --json"),
    fields=("to",),
    help={"json": "for programs"},
)
def list_(opening: Opening, json: bool = False) -> None:
    """Show the existing backups, newest first."""
    from vault_harness.operator.backup import SNAPSHOT, list_backups

    directory = backups_dir(local_stack(), opening.to)
    found = list_backups(directory)
    if json:
        say_json([asdict(each) for each in found])
        return
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
    help={
        "passphrase-file": "a file with the passphrase; else HARNESS_BACKUP_PASSPHRASE. Without "
        "either, and without --identity, only checksums are checked",
        "keyring": KEYRING_HELP,
    },
)
def verify(opening: Opening, keyring: str | None = None) -> None:
    """Check that a backup is whole.

    This always checks the checksums. With a key or a passphrase it also checks that the backup
    opens.
    """
    from vault_harness.operator.backup import KEYRING, PASSPHRASE_VARIABLE, SNAPSHOT

    found = chosen(opening)
    elsewhere = Path(keyring) if keyring else None
    away = found.check_files(keyring=elsewhere)
    here = len(found.checksums) - len(away)
    say(f"{found.directory}: {plural(here, 'part')}, checksums are right")
    if found.vault and vault_here(local_stack()) not in {"", found.vault}:
        say("it belongs to another Vault than the one here")
    for part in away:
        say(f"not checked: {part}, which is kept in another place")
    key = opening.identity or opening.passphrase_file or os.environ.get(PASSPHRASE_VARIABLE)
    if not key:
        say("to check that it opens too, give --identity or --passphrase-file")
        return
    opener = opening.opener()
    if found.has(SNAPSHOT):
        _, contents = found.open_snapshot(opener)
        say(f"the snapshot opens and is whole: {plural(len(contents.secrets), 'secret')}")
    if found.has(KEYRING) or keyring:
        opened = found.open_keys(opener, file=elsewhere)
        say(f"the keyring opens: {plural(len(opened.keyring.keys), 'unseal key')}")


@command(
    "backup.identity",
    group="operator",
    examples=("backup.identity --out backup-key.txt",),
    help={"out": "where the private key goes, mode 0600; must not exist"},
)
def identity(out: str) -> None:
    """Make a key pair for backups.

    The private key goes into a file, and the public key is printed.
    """
    from vault_harness import files
    from vault_harness.operator.backup import new_identity

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
    from vault_harness.local.vault.keyring import Keyring
    from vault_harness.local.vault.tokens import operator_token
    from vault_harness.operator.backup import Keys

    stack.migrations.check_settled()
    stack.check_restored()
    return Keys(
        Keyring.load(stack.keyring_path), operator_token(stack.data_dir), stack.static_key()
    )


def _say_seal_key(stack: LocalStack, keys: Keys) -> None:
    """Report whether the backup holds the key that unseals this Vault."""
    from vault_harness.local.engine.provider import HOLDER_NAME
    from vault_harness.local.engine.seal import CLOUD_SEALS, seal_stanza

    if keys.static_key:
        say("with the key of the static seal, without which the recovery keys open nothing")
    elif "transit" in seal_stanza(stack.data_dir):
        say("NOT in it: the seal's key, without which neither snapshot nor recovery keys open")
        holder = stack.data_dir / HOLDER_NAME
        say(f"anything; the Vault in {holder} gives it to nobody: copy that folder while it is")
        say(f"{named('down')}, and keep the copy in another place than the backups")
    elif not {*CLOUD_SEALS}.isdisjoint(seal_stanza(stack.data_dir)):
        say("NOT in it: the seal's key, without which neither snapshot nor recovery keys open")
        say("anything; the cloud has it: make sure that nobody deletes it there")


@command(
    "drill",
    group="operator",
    examples=("drill", "drill --keep exercise/", "drill --seal static"),
    help={
        "keep": "leave the exercise's files in this folder instead of removing them",
        "seal": "then migrate the copy's seal to this one and back: shamir, static, transit, "
        "awskms, azurekeyvault",
    },
)
def drill(keep: str | None = None, seal: str | None = None) -> None:
    """Exercise a disaster with a copy of Vault.

    The drill takes a backup, starts a new Vault elsewhere (as many nodes as there are; one with
    --seal), restores the backup and compares all secrets. The running Vault is only read. Roles log
    in to the copy. The drill prints how long a recovery would take.

    With --seal it also migrates the copy's seal there and back, and compares all secrets under each
    seal.
    """
    from vault_harness import files
    from vault_harness.local.engine.choice import open_engine
    from vault_harness.local.engine.folders import run_directory
    from vault_harness.local.engine.seal import seal_stanza
    from vault_harness.operator.backup import backup_name
    from vault_harness.operator.backup import drill as exercise
    from vault_harness.operator.backup.seal_drill import SealDrill, let_copy_reach_key, needs_world

    stack = local_stack()
    target = seal_kind(seal) if seal else None
    present = seal_stanza(stack.data_dir)
    with run_directory() as temporary:
        directory = Path(keep).absolute() / backup_name() if keep else temporary
        files.make_private(directory)
        if keep:  # git must never take an unfinished exercise
            files.keep_from_git(directory)
            say(f"{directory} will hold this Vault's unseal keys and tokens in plain text,")
            say(f"like {stack.data_dir}: keep it as safe, and remove it when you are done")
        with (
            stack.held(),
            closing(stack.operator()) as op,
            open_engine(
                stack.settings.model_copy(update={"engine": stack.provider().name}),
                directory=temporary / "engine",
                outward=needs_world(present, [target] if target else []),
            ) as engine,
        ):
            let_copy_reach_key(engine, stack.provider(), present)
            then = None
            if target is not None:
                then = SealDrill(
                    engine=engine, target=target, directory=directory / "seal", say=say
                )
                then.check(next(iter(present), "shamir"))
            report = exercise(
                op,
                keys_here(stack),
                engine,
                stack.blueprint(),
                directory,
                seal=present,
                nodes=len(stack.endpoints().nodes) if then is None else 1,
                say=say,
                then=then,
            )
    say()
    say(table([(step, f"{seconds:7.2f} s") for step, seconds in report.steps]))
    if report.comparison is not None:
        tell(report.comparison)
    for kind, found in report.seals.items():
        say(f"{plural(found.same, 'secret')} the same under the seal {kind}")
    say(f"AppRoles that logged in: {', '.join(report.logins) or 'none'}")
    say(f"from the loss to a Vault that serves: {report.seconds_to_recover:.1f} s")
    if report.problems:
        for problem in report.problems:
            say(f"problem: {problem}")
        raise SystemExit(1)
    say("the backup would have saved the day")
