"""Options of the tasks about backups: which one is meant, what locks it, and what opens it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli._common import backups_dir, local_stack, vault_without_token

if TYPE_CHECKING:
    from vault_harness.stack import LocalStack
    from vault_harness.vault.backup import Backup, Lock, Opener

_ITS_FILE = "a file with the passphrase; else HARNESS_BACKUP_PASSPHRASE, or it is asked for"
LOCKS = {
    "to": "the folder that holds backups, default vault-backups beside the data directory",
    "recipient": "a public key (age1... or ssh-ed25519 ...), or a file of them; may be repeated",
    "passphrase-file": _ITS_FILE,
    "dry-run": "show what would be done, change nothing",
}
OPENERS = {
    "source": "the folder of one backup, default the newest one that has what is needed, of the "
    "Vault here if it has any",
    "identity": "a file with the private key; may be repeated",
    "passphrase-file": _ITS_FILE,
}
KEYRING_HELP = "where keyring.age is, if it is kept in another place than the rest, as it should be"


def lock_of(recipients: list[str] | None, passphrase_file: str | None) -> Lock:
    """What a backup is locked with: public keys, or a passphrase, which may be asked for."""
    from vault_harness.vault.backup import lock_from

    file = Path(passphrase_file) if passphrase_file else None
    return lock_from(
        recipients=recipients or [], passphrase_file=file, environ=os.environ, ask=_ask_twice()
    )


def opener_of(identities: list[str] | None, passphrase_file: str | None) -> Opener:
    """What opens a backup: private keys, or a passphrase, which may be asked for."""
    from vault_harness.vault.backup import opener_from

    file = Path(passphrase_file) if passphrase_file else None
    return opener_from(
        identity_files=[Path(each) for each in identities or []],
        passphrase_file=file,
        environ=os.environ,
        ask=_ask_once(),
    )


def chosen(
    source: str | None, to: str | None, part: str | None = None, *, own: bool = False
) -> Backup:
    """The backup that was named, else the newest one that has a part.

    Of the Vault that is here, if it tells which it is and has any: stacks may share a folder.

    Args:
        source: The folder that was named.
        to: The folder of backups that was named.
        part: Which part it must have, if none was named.
        own: It must not be another Vault's.
    """
    from vault_harness.vault.backup import Backup, check_vault, newest

    stack = local_stack()
    vault = vault_here(stack) if own or not source else ""
    found = (
        Backup.load(Path(source)) if source else newest(backups_dir(stack, to), part, vault=vault)
    )
    if own:
        check_vault(found, vault)
    return found


def vault_here(stack: LocalStack) -> str:
    """The cluster id of the Vault that is here; empty while it is sealed or away."""
    from vault_harness.errors import HarnessError
    from vault_harness.vault.backup import cluster_id

    try:
        with vault_without_token(stack) as op:
            return cluster_id(op) if op is not None else ""
    except HarnessError:
        return ""


def _ask_once() -> Callable[[], str] | None:
    import sys

    return (lambda: _hidden("passphrase: ")) if sys.stdin.isatty() else None


def _ask_twice() -> Callable[[], str] | None:
    import sys

    from vault_harness.errors import SettingsError

    def ask() -> str:
        first = _hidden("passphrase for the backup: ")
        if first != _hidden("the same again: "):
            raise SettingsError("the two are different", remedy="Run it again.")
        return first

    return ask if sys.stdin.isatty() else None


def _hidden(prompt: str) -> str:
    """What a person types without its being shown.

    Raises:
        SettingsError: They typed Ctrl-D instead.
    """
    import getpass

    from vault_harness.errors import SettingsError

    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise SettingsError(
            "no passphrase was given",
            looked_at="the terminal",
            remedy="Run it again, or name a file that has it (--passphrase-file), or set "
            "HARNESS_BACKUP_PASSPHRASE.",
        ) from None
