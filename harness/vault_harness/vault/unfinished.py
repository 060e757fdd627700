"""A restore that was begun and is not done: what it has noted, and what goes on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault_harness.commands import named
from vault_harness.errors import HarnessError
from vault_harness.vault.keyring import Keyring, keyring_on_the_way

SOURCE = "source"
"""In what it has noted beside the keys: the folder of its backup."""


@dataclass(frozen=True)
class UnfinishedRestore:
    """One that was ended half-way, or is under way: nobody can tell by the files.

    Attributes:
        note: The file that it has written, and removes at its end.
        source: The folder of its backup; empty where an earlier release noted none.
        keys_here: Whether the keys of its backup are in the keyring's place by now. Until then
            Vault may have what they open, and the keys that are here open nothing.
    """

    note: Path
    source: str
    keys_here: bool

    def is_of(self, keyring: Keyring) -> bool:
        """Whether its backup is of the Vault with these keys."""
        try:
            return Keyring.load(self.note).keys == keyring.keys
        except HarnessError:
            return False

    @property
    def command(self) -> str:
        """What goes on with it, but for options of which nothing was noted."""
        return named("restore", *(("--source", self.source) if self.source else ()))

    @property
    def remedy(self) -> str:
        """What a person does; nothing of it replaces what a Vault has that is not empty."""
        again = f"{self.command} again, with the other options that it was called with: it goes on"
        return again if self.keys_here else f"{again} from there; then {named('up')}"

    @property
    def otherwise(self) -> str:
        """What a person does who does not want it any more, before its keys are here."""
        return (
            f"Is it not wanted any more: {named('down')}, then {named('up')}, which says whether "
            "the backup is in, and leaves all as it was if it is not"
        )


def unfinished_restore(keyring_path: Path) -> UnfinishedRestore | None:
    """The restore that is not done, by what it has noted beside a keyring; None without one."""
    note = keyring_on_the_way(keyring_path)
    try:
        content: Any = json.loads(note.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        content = None  # it is written in one step, and was no restore's
    source = content.get(SOURCE) if isinstance(content, Mapping) else None
    return UnfinishedRestore(note, str(source or ""), _same_keys(note, keyring_path))


def _same_keys(note: Path, keyring_path: Path) -> bool:
    try:
        return Keyring.load(note).keys == Keyring.load(keyring_path).keys
    except HarnessError:
        return False  # what is no keyring opens nothing
