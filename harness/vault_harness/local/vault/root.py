"""Revoke the root token, and make it again from the unseal keys (``sys/generate-root``)."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.errors import (
    DeadlineExceeded,
    HarnessError,
    KeyringMissing,
    OperatorError,
    named,
    without_frames,
)
from vault_harness.interrupts import uninterrupted
from vault_harness.local.vault.admin import VaultAdmin, alive
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.tokens import (
    OPERATOR_TOKEN_NAME,
    install_operator,
    operator_token,
)


@dataclass(frozen=True)
class RootRevoked:
    """The result of revoking the root token.

    Attributes:
        before: Whether it was invalid before.
        acts: Whether the operator's token is valid.
    """

    token_file: Path
    before: bool
    acts: bool = True


@without_frames
def revoke_root(
    root: VaultAdmin,
    keyring_path: Path,
    mounts: Iterable[str],
    directory: Path,
    *,
    namespace: str = "",
    checkpoint: Callable[[str], None] = lambda _step: None,
) -> RootRevoked:
    """Revoke the keyring's root token, after an operator's token works."""
    keyring = Keyring.load(keyring_path)
    found = alive(root)
    if found is None:
        # An interrupted run revoked it, or somebody did it by hand.
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


_ATTEMPT_NAME = "root-attempt"
# HashiCorp Vault needs only the unseal keys. OpenBao disables that endpoint since 2.5.3; since 2.6
# it has the second one, which also needs a token.
_ENDPOINTS = ("sys/generate-root", "sys/generate-root-token")


@without_frames
def generate_root(
    op: VaultAdmin,
    keyring_path: Path,
    directory: Path,
    *,
    cancel: bool = False,
    checkpoint: Callable[[str], None] = lambda _step: None,
) -> bool:
    """Make a new root token, unless the keyring's is valid. Return whether it did.

    Only ``cancel`` replaces an attempt of somebody else. `op` has the operator's token for OpenBao,
    and no token for HashiCorp Vault.
    """
    keyring = Keyring.load(keyring_path)
    if keyring.root_token:
        root = op.with_token(keyring.root_token)
        with contextlib.closing(root):
            if alive(root) is not None:
                if cancel:
                    _cancel(root, directory)
                return False
    with uninterrupted():  # after the last key the token is valid and exists only in memory
        token = _root_token(op, keyring_path, directory, cancel, checkpoint)
        try:
            replace(keyring, root_token=token).save(keyring_path)
        except OSError:
            with contextlib.suppress(HarnessError):
                _revoke(op, token)
            raise
        _mark(directory).unlink(missing_ok=True)
    checkpoint("saved")
    return True


@without_frames
def prove_keys(op: VaultAdmin, keyring_path: Path, directory: Path) -> None:
    """Check that a keyring's keys belong to an open Vault, which stays unsealed."""
    with uninterrupted():  # after the last key a root token is valid, and must be revoked
        token = _root_token(op, keyring_path, directory, False, lambda _step: None)
        _revoke(op, token)
        _mark(directory).unlink(missing_ok=True)


def _revoke(op: VaultAdmin, token: str) -> None:
    with contextlib.closing(op.with_token(token)) as root:
        root.request("POST", "auth/token/revoke-self")


def _mark(directory: Path) -> Path:
    return directory / _ATTEMPT_NAME


def _root_token(
    op: VaultAdmin,
    keyring_path: Path,
    directory: Path,
    cancel: bool,
    checkpoint: Callable[[str], None],
) -> str:
    """Make a root token. The nonce file stays until the caller has saved or revoked it."""
    keyring = Keyring.load(keyring_path)
    if len(keyring.keys) < keyring.threshold:
        raise KeyringMissing(
            "the keyring holds too few unseal keys",
            looked_at=f"{len(keyring.keys)} keys, {keyring.threshold} needed",
            remedy=f"Put the keyring back from a backup: {named('restore.keys')}.",
        )
    endpoint, status = _endpoint(op)
    mark = _mark(directory)
    _end_stale(op, endpoint, status, mark, cancel=cancel)
    started = _data(op.request("PUT", f"{endpoint}/attempt"))
    nonce, one_time = str(started["nonce"]), str(started["otp"])
    files.private_directory(directory)
    files.write_private(mark, nonce)
    checkpoint("started")
    encoded = ""
    try:
        for key in keyring.keys[: int(started["required"])]:
            answer = _data(op.request("PUT", f"{endpoint}/update", key=key, nonce=nonce))
            encoded = str(answer.get("encoded_token") or answer.get("encoded_root_token") or "")
            checkpoint("gave a key")
    except OperatorError as error:
        op.request("DELETE", f"{endpoint}/attempt")
        mark.unlink(missing_ok=True)
        raise OperatorError(
            "Vault did not take the unseal keys of the keyring",
            looked_at=f"{keyring_path}; {error.cause}",
            remedy=f"Restore the keyring that belongs to this Vault: {named('restore.keys')}.",
        ) from None
    if not encoded:
        raise DeadlineExceeded(
            "Vault accepted the unseal keys but returned no root token",
            looked_at=f"{endpoint}: {started['required']} keys were wanted",
            remedy=f"{named('root.generate', '--cancel')} ends this attempt; then run this again.",
        )
    return _decode(encoded, one_time)


def _endpoint(op: VaultAdmin) -> tuple[str, dict[str, Any]]:
    refusal: OperatorError | None = None
    for endpoint in _ENDPOINTS:
        try:
            return endpoint, _data(op.request("GET", f"{endpoint}/attempt"))
        except OperatorError as error:
            if "unsupported operation" not in error.cause and "denied" not in error.cause:
                raise
            refusal = error
    assert refusal is not None
    raise OperatorError(
        "this server makes a root token only with an operator's token beside the unseal keys",
        looked_at=f"{' and '.join(_ENDPOINTS)}: {refusal.cause}",
        remedy="Put the operator's token back into the data directory. If it is lost, set "
        "disable_unauthed_generate_root_endpoints = false in the server's listener, restart it, "
        "unseal it, and run this again.",
    )


def _cancel(op: VaultAdmin, directory: Path) -> None:
    endpoint, status = _endpoint(op)
    _end_stale(op, endpoint, status, _mark(directory), cancel=True)
    _mark(directory).unlink(missing_ok=True)


def _end_stale(
    op: VaultAdmin, endpoint: str, status: dict[str, Any], mark: Path, *, cancel: bool
) -> None:
    if not status.get("started"):
        return
    ours = mark.exists() and mark.read_text().strip() == status.get("nonce")
    if not ours and not cancel:
        raise OperatorError(
            "somebody is making a root token right now",
            looked_at=f"{endpoint}: {status.get('progress')} of {status.get('required')} keys",
            remedy="Wait until they are done, or end their attempt: "
            f"{named('root.generate', '--cancel')}. Then run this again.",
        )
    op.request("DELETE", f"{endpoint}/attempt")


def _data(answer: dict[str, Any]) -> dict[str, Any]:
    """Unwrap an answer: only OpenBao's newer endpoint puts it into ``data``."""
    return answer.get("data") or answer


def _decode(encoded: str, one_time: str) -> str:
    raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
    return bytes(a ^ b for a, b in zip(raw, one_time.encode(), strict=True)).decode()
