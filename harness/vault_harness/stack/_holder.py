"""A Vault that holds the key of another one: the key, and who may use it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.boundary import without_frames
from vault_harness.vault import Operator
from vault_harness.vault.root import alive

KEY_NAME = "stack"
"""Of the key in the holder's transit engine, and the id of a static one."""

_POLICY = "unseal-stack"
_PERIOD = "768h"
"""Of the token: the server renews it while it runs, and a month of rest is survived."""

_RULES = f"""path "transit/encrypt/{KEY_NAME}" {{
  capabilities = ["update"]
}}

path "transit/decrypt/{KEY_NAME}" {{
  capabilities = ["update"]
}}
"""


def transit_seal(root: Operator, token: Path, *, address: str | None = None) -> dict[str, Any]:
    """See that a holder has the key, and a token for it; safe to repeat.

    Args:
        root: At the holder, with a root token.
        token: The file of the token, made or kept, which only its owner reads.
        address: Base URL by which the other Vault reaches the holder, if not by the same one.

    Returns:
        The ``transit`` stanza of the other one's configuration. Nothing of it is secret.

    Raises:
        OperatorError: What the holder says.
    """
    _give_key(root)
    _give_token(root, token)
    return {
        "address": address or root.address,
        "token": f"file://{token.absolute()}",
        "key_name": KEY_NAME,
        "mount_path": "transit/",
    }


@without_frames
def _give_key(root: Operator) -> None:
    """The key, which no one can export or delete, and the policy of who may use it."""
    if "transit/" not in root.request("GET", "sys/mounts").get("data", {}):
        root.request("POST", "sys/mounts/transit", type="transit")
    if not root.request("GET", f"transit/keys/{KEY_NAME}"):
        root.request("POST", f"transit/keys/{KEY_NAME}", type="aes256-gcm96")
    root.request("PUT", f"sys/policies/acl/{_POLICY}", policy=_RULES)


@without_frames
def _give_token(root: Operator, path: Path) -> None:
    """A token that lives for as long as somebody renews it, unless there is one that is good."""
    if path.exists():
        with contextlib.closing(root.with_token(path.read_text().strip())) as known:
            if alive(known) is not None:
                known.request("POST", "auth/token/renew-self")
                return
    made = root.request(
        "POST",
        "auth/token/create-orphan",
        policies=[_POLICY],
        period=_PERIOD,
        display_name=_POLICY,
    )
    files.write_private(path, str(made["auth"]["client_token"]))
