"""A new root token from the unseal keys (``sys/generate-root``)."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.errors import DeadlineExceeded, HarnessError, KeyringMissing, OperatorError
from vault_harness.interrupts import uninterrupted
from vault_harness.vault.keyring import Keyring
from vault_harness.vault.operator import Operator
from vault_harness.vault.root._standing import alive

_ATTEMPT_NAME = "root-attempt"
# HashiCorp Vault takes the unseal keys alone. OpenBao has that switched off since 2.5.3, and since
# 2.6 the second one, which wants a token beside the keys.
_ENDPOINTS = ("sys/generate-root", "sys/generate-root-token")


@without_frames
def generate_root(
    op: Operator,
    keyring_path: Path,
    directory: Path,
    *,
    cancel: bool = False,
    checkpoint: Callable[[str], None] = lambda _step: None,
) -> bool:
    """Make a new root token and put it into the keyring, unless the one there is good.

    An attempt that an ended run of ours left behind is taken up anew; one of somebody else is left
    alone, unless ``cancel``.

    Args:
        op: With the operator's token, which OpenBao wants; without one for HashiCorp Vault.
        keyring_path: The keyring, with enough unseal keys.
        directory: Where the name of the attempt is kept while it goes on.
        cancel: End an attempt that somebody else began, also if no token is made then.
        checkpoint: Called after each step.

    Returns:
        False if the root token in the keyring is good: nothing was done.

    Raises:
        KeyringMissing: Too few unseal keys.
        OperatorError: Vault refused a key, an attempt of somebody else is under way, or a token is
            wanted.
    """
    keyring = Keyring.load(keyring_path)
    if keyring.root_token:
        root = op.with_token(keyring.root_token)
        with contextlib.closing(root):
            if alive(root) is not None:
                if cancel:
                    _cancel(root, directory)
                return False
    with uninterrupted():  # from the last key on it lives, and is nowhere but here
        token = _root_token(op, keyring, keyring_path, directory, cancel, checkpoint)
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
def prove_keys(op: Operator, keyring_path: Path, directory: Path) -> None:
    """See that the keys of a keyring are those of an open Vault, which goes on unsealed.

    They make a root token, which is revoked at once and shown to nobody.

    Args:
        op: As `generate_root` wants it.
        keyring_path: The keyring.
        directory: Where the name of the attempt is kept while it goes on.

    Raises:
        KeyringMissing: Too few keys.
        OperatorError: They are another Vault's, or somebody else is making a root token.
    """
    keyring = Keyring.load(keyring_path)
    with uninterrupted():  # from the last key on a root token lives that nobody would find again
        token = _root_token(op, keyring, keyring_path, directory, False, lambda _step: None)
        _revoke(op, token)
        _mark(directory).unlink(missing_ok=True)


def _revoke(op: Operator, token: str) -> None:
    with contextlib.closing(op.with_token(token)) as root:
        root.request("POST", "auth/token/revoke-self")


def _mark(directory: Path) -> Path:
    return directory / _ATTEMPT_NAME


def _root_token(
    op: Operator,
    keyring: Keyring,
    keyring_path: Path,
    directory: Path,
    cancel: bool,
    checkpoint: Callable[[str], None],
) -> str:
    """A new root token; the mark of the attempt stays until it is known what becomes of it."""
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
            remedy=f"Take the keyring that belongs to this Vault: {named('restore.keys')}.",
        ) from None
    if not encoded:
        raise DeadlineExceeded(
            "the unseal keys were given and no root token came of it",
            looked_at=f"{endpoint}: {started['required']} keys were wanted",
            remedy=f"{named('root.generate', '--cancel')} ends what was begun; then this again.",
        )
    return _decode(encoded, one_time)


def _endpoint(op: Operator) -> tuple[str, dict[str, Any]]:
    """The endpoint that this server has, and the state of an attempt there."""
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
        "this server makes a root token only for an operator's token beside the unseal keys",
        looked_at=f"{' and '.join(_ENDPOINTS)}: {refusal.cause}",
        remedy="Put the operator's token back into the data directory. If it is lost, set "
        "disable_unauthed_generate_root_endpoints = false in the server's listener, restart it, "
        "unseal it, and run this again.",
    )


def _cancel(op: Operator, directory: Path) -> None:
    """End an attempt, whoever began it."""
    endpoint, status = _endpoint(op)
    _end_stale(op, endpoint, status, _mark(directory), cancel=True)
    _mark(directory).unlink(missing_ok=True)


def _end_stale(
    op: Operator, endpoint: str, status: dict[str, Any], mark: Path, *, cancel: bool
) -> None:
    if not status.get("started"):
        return
    ours = mark.exists() and mark.read_text().strip() == status.get("nonce")
    if not ours and not cancel:
        raise OperatorError(
            "somebody is making a root token right now",
            looked_at=f"{endpoint}: {status.get('progress')} of {status.get('required')} keys",
            remedy="Wait until they are done, or end their attempt: "
            f"{named('root.generate', '--cancel')}. Then this again.",
        )
    op.request("DELETE", f"{endpoint}/attempt")


def _data(answer: dict[str, Any]) -> dict[str, Any]:
    """OpenBao's newer endpoint wraps its answer in ``data``, the older one does not."""
    return answer.get("data") or answer


def _decode(encoded: str, one_time: str) -> str:
    raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
    return bytes(a ^ b for a, b in zip(raw, one_time.encode(), strict=True)).decode()
