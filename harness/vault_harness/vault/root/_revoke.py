"""Revoking the root token, without locking its owner out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from vault_harness.boundary import without_frames
from vault_harness.errors import OperatorError
from vault_harness.vault.keyring import Keyring
from vault_harness.vault.operator import Operator
from vault_harness.vault.root._standing import (
    OPERATOR_TOKEN_NAME,
    alive,
    install_operator,
    operator_token,
)


@dataclass(frozen=True)
class RootRevoked:
    """What came of it.

    Attributes:
        token_file: Where the operator's token is.
        before: True if the root token had ended before.
        acts: Whether that operator's token is good. It need not be there where the root token had
            ended before.
    """

    token_file: Path
    before: bool
    acts: bool = True


@without_frames
def revoke_root(
    root: Operator,
    keyring_path: Path,
    mounts: Iterable[str],
    directory: Path,
    *,
    namespace: str = "",
    checkpoint: Callable[[str], None] = lambda _step: None,
) -> RootRevoked:
    """End the root token, after an operator's token is there and works.

    Args:
        root: Acts with the root token of the keyring.
        keyring_path: The keyring; its root token is emptied.
        mounts: KV mounts that the operator works with.
        directory: Where the operator's token is written.
        namespace: Where these mounts are.
        checkpoint: Called after each step.

    Raises:
        OperatorError: The token in the keyring is no root token, or Vault refused.
    """
    keyring = Keyring.load(keyring_path)
    found = alive(root)
    if found is None:
        # Ended by a run that could not write the keyring any more, or by hand.
        keyring.without_root().save(keyring_path)
        token = operator_token(directory)
        with contextlib.closing(root.with_token(token)) as op:
            acts = bool(token) and alive(op) is not None
        return RootRevoked(directory / OPERATOR_TOKEN_NAME, before=True, acts=acts)
    if "root" not in found["policies"]:
        raise OperatorError(
            "this is not a root token",
            looked_at=f"its policies: {', '.join(found['policies'])}",
            remedy="Nothing was revoked; look at root_token in the keyring.",
        )
    op = install_operator(root, mounts, directory, namespace=namespace)
    try:
        if alive(op) is None:
            raise OperatorError(
                "the operator's token does not work, so the root token stays",
                looked_at=str(directory / OPERATOR_TOKEN_NAME),
                remedy="Remove that file and run it again.",
            )
        checkpoint("the operator's token works")
        root.request("POST", "auth/token/revoke-self")
        checkpoint("revoked")
    finally:
        op.close()
    keyring.without_root().save(keyring_path)
    checkpoint("emptied in the keyring")
    return RootRevoked(directory / OPERATOR_TOKEN_NAME, before=False)
