"""Set up a Vault that holds the key of another one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.boundary import without_frames
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.root.operator_token import alive

KEY_NAME = "stack"
"""Name of the key in the holder's transit engine, and id of a static key."""

_POLICY = "unseal-stack"
_PERIOD = "768h"
"""Period of the token. A running server renews it; it survives a month without one."""

_RULES = f"""path "transit/encrypt/{KEY_NAME}" {{
  capabilities = ["update"]
}}

path "transit/decrypt/{KEY_NAME}" {{
  capabilities = ["update"]
}}
"""


def transit_seal(root: VaultAdmin, token: Path, *, address: str | None = None) -> dict[str, Any]:
    """Give a holder the key and a token for it, and return the ``transit`` stanza. Repeatable.

    The stanza belongs into the other Vault's configuration and contains no secret.

    Args:
        root: An operator at the holder, with a root token.
        token: The file of the token, readable only by its owner.
        address: Base URL of the holder for the other Vault; the operator's by default.
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
def _give_key(root: VaultAdmin) -> None:
    """Create the key, which cannot be exported or deleted, and the policy for its use."""
    if "transit/" not in root.request("GET", "sys/mounts").get("data", {}):
        root.request("POST", "sys/mounts/transit", type="transit")
    if not root.request("GET", f"transit/keys/{KEY_NAME}"):
        root.request("POST", f"transit/keys/{KEY_NAME}", type="aes256-gcm96")
    root.request("PUT", f"sys/policies/acl/{_POLICY}", policy=_RULES)


@without_frames
def _give_token(root: VaultAdmin, path: Path) -> None:
    """Create a periodic token for the key, unless there is a valid one."""
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
