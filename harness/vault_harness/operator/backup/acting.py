"""Put a backup's tokens in place, and find a valid one."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from vault_harness import files
from vault_harness.errors import KeyringMissing, StackError, named
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring, keep_beside
from vault_harness.local.vault.tokens import (
    OPERATOR_TOKEN_NAME,
    admin_with_token,
    operator_token,
)
from vault_harness.operator.backup.files import Keys
from vault_harness.operator.backup.progress import POLL_SECONDS, SETTLE_SECONDS, lives


class TokensEnded(KeyringMissing):
    """A backup is restored and unsealed, but none of its tokens is valid."""


def put_keys(leader: VaultAdmin, keys: Keys, keyring_path: Path) -> Path | None:
    """Save a backup's keys and tokens where the tasks look for them.

    A valid token in place stays: somebody made it after the backup's own had expired. Another one
    belongs to the earlier Vault and is kept beside the new one. Return the path of the earlier
    operator's token, or None.
    """
    present = None
    with contextlib.suppress(StackError):  # no file, or no keyring
        present = Keyring.load(keyring_path)
    same = present is not None and present.keys == keys.keyring.keys
    if present is None or not same or not lives(leader, present.root_token):
        keys.keyring.save(keyring_path)
    directory = keyring_path.parent
    if not keys.operator_token or lives(leader, operator_token(directory)):
        return None
    return put_operator_token(keys.operator_token, directory)


def put_operator_token(token: str, directory: Path) -> Path | None:
    """Save an operator's token, and return where an earlier one is kept, or None."""
    file, present = directory / OPERATOR_TOKEN_NAME, operator_token(directory)
    if present == token:
        return None
    there = file.exists() and file.stat().st_size  # keep the content even if it is no token
    kept = keep_beside(file) if there else None
    files.write_private(files.led_to(file), token)
    return kept


def acting_on(leader: VaultAdmin, keyring_path: Path) -> VaultAdmin:
    """Return an operator with a valid token for the Vault that now has the backup."""
    directory, keyring = keyring_path.parent, Keyring.load(keyring_path)
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return admin_with_token(leader.address, keyring, directory, ca_cert=leader.ca_cert)
        except KeyringMissing:
            if time.monotonic() >= deadline:
                break
        time.sleep(POLL_SECONDS)  # bounded by the deadline
    raise TokensEnded(
        "the backup is in place and unsealed, but none of its tokens is valid any more, so "
        "nothing could be compared",
        looked_at=f"{leader.address}: the root token of {keyring_path}, the operator's token "
        f"{directory / OPERATOR_TOKEN_NAME}",
        remedy=f"{named('root.generate')} makes a root token from its keys, or says what this "
        "server needs for that. Then run this again to compare.",
    )
