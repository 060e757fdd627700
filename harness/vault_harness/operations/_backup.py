"""The tasks of backing up, restoring, and exercising both."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from vault_harness.console import guarded, say, table
from vault_harness.operations._common import backups_dir, local_stack, plural

if TYPE_CHECKING:
    from vault_harness.stack import LocalStack
    from vault_harness.vault.backup import Backup, Comparison, Keys, Lock, Opener

_LOCKS = {
    "to": "the folder that holds backups, default vault-backups beside the data directory",
    "recipient": "a public key (age1... or ssh-ed25519 ...), or a file of them; may be repeated",
    "passphrase-file": "a file with the passphrase; else HARNESS_BACKUP_PASSPHRASE, or asking",
    "dry-run": "show what would be done, change nothing",
}
_OPENERS = {
    "source": "the folder of one backup, default the newest one that has what is needed",
    "identity": "a file with the private key; may be repeated",
    "passphrase-file": "a file with the passphrase; else HARNESS_BACKUP_PASSPHRASE, or asking",
}
_KEYRING = "where keyring.age is, if it is kept in another place than the rest, as it should be"


@task(name="now", default=True, iterable=["recipient"], help=_LOCKS)
@guarded
def backup(
    context: Context,  # noqa: ARG001 -- invoke passes it to every task
    recipient: list[str],
    to: str | None = None,
    passphrase_file: str | None = None,
    dry_run: bool = False,
) -> None:
    """Take a snapshot of Vault and of its keys, each encrypted on its own.

    The format is age (https://age-encryption.org): `age -d` opens it without this project too.

    Example: invoke backup.identity --out backup-key.txt
             invoke backup --recipient age1...
    """
    from vault_harness.vault.backup import make_backup

    stack = local_stack()
    lock = _lock(recipient, passphrase_file)
    with stack.held(), closing(stack.operator()) as op:
        directory, mounts = backups_dir(stack, to), stack.blueprint().mounts
        if dry_run:
            say(f"would write a snapshot of {op.address} and its keyring to {directory},")
            say(f"locked with {lock.kind}, comparing {', '.join(f'{m}/' for m in mounts)} later")
            return
        made = make_backup(op, _keys(stack), directory, lock, mounts=mounts)
    say(f"{made.directory}: {plural(made.secrets, 'secret')}, locked with {made.locked_with}")
    say("keep keyring.age in another place than snapshot.age; --keyring says where it is")
    say("next: invoke backup.verify; now and then invoke drill")


@task(name="keys", iterable=["recipient"], help=_LOCKS)
@guarded
def backup_keys(
    context: Context,  # noqa: ARG001 -- as above
    recipient: list[str],
    to: str | None = None,
    passphrase_file: str | None = None,
    dry_run: bool = False,
) -> None:
    """Back up the unseal keys alone; works while Vault is sealed or away.

    Example: invoke backup.keys --recipient age1... --to /media/usb
    """
    from vault_harness.vault.backup import backup_keys as take

    stack = local_stack()
    lock = _lock(recipient, passphrase_file)
    directory = backups_dir(stack, to)
    with stack.held():
        keys = _keys(stack)
        if dry_run:
            say(f"would write {stack.keyring_path} to {directory}, locked with {lock.kind}")
            return
        made = take(keys, directory, lock, vault=_cluster_id(stack))
    say(f"{made.directory}: the unseal keys, locked with {lock.kind}")


@task(name="list", help={"to": _LOCKS["to"]})
@guarded
def backup_list(context: Context, to: str | None = None) -> None:  # noqa: ARG001 -- as above
    """Show the backups that are there, newest first.

    Example: invoke backup.list
    """
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
    say(table(rows) if rows else f"no backups in {directory}; make one: invoke backup")


@task(
    name="verify",
    iterable=["identity"],
    help={**_OPENERS, "to": _LOCKS["to"], "keyring": _KEYRING},
)
@guarded
def backup_verify(
    context: Context,  # noqa: ARG001 -- as above
    identity: list[str],
    source: str | None = None,
    to: str | None = None,
    passphrase_file: str | None = None,
    keyring: str | None = None,
) -> None:
    """Check a backup's checksums, and, with a key or passphrase, that it opens and is whole.

    Example: invoke backup.verify
             invoke backup.verify --identity backup-key.txt
    """
    from vault_harness.vault.backup import KEYRING, PASSPHRASE_VARIABLE, SNAPSHOT

    found = _chosen(source, to)
    away = [part for part in found.check_files() if not (part == KEYRING and keyring)]
    here = len(found.checksums) - len(away)
    say(f"{found.directory}: {plural(here, 'part')}, checksums are right")
    for part in away:
        say(f"not checked: {part}, which is kept in another place")
    if not identity and not passphrase_file and not os.environ.get(PASSPHRASE_VARIABLE):
        say("give --identity or --passphrase-file to see that it opens, too")
        return
    opener = _opener(identity, passphrase_file)
    if found.has(SNAPSHOT):
        _, contents = found.open_snapshot(opener)
        say(f"the snapshot opens and is whole: {plural(len(contents.secrets), 'secret')}")
    if found.has(KEYRING) or keyring:
        keys = found.open_keys(opener, file=Path(keyring) if keyring else None)
        say(f"the keyring opens: {plural(len(keys.keyring.keys), 'unseal key')}")


@task(name="identity", help={"out": "where the private key goes, mode 0600; must not exist"})
@guarded
def backup_identity(context: Context, out: str) -> None:  # noqa: ARG001 -- as above
    """Make a key pair for backups: the private key into a file, the public one is printed.

    Example: invoke backup.identity --out backup-key.txt
    """
    from vault_harness import files
    from vault_harness.errors import SettingsError
    from vault_harness.vault.backup import new_identity

    path = Path(out)
    if path.exists():
        raise SettingsError(
            f"{path} is there already", remedy="Choose another name; it is not overwritten."
        )
    private, public = new_identity()
    files.write_private(path, f"# public key: {public}\n{private}\n")
    say(f"private key: {path} (keep it away from the backups)")
    say(f"public key:  {public}")


@task(
    name="now",
    default=True,
    iterable=["identity"],
    help={
        **_OPENERS,
        "keyring": _KEYRING,
        "overwrite": "replace what this Vault has; without it only an empty one is restored into",
        "dry-run": "open and check the backup, change nothing",
    },
)
@guarded
def restore(
    context: Context,  # noqa: ARG001 -- as above
    identity: list[str],
    source: str | None = None,
    passphrase_file: str | None = None,
    keyring: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> None:
    """Put a backup into an empty stack, unseal it with the backup's keys, compare every secret.

    Ended half-way, the same command goes on.

    Example: invoke up
             invoke restore --source vault-backups/20260101T120000Z --identity backup-key.txt
    """
    from vault_harness.vault import Operator
    from vault_harness.vault.backup import SNAPSHOT
    from vault_harness.vault.backup import restore as put_back

    stack = local_stack()
    found = _chosen(source, None, SNAPSHOT)
    opener = _opener(identity, passphrase_file)
    snapshot, contents = found.open_snapshot(opener)
    keys = found.open_keys(opener, file=Path(keyring) if keyring else None)
    say(f"{found.directory} opens and is whole: {plural(len(contents.secrets), 'secret')}")
    if dry_run:
        say(f"would put it into {stack.endpoints().vault} and its keys into {stack.keyring_path}")
        return
    with stack.held(), closing(Operator(stack.endpoints().vault)) as op:
        done = put_back(op, stack.keyring_path, snapshot, contents, keys, overwrite=overwrite)
    _tell(done.comparison)
    say(f"restored in {done.seconds:.1f} s")
    if done.kept is not None:
        say(f"the keyring of what was here before: {done.kept}")
    say("next: invoke seed, which writes new credentials for the services, then invoke doctor")
    if done.secret_ids:
        count = sum(done.secret_ids.values())
        say(f"{plural(count, 'secret-id')} from before the loss are good again. If a machine that")
        say("had one is in other hands: invoke rotate.secret-id --all --end-others")
    if done.comparison.different:
        raise SystemExit(1)


@task(
    name="keys",
    iterable=["identity"],
    help={
        **_OPENERS,
        "source": "the folder of one backup, or a keyring.age; default the newest one that has it",
        "overwrite": "replace another keyring that is there; it is kept beside the new one",
        "dry-run": "open and check the backup, change nothing",
    },
)
@guarded
def restore_keys(
    context: Context,  # noqa: ARG001 -- as above
    identity: list[str],
    source: str | None = None,
    passphrase_file: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> None:
    """Put the unseal keys of a backup back where the tasks look for them.

    Example: invoke restore.keys --source vault-backups/20260101T120000Z --identity backup-key.txt
    """
    from vault_harness.vault import Operator
    from vault_harness.vault.backup import KEYRING, open_keys_file
    from vault_harness.vault.backup import restore_keys as put_back

    stack = local_stack()
    opener = _opener(identity, passphrase_file)
    if source and Path(source).is_file():
        keys = open_keys_file(Path(source), opener)
    else:
        keys = _chosen(source, None, KEYRING).open_keys(opener)
    if dry_run:
        say(f"would write {plural(len(keys.keyring.keys), 'unseal key')} to {stack.keyring_path}")
        return
    with stack.held():
        address = _address(stack)
        with closing(Operator(address)) if address else nullcontext() as op:
            done = put_back(keys, stack.keyring_path, op=op, overwrite=overwrite)
    say(f"{plural(len(keys.keyring.keys), 'unseal key')} in {stack.keyring_path}")
    if done.kept is not None:
        say(f"what was there before: {done.kept}")
    if done.unsealed:
        say("they opened this Vault, which was sealed")
    elif done.proven:
        say("they are this Vault's")
    say("next: invoke doctor" if done.proven else "next: invoke up, then invoke doctor")


@task(help={"keep": "leave the exercise's files in this folder instead of removing them"})
@guarded
def drill(context: Context, keep: str | None = None) -> None:  # noqa: ARG001 -- as above
    """Exercise a disaster with a copy: back up, start anew elsewhere, restore, compare, log in.

    The running Vault is only read. Prints how long recovery would take.

    Example: invoke drill
    """
    import tempfile

    from vault_harness.engine import open_engine
    from vault_harness.vault.backup import backup_name
    from vault_harness.vault.backup import drill as exercise

    stack = local_stack()
    with tempfile.TemporaryDirectory(prefix="vault-drill-") as temporary:
        directory = Path(keep).absolute() / backup_name() if keep else Path(temporary)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (
            stack.held(),
            closing(stack.operator()) as op,
            open_engine(stack.settings, directory=directory / "engine") as engine,
        ):
            report = exercise(op, _keys(stack), engine, stack.blueprint(), directory, say=say)
    say()
    say(table([(step, f"{seconds:7.2f} s") for step, seconds in report.steps]))
    if report.comparison is not None:
        _tell(report.comparison)
    say(f"AppRoles that logged in: {', '.join(report.logins) or 'none'}")
    say(f"from the loss to a Vault that serves: {report.seconds_to_recover:.1f} s")
    if report.problems:
        for problem in report.problems:
            say(f"problem: {problem}")
        raise SystemExit(1)
    say("the backup would have saved the day")


def _keys(stack: LocalStack) -> Keys:
    from vault_harness.vault import Keyring
    from vault_harness.vault.backup import Keys
    from vault_harness.vault.root import operator_token

    return Keys(Keyring.load(stack.keyring_path), operator_token(stack.data_dir))


def _address(stack: LocalStack) -> str | None:
    """Where Vault is, or None if it does not run."""
    from vault_harness.errors import NotUp

    try:
        return stack.endpoints().vault
    except NotUp:
        return None


def _cluster_id(stack: LocalStack) -> str:
    """Which Vault the keys are of; empty while it is sealed or away."""
    from vault_harness.errors import HarnessError
    from vault_harness.vault import Operator
    from vault_harness.vault.backup import cluster_id

    address = _address(stack)
    if address is None:
        return ""
    try:
        with closing(Operator(address)) as op:
            return cluster_id(op)
    except HarnessError:
        return ""


def _lock(recipients: list[str], passphrase_file: str | None) -> Lock:
    from vault_harness.vault.backup import lock_from

    file = Path(passphrase_file) if passphrase_file else None
    return lock_from(
        recipients=recipients, passphrase_file=file, environ=os.environ, ask=_ask_twice()
    )


def _opener(identities: list[str], passphrase_file: str | None) -> Opener:
    from vault_harness.vault.backup import opener_from

    file = Path(passphrase_file) if passphrase_file else None
    return opener_from(
        identity_files=[Path(each) for each in identities],
        passphrase_file=file,
        environ=os.environ,
        ask=_ask_once(),
    )


def _ask_once() -> Callable[[], str] | None:
    import getpass
    import sys

    return (lambda: getpass.getpass("passphrase: ")) if sys.stdin.isatty() else None


def _ask_twice() -> Callable[[], str] | None:
    import getpass
    import sys

    from vault_harness.errors import SettingsError

    def ask() -> str:
        first = getpass.getpass("passphrase for the backup: ")
        if first != getpass.getpass("the same again: "):
            raise SettingsError("the two are different", remedy="Run it again.")
        return first

    return ask if sys.stdin.isatty() else None


def _chosen(source: str | None, to: str | None, part: str | None = None) -> Backup:
    """The backup that was named, else the newest one that has a part."""
    from vault_harness.vault.backup import Backup, newest

    if source:
        return Backup.load(Path(source))
    return newest(backups_dir(local_stack(), to), part)


def _tell(comparison: Comparison) -> None:
    say(f"{plural(comparison.same, 'secret')} the same as in the backup")
    for line in comparison.different:
        say(f"different: {line}")
