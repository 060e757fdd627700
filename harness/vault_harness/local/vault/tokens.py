"""The token of the tasks, and other tokens by their accessors. A listed token may have ended."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vault_harness import files, namespaces
from vault_harness.errors import KeyringMissing, OperatorError, named, without_frames
from vault_harness.interrupts import uninterrupted
from vault_harness.local.vault.admin import LEADER_SECONDS, VaultAdmin, alive
from vault_harness.local.vault.kept import Kept
from vault_harness.local.vault.keyring import Keyring

OPERATOR_POLICY = "operator"
OPERATOR_TOKEN_NAME = "operator-token"  # noqa: S105 -- the name of a file
# A periodic token stays valid if it is renewed once in each period, as every task does.
_PERIOD = "768h"


@contextlib.contextmanager
def needing_root(op: VaultAdmin, command: str) -> Iterator[None]:
    """Add a remedy to the error if the operator's token may not do what root may."""
    try:
        yield
    except OperatorError as error:
        found = alive(op) if "permission denied" in error.cause else None
        if found is None or "root" in found["policies"]:
            raise
        raise OperatorError(
            f"{error.cause}: the operator's token may not do that, and root is revoked",
            looked_at=error.looked_at,
            remedy=f"{named('root.generate')}, then {command}, then {named('root.revoke')}",
        ) from None


def operator_policy(mounts: Iterable[str], namespace: str = "") -> str:
    """Return the policy for KV mounts in a namespace, in HCL, for the root namespace."""
    text = Path(__file__).with_name("operator.hcl").read_text(encoding="utf-8")
    head, *blocks = text.split("\n\n")
    per_mount = [block for block in blocks if "MOUNT/" in block]
    others = [block for block in blocks if "MOUNT/" not in block]
    of_mounts = [block.replace("MOUNT", mount) for mount in mounts for block in per_mount]
    if not namespace:
        return "\n\n".join([head, *of_mounts, *others])
    inside = [*of_mounts, *(each for each in others if not namespaces.is_root_level(_path(each)))]
    reaching = [block.replace('path "', f'path "{namespace}/', 1) for block in inside]
    return "\n\n".join([head, *others, *reaching])


def _path(block: str) -> str:
    found = re.search(r'path "([^"]*)"', block)
    return found[1] if found else ""


def operator_token(directory: Path) -> str:
    """Return the token in a data directory; empty if there is none or it is damaged."""
    try:
        token = (directory / OPERATOR_TOKEN_NAME).read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""
    return token if token.isascii() and token.isprintable() else ""


@without_frames
def install_operator(
    root: VaultAdmin, mounts: Iterable[str], directory: Path, *, namespace: str = ""
) -> VaultAdmin:
    """Create the operator's policy and token. An orphan does not end with the root token."""
    rules = operator_policy(mounts, namespace)
    Kept(directory).keep_policy(root, OPERATOR_POLICY, rules)
    root.request("POST", f"sys/policies/acl/{OPERATOR_POLICY}", policy=rules)
    present = operator_token(directory)
    if present:
        op = root.with_token(present)
        found = alive(op)
        if found is not None and OPERATOR_POLICY in found["policies"]:
            return op
        op.close()
    with uninterrupted():  # the token is valid for a month and exists only in memory at first
        made = root.request(
            "POST",
            "auth/token/create-orphan",
            policies=[OPERATOR_POLICY],
            period=_PERIOD,
            display_name=OPERATOR_POLICY,
        )
        token = str(made["auth"]["client_token"])
        try:
            files.private_directory(directory)
            files.write_private(files.led_to(directory / OPERATOR_TOKEN_NAME), token)
        except OSError:
            with (
                contextlib.closing(root.with_token(token)) as op,
                contextlib.suppress(OperatorError),
            ):
                op.request("POST", "auth/token/revoke-self")
            raise
    return root.with_token(token)


@without_frames
def admin_with_token(
    address: str, keyring: Keyring | None, directory: Path, *, ca_cert: Path | None = None
) -> VaultAdmin:
    """Return the API with the root token if it is valid, else with the operator's."""
    root_token = keyring.root_token if keyring is not None else ""
    for token in (root_token, operator_token(directory)):
        if not token:
            continue
        op = VaultAdmin(address, token, ca_cert, patience=LEADER_SECONDS)
        found = alive(op)
        if found is not None:
            if found.get("period") and found["ttl"] < found["period"] / 2:
                op.request("POST", "auth/token/renew-self")
            return op
        op.close()
    raise KeyringMissing(
        "there is no valid root token and no valid operator's token",
        looked_at=f"the keyring, {directory / OPERATOR_TOKEN_NAME}",
        remedy=f"{named('root.generate')} makes a root token from the unseal keys"
        if keyring is not None
        else f"{named('restore.keys')} puts the unseal keys back from a backup; "
        f"{named('root.generate')} then makes a root token from them",
    )


_ENDED = ("invalid accessor", "bad token")
"""Vault's messages for an ended token; the second one if it ends during the look-up."""


def living(op: VaultAdmin) -> list[str]:
    found = op.request("LIST", "auth/token/accessors").get("data") or {}
    return [str(accessor) for accessor in found.get("keys") or []]


def look_up(op: VaultAdmin, accessor: str) -> dict[str, Any] | None:
    try:
        answer = op.request("POST", "auth/token/lookup-accessor", accessor=accessor)
    except OperatorError as error:
        if _has_ended(error):
            return None
        raise
    return dict(answer.get("data") or {})


def revoke(op: VaultAdmin, accessor: str) -> bool:
    """Revoke a token. Return False if it had ended before."""
    try:
        answer = op.request("POST", "auth/token/revoke-accessor", accessor=accessor)
    except OperatorError as error:
        if _has_ended(error):
            return False
        raise
    # OpenBao only warns about an unknown accessor.
    return not any("No token found" in str(warning) for warning in answer.get("warnings") or ())


def _has_ended(error: OperatorError) -> bool:
    return any(said in error.cause for said in _ENDED)
