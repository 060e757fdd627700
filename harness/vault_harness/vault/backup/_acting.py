"""Who acts for a Vault that a backup was put into: its tokens may have ended since it was made."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from vault_harness import files
from vault_harness.commands import named
from vault_harness.errors import KeyringMissing, StackError
from vault_harness.vault.backup._files import Keys
from vault_harness.vault.backup._progress import POLL_SECONDS, SETTLE_SECONDS, lives
from vault_harness.vault.keyring import Keyring, keep_beside
from vault_harness.vault.operator import Operator
from vault_harness.vault.root import OPERATOR_TOKEN_NAME, operator_token, standing_operator


class TokensEnded(KeyringMissing):
    """A backup is in place and open, and no token lives by which it could be compared."""


def put_keys(leader: Operator, keys: Keys, keyring_path: Path) -> Path | None:
    """Put the keys and tokens of a backup where the tasks look for them.

    A token that is there already and lives was made after the backup's own had ended, by whoever
    wants to go on: it stays. Any other is the one of the Vault that was there before, and is kept
    beside it.

    Args:
        leader: At the Vault that has the backup.
        keys: Of the backup.
        keyring_path: Where the tasks look; the operator's token is beside it.

    Returns:
        Where the operator's token of before is now, if there was another one.

    Raises:
        OperatorError: Vault does not answer.
    """
    present = None
    with contextlib.suppress(StackError):  # none, or a file that is not one
        present = Keyring.load(keyring_path)
    same = present is not None and present.keys == keys.keyring.keys
    if present is None or not same or not lives(leader, present.root_token):
        keys.keyring.save(keyring_path)
    directory = keyring_path.parent
    if not keys.operator_token or lives(leader, operator_token(directory)):
        return None
    return put_operator_token(keys.operator_token, directory)


def put_operator_token(token: str, directory: Path) -> Path | None:
    """Put an operator's token where the tasks look for it.

    Returns:
        Where the one that was there is now; None if there was none, or the same.
    """
    file, present = directory / OPERATOR_TOKEN_NAME, operator_token(directory)
    if present == token:
        return None
    there = file.exists() and file.stat().st_size  # also what is no token
    kept = keep_beside(file) if there else None
    files.write_private(files.led_to(file), token)
    return kept


def acting_on(leader: Operator, keyring_path: Path) -> Operator:
    """Whoever may act there, once it knows the tokens that the backup brought.

    Raises:
        TokensEnded: None of them lives.
        OperatorError: Vault does not answer.
    """
    directory, keyring = keyring_path.parent, Keyring.load(keyring_path)
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return standing_operator(leader.address, keyring, directory, ca_cert=leader.ca_cert)
        except KeyringMissing:
            if time.monotonic() >= deadline:
                break
        time.sleep(POLL_SECONDS)  # between two looks, bounded by the deadline
    raise TokensEnded(
        "the backup is in place and open, and none of the tokens that it has lives any more, so "
        "that nothing could be compared",
        looked_at=f"{leader.address}: the root token of {keyring_path}, the operator's token "
        f"{directory / OPERATOR_TOKEN_NAME}",
        remedy=f"{named('root.generate')} makes a root token from its keys, or says what this "
        "server wants for that; then this again, which compares",
    )
