"""The tasks of backing up, restoring, and exercising both."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli._command import command
from vault_harness.cli._common import backups_dir, local_stack, whole_server
from vault_harness.cli._console import plural, say, table
from vault_harness.commands import named

if TYPE_CHECKING:
    from vault_harness.engine import Endpoints
    from vault_harness.stack import LocalStack
    from vault_harness.vault import Operator
    from vault_harness.vault.backup import (
        Backup,
        Comparison,
        Keys,
        Lock,
        Opener,
        SealKeyRestored,
    )

_ITS_FILE = "a file with the passphrase; else HARNESS_BACKUP_PASSPHRASE, or it is asked for"
_LOCKS = {
    "to": "the folder that holds backups, default vault-backups beside the data directory",
    "recipient": "a public key (age1... or ssh-ed25519 ...), or a file of them; may be repeated",
    "passphrase-file": _ITS_FILE,
    "dry-run": "show what would be done, change nothing",
}
_OPENERS = {
    "source": "the folder of one backup, default the newest one that has what is needed",
    "identity": "a file with the private key; may be repeated",
    "passphrase-file": _ITS_FILE,
}
_KEYRING = "where keyring.age is, if it is kept in another place than the rest, as it should be"


@command(
    "backup.now",
    group="operator",
    default=True,
    examples=("backup.identity --out backup-key.txt", "backup --recipient age1..."),
    iterable=["recipient"],
    help=_LOCKS,
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
    lock = _lock(recipient, passphrase_file)
    with stack.held(), closing(stack.operator()) as op:
        directory, mounts = backups_dir(stack, to), stack.blueprint().mounts
        if dry_run:
            say(f"would write a snapshot of {op.address} and its keyring to {directory},")
            say(f"locked with {lock.kind}, comparing {', '.join(f'{m}/' for m in mounts)} later")
            return
        present = _keys(stack)
        made = make_backup(op, present, directory, lock, mounts=mounts)
    say(f"{made.directory}: {plural(made.secrets, 'secret')}, locked with {made.locked_with}")
    _say_seal_key(stack, present)
    say("keep keyring.age in another place than snapshot.age; --keyring says where it is")
    say(f"next: {named('backup.verify')}; now and then {named('drill')}")


@command(
    "backup.keys",
    group="operator",
    examples=("backup.keys --recipient age1... --to /media/usb",),
    iterable=["recipient"],
    help=_LOCKS,
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
    lock = _lock(recipient, passphrase_file)
    directory = backups_dir(stack, to)
    with stack.held():
        present = _keys(stack)
        if dry_run:
            say(f"would write {stack.keyring_path} to {directory}, locked with {lock.kind}")
            return
        made = take(present, directory, lock, vault=_cluster_id(stack))
    kind = "unseal" if present.keyring.kind == "shamir" else "recovery"
    say(f"{made.directory}: the {kind} keys, locked with {lock.kind}")
    _say_seal_key(stack, present)


@command("backup.list", group="operator", examples=("backup.list",), help={"to": _LOCKS["to"]})
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
    help={**_OPENERS, "to": _LOCKS["to"], "keyring": _KEYRING},
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
        opened = found.open_keys(opener, file=Path(keyring) if keyring else None)
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
        **_OPENERS,
        "keyring": _KEYRING,
        "overwrite": "replace what this Vault has; without it only an empty one is restored into",
        "dry-run": "open and check the backup, change nothing",
    },
)
def restore(
    identity: list[str] | None = None,
    source: str | None = None,
    passphrase_file: str | None = None,
    keyring: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> None:
    """Put a backup into an empty stack.

    Every secret is compared afterwards, of a cluster through each node. It is unsealed with the
    backup's own keys. Ended half-way, the same command goes on.
    """
    from vault_harness.vault import cluster
    from vault_harness.vault.backup import SNAPSHOT
    from vault_harness.vault.backup import restore as put_back

    stack = local_stack()
    found = _chosen(source, None, SNAPSHOT)
    opener = _opener(identity, passphrase_file)
    snapshot, contents = found.open_snapshot(opener)
    opened = found.open_keys(opener, file=Path(keyring) if keyring else None)
    say(f"{found.directory} opens and is whole: {plural(len(contents.secrets), 'secret')}")
    if dry_run:
        say(f"would put it into {stack.restorable().vault} and its keys into {stack.keyring_path}")
        return
    with stack.held():
        there = stack.restorable()
        with cluster.operators(there.addresses, ca_cert=there.ca_cert) as nodes:
            done = put_back(
                nodes, stack.keyring_path, snapshot, contents, opened, overwrite=overwrite
            )
        stack.open_nodes()  # clients are led to whoever leads now
    _tell(done.comparison)
    if done.nodes > 1:
        say(f"compared through each of {done.nodes} nodes")
    say(f"restored in {done.seconds:.1f} s")
    if done.kept is not None:
        say(f"the keyring of what was here before: {done.kept}")
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


@command(
    "restore.keys",
    group="operator",
    examples=("restore.keys --source FOLDER --identity backup-key.txt",),
    iterable=["identity"],
    help={
        **_OPENERS,
        "source": "the folder of one backup, or a keyring.age; default the newest one that has it",
        "overwrite": "replace another keyring or seal key that is there; it is kept beside",
        "seal-key": "only the key of a static seal, into a new folder that is to be restored into",
        "dry-run": "open and check the backup, change nothing",
    },
)
def restore_keys(
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
    from vault_harness.vault.backup import KEYRING, open_keys_file
    from vault_harness.vault.backup import restore_keys as put_back

    stack = local_stack()
    opener = _opener(identity, passphrase_file)
    if source and Path(source).is_file():
        opened = open_keys_file(Path(source), opener)
    else:
        opened = _chosen(source, None, KEYRING).open_keys(opener)
    if dry_run:
        say(f"would write {plural(len(opened.keyring.keys), 'unseal key')} to {stack.keyring_path}")
        return
    if seal_key:
        _restore_seal_key(stack, opened, overwrite=overwrite)
        return
    with stack.held():
        endpoints = _endpoints(stack)
        with closing(_at(endpoints)) if endpoints else nullcontext() as op:
            done = put_back(opened, stack.keyring_path, op=op, overwrite=overwrite)
    say(f"{plural(len(opened.keyring.keys), 'unseal key')} in {stack.keyring_path}")
    if done.kept is not None:
        say(f"what was there before: {done.kept}")
    _say_restored(done.seal)
    if done.unsealed:
        say("they opened this Vault, which was sealed")
    elif done.proven:
        say("they are this Vault's")
    doctor = named("doctor")
    say(f"next: {doctor}" if done.proven else f"next: {named('up')}, then {doctor}")


def _restore_seal_key(stack: LocalStack, keys: Keys, *, overwrite: bool) -> None:
    from vault_harness.errors import StackError
    from vault_harness.vault.backup import restore_seal_key

    with stack.held():
        done = restore_seal_key(keys, stack.data_dir, overwrite=overwrite)
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

    Back up, start anew elsewhere (as many nodes as there are), restore, compare. The running Vault
    is only read. Roles log in to
    the copy. Prints how long recovery would take. With --seal the copy's seal is migrated there and
    back too, and all secrets are compared under each.
    """
    from vault_harness.cli._stack import seal_kind
    from vault_harness.engine import open_engine, run_directory, seal_stanza
    from vault_harness.stack import SealDrill
    from vault_harness.vault.backup import backup_name
    from vault_harness.vault.backup import drill as exercise

    stack = local_stack()
    target = seal_kind(seal)
    with run_directory() as temporary:
        directory = Path(keep).absolute() / backup_name() if keep else temporary
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (
            stack.held(),
            closing(stack.operator()) as op,
            open_engine(stack.settings, directory=directory / "engine") as engine,
        ):
            present = seal_stanza(stack.data_dir)
            then = None
            if target is not None:
                then = SealDrill(
                    engine=engine, target=target, directory=directory / "seal", say=say
                )
                then.check(next(iter(present), "shamir"))
            report = exercise(
                op,
                _keys(stack),
                engine,
                stack.blueprint(),
                directory,
                seal=present,
                nodes=len(stack.endpoints().nodes) if then is None and not present else 1,
                say=say,
                then=then,
            )
    say()
    say(table([(step, f"{seconds:7.2f} s") for step, seconds in report.steps]))
    if report.comparison is not None:
        _tell(report.comparison)
    for kind, found in report.seals.items():
        say(f"{plural(found.same, 'secret')} the same under the seal {kind}")
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

    stack.check_settled()
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


def _endpoints(stack: LocalStack) -> Endpoints | None:
    """Where the stack is, or None if it does not run."""
    from vault_harness.errors import NotUp

    try:
        return stack.endpoints()
    except NotUp:
        return None


def _at(endpoints: Endpoints) -> Operator:
    """Somebody without a token."""
    from vault_harness.vault import Operator

    return Operator(endpoints.vault, ca_cert=endpoints.ca_cert)


def _cluster_id(stack: LocalStack) -> str:
    """Which Vault the keys are of; empty while it is sealed or away."""
    from vault_harness.errors import HarnessError
    from vault_harness.vault.backup import cluster_id

    endpoints = _endpoints(stack)
    if endpoints is None:
        return ""
    try:
        with closing(_at(endpoints)) as op:
            return cluster_id(op)
    except HarnessError:
        return ""


def _lock(recipients: list[str] | None, passphrase_file: str | None) -> Lock:
    from vault_harness.vault.backup import lock_from

    file = Path(passphrase_file) if passphrase_file else None
    return lock_from(
        recipients=recipients or [], passphrase_file=file, environ=os.environ, ask=_ask_twice()
    )


def _opener(identities: list[str] | None, passphrase_file: str | None) -> Opener:
    from vault_harness.vault.backup import opener_from

    file = Path(passphrase_file) if passphrase_file else None
    return opener_from(
        identity_files=[Path(each) for each in identities or []],
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
