"""Find an unfinished restore, and the command that continues it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault_harness.errors import HarnessError, named
from vault_harness.local.vault.keyring import Keyring, unfinished_keyring

SOURCE = "source"
"""Field of the note: the folder of the backup."""


@dataclass(frozen=True)
class UnfinishedRestore:
    """A restore that was interrupted or still runs. The files do not tell which.

    Attributes:
        source: Empty if an earlier release noted none.
        keys_here: Whether the keyring has the backup's keys. Else perhaps no present key opens
            Vault.
    """

    note: Path
    source: str
    keys_here: bool

    def is_of(self, keyring: Keyring) -> bool:
        try:
            return Keyring.load(self.note).keys == keyring.keys
        except HarnessError:
            return False

    @property
    def command(self) -> str:
        """The command that continues it, without options that were not noted."""
        return named("restore", *(("--source", self.source) if self.source else ()))

    @property
    def remedy(self) -> str:
        """Advice to continue. It replaces nothing in a Vault that is not empty."""
        again = f"{self.command} again, with the same other options as before: it continues"
        return again if self.keys_here else f"{again} from there; then {named('up')}"

    @property
    def otherwise(self) -> str:
        return (
            f"To drop it: {named('down')}, then {named('up')}, which says whether the backup is "
            "in, and changes nothing if it is not"
        )


def unfinished_restore(keyring_path: Path) -> UnfinishedRestore | None:
    note = unfinished_keyring(keyring_path)
    try:
        content: Any = json.loads(note.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        content = None  # notes are written atomically, so this file is not one
    source = content.get(SOURCE) if isinstance(content, Mapping) else None
    return UnfinishedRestore(note, str(source or ""), _same_keys(note, keyring_path))


def _same_keys(note: Path, keyring_path: Path) -> bool:
    try:
        return Keyring.load(note).keys == Keyring.load(keyring_path).keys
    except HarnessError:
        return False  # an invalid keyring opens nothing
