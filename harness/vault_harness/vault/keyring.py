"""Unseal keys and root token of one Vault, and the file that holds them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.errors import KeyringMissing, StackError


@dataclass(frozen=True)
class Keyring:
    """What ``init`` hands out once and never again. Its repr shows no secret.

    Attributes:
        keys: Shamir shares, base64 as Vault prints them; empty for a Vault of somebody else.
        threshold: How many of them unseal.
        root_token: Empty once it is revoked.
    """

    keys: tuple[str, ...] = field(repr=False)
    threshold: int
    root_token: str = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> Keyring:
        """Read the file that `save` or ``vault operator init -format=json`` wrote.

        Raises:
            KeyringMissing: There is no such file.
            StackError: It is there but is no keyring.
        """
        try:
            content: Any = json.loads(path.read_text())
            keyring = cls(
                keys=tuple(str(key) for key in content["unseal_keys_b64"]),
                threshold=int(content["unseal_threshold"]),
                root_token=str(content.get("root_token") or ""),
            )
        except FileNotFoundError:
            raise KeyringMissing(
                f"the keyring {path.name} is not there",
                looked_at=str(path),
                remedy="put it back from a backup; without it nobody can unseal this Vault again",
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            keyring = cls((), 0, "")
        if not 0 < keyring.threshold <= len(keyring.keys):
            # No cause chained: a JSON error quotes what it could not read.
            raise StackError(
                f"{path.name} is not a keyring",
                looked_at=f"{path}: expected unseal_keys_b64, unseal_threshold, root_token",
                remedy="put it back from a backup",
            )
        return keyring

    def save(self, path: Path) -> None:
        """Write it safely (temporary name, fsync, rename), mode 0600."""
        content = {
            "unseal_keys_b64": list(self.keys),
            "unseal_shares": len(self.keys),
            "unseal_threshold": self.threshold,
            "root_token": self.root_token,
        }
        files.write_private(path, json.dumps(content, indent=2) + "\n")

    def without_root(self) -> Keyring:
        """The same after the root token was revoked."""
        return replace(self, root_token="")
