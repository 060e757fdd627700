"""Options of the backup tasks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vault_harness.cli.command import option, repeated
from vault_harness.cli.common import backups_dir, local_stack, vault_without_token
from vault_harness.errors import HarnessError, SettingsError

if TYPE_CHECKING:
    from vault_harness.local.stack.local import LocalStack
    from vault_harness.operator.backup import Backup, Lock, Opener

_ITS_FILE = "a file with the passphrase; else HARNESS_BACKUP_PASSPHRASE, or it is asked for"
_FOLDER = "the folder that holds backups, default vault-backups beside the data directory"


@dataclass(frozen=True)
class Locking:
    """Where a backup goes, and what locks it."""

    recipient: list[str] = repeated(
        "a public key (age1... or ssh-ed25519 ...), or a file of them; may be repeated"
    )
    to: str | None = option(_FOLDER)
    passphrase_file: str | None = option(_ITS_FILE)
    dry_run: bool = option("show what would be done, change nothing", default=False)

    def lock(self) -> Lock:
        from vault_harness.operator.backup import lock_from

        return lock_from(
            recipients=self.recipient,
            passphrase_file=Path(self.passphrase_file) if self.passphrase_file else None,
            environ=os.environ,
            ask=_ask_twice(),
        )


@dataclass(frozen=True)
class Opening:
    """A backup, and what opens it."""

    identity: list[str] = repeated("a file with the private key; may be repeated")
    source: str | None = option(
        "the folder of one backup, default the newest usable one, of this Vault if any"
    )
    to: str | None = option(_FOLDER)
    passphrase_file: str | None = option(_ITS_FILE)

    def opener(self) -> Opener:
        from vault_harness.operator.backup import opener_from

        return opener_from(
            identity_files=[Path(each) for each in self.identity],
            passphrase_file=Path(self.passphrase_file) if self.passphrase_file else None,
            environ=os.environ,
            ask=_ask_once(),
        )


IN_ONE_FOLDER = ("identity", "source", "passphrase_file")
"""Of `Opening`, for a task that restores."""

KEYRING_HELP = "the path of keyring.age, if it is kept apart from the rest, as it should be"


def chosen(opening: Opening, part: str | None = None, *, own: bool = False) -> Backup:
    """Return the named backup, or the newest one that has ``part``.

    Stacks may share a folder, so only a backup of this Vault counts, if it reports its id and has
    any. With ``own`` a named backup must be this Vault's, too.
    """
    from vault_harness.operator.backup import Backup, check_vault, newest

    stack = local_stack()
    vault = vault_here(stack) if own or not opening.source else ""
    if opening.source:
        found = Backup.load(Path(opening.source))
    else:
        found = newest(backups_dir(stack, opening.to), part, vault=vault)
    if own:
        check_vault(found, vault)
    return found


def vault_here(stack: LocalStack) -> str:
    """Return this Vault's cluster id; "" while it is sealed or stopped."""
    from vault_harness.operator.backup import cluster_id

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

    def ask() -> str:
        first = _hidden("passphrase for the backup: ")
        if first != _hidden("the same again: "):
            raise SettingsError("the two passphrases are different", remedy="Run it again.")
        return first

    return ask if sys.stdin.isatty() else None


def _hidden(prompt: str) -> str:
    import getpass

    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise SettingsError(
            "no passphrase was given",
            looked_at="the terminal",
            remedy="Run it again, or name a file that has it (--passphrase-file), or set "
            "HARNESS_BACKUP_PASSPHRASE.",
        ) from None
