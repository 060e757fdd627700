"""How a stack's Vault is sealed.

A stack with auto-unseal keeps the server's ``seal`` stanza in a file, which names the files of key
and token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from vault_harness.errors import CapabilityMissing, StackError, named
from vault_harness.local.engine.configuration import QUICK_AUTOPILOT
from vault_harness.local.engine.shape import Engine, EngineName

SealKind = Literal["shamir", "static", "transit", "awskms", "azurekeyvault"]

SEAL_DIRECTORY = "seal"
"""Holds the stanza and the files that it names."""

ACCESS_KEYS_NAME = "aws-credentials"
"""Access keys with which containers reach Amazon's cloud."""

_STANZA = "seal.json"
_STATIC_KEY = "static.key"


def static_key_path(data_dir: Path) -> Path:
    """Return the key's file: 32 bytes in base64."""
    return data_dir / SEAL_DIRECTORY / _STATIC_KEY


def stanza_path(data_dir: Path) -> Path:
    """Return the stanza's file. Shamir's seal has none."""
    return data_dir / SEAL_DIRECTORY / _STANZA


def node_extra(data_dir: Path, *, cluster: bool) -> dict[str, object]:
    extra: dict[str, object] = {"storage": {"raft": QUICK_AUTOPILOT}} if cluster else {}
    stanza = seal_stanza(data_dir)
    return extra | ({"seal": stanza} if stanza else {})


def seal_stanza(data_dir: Path) -> dict[str, Any]:
    """Return the ``seal`` stanza; empty for Shamir's seal.

    During a migration it also contains the old seal, as disabled.
    """
    path = stanza_path(data_dir)
    try:
        content = json.loads(path.read_text())
        enabled = [kind for kind, stanza in content.items() if not stanza.get("disabled")]
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        content, enabled = {}, []
    if not content or len(enabled) > 1:
        raise StackError(
            f"{_STANZA} is not a seal stanza",
            looked_at=str(path),
            remedy=f"remove it; {named('up')} writes it again from what {path.parent.name}/ has",
        )
    return dict(content)


def holder_out_of_reach(stack: EngineName, engine: Engine) -> CapabilityMissing:
    return CapabilityMissing(
        f"a copy that the {engine.name} engine runs does not reach the Vault that holds the key: "
        f"that is where the {stack} engine has the stack",
        looked_at="HARNESS_ENGINE",
        remedy=f"HARNESS_ENGINE={stack} for this too",
    )
