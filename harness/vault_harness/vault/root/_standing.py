"""Who acts for the tasks: the root token while there is one, the operator's token afterwards."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import hvac.exceptions

from vault_harness import files, namespaces
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.errors import KeyringMissing, OperatorError
from vault_harness.interrupts import uninterrupted
from vault_harness.vault.keyring import Keyring
from vault_harness.vault.operator import LEADER_SECONDS, Operator

OPERATOR_POLICY = "operator"
OPERATOR_TOKEN_NAME = "operator-token"  # noqa: S105 -- the name of a file
# A periodic token lives for as long as it is renewed once in each period; every task renews it.
_PERIOD = "768h"


@contextlib.contextmanager
def needing_root(op: Operator, command: str) -> Iterator[None]:
    """Say what to do when the operator's token is denied something that only root may.

    Raises:
        OperatorError: As the block raised it, with that remedy.
    """
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
    """The operator's policy for these KV mounts, in HCL.

    Args:
        mounts: KV mounts that the operator works with.
        namespace: Where they are. The policy is the root namespace's, and reaches into that one.
    """
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
    """The path that a block of a policy is for."""
    found = re.search(r'path "([^"]*)"', block)
    return found[1] if found else ""


def operator_token(directory: Path) -> str:
    """The operator's token in a data directory, empty if there is none.

    What a broken disk left in its file is none, nor could it be sent.
    """
    try:
        token = (directory / OPERATOR_TOKEN_NAME).read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""
    return token if token.isascii() and token.isprintable() else ""


def alive(op: Operator) -> dict[str, Any] | None:
    """What Vault says of the token that acts, or None if it is dead.

    Raises:
        OperatorError: Vault does not answer, or is sealed.
    """
    with op.asking("look up a token") as client:
        try:
            return dict(client.auth.token.lookup_self()["data"])
        except hvac.exceptions.Forbidden:
            return None


@without_frames
def install_operator(
    root: Operator, mounts: Iterable[str], directory: Path, *, namespace: str = ""
) -> Operator:
    """Make sure that the operator's policy is there, and a token of it in the data directory.

    The token is an orphan, or it would end with the root token that made it.

    Args:
        root: Acts with a root token.
        mounts: KV mounts that the operator works with.
        directory: Where the token is written, mode 0600.
        namespace: Where these are.
    """
    rules = operator_policy(mounts, namespace)
    root.request("POST", f"sys/policies/acl/{OPERATOR_POLICY}", policy=rules)
    present = operator_token(directory)
    if present:
        op = root.with_token(present)
        found = alive(op)
        if found is not None and OPERATOR_POLICY in found["policies"]:
            return op
        op.close()
    with uninterrupted():  # it lives for a month, and is nowhere but here until it is written
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
def standing_operator(
    address: str, keyring: Keyring | None, directory: Path, *, ca_cert: Path | None = None
) -> Operator:
    """Whoever may act: root while its token lives, else the operator.

    Args:
        address: Base URL of Vault.
        keyring: With the root token, if there is one.
        directory: Where the operator's token is.
        ca_cert: For https.

    Raises:
        KeyringMissing: Neither token is good; the message says how to get one.
        OperatorError: Vault does not answer, or is sealed.
    """
    root_token = keyring.root_token if keyring is not None else ""
    for token in (root_token, operator_token(directory)):
        if not token:
            continue
        op = Operator(address, token, ca_cert, patience=LEADER_SECONDS)
        found = alive(op)
        if found is not None:
            if found.get("period") and found["ttl"] < found["period"] / 2:
                op.request("POST", "auth/token/renew-self")
            return op
        op.close()
    raise KeyringMissing(
        "there is neither a root token nor an operator's token that is good",
        looked_at=f"the keyring, {directory / OPERATOR_TOKEN_NAME}",
        remedy=f"{named('root.generate')} makes a root token from the unseal keys"
        if keyring is not None
        else f"{named('restore.keys')} puts the unseal keys back from a backup; "
        f"{named('root.generate')} then makes a root token from them",
    )
