"""Copies of what tasks replace in Vault, and policies that a person adopted. No secrets.

``replaced/`` has a copy of each replaced policy and setting; ``adopted/`` the policies that count
instead of the blueprint's.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vault_harness import files
from vault_harness.local.vault.admin import VaultAdmin

REPLACED_NAME = "replaced"
ADOPTED_NAME = "adopted"

_STAMP = "[0-9]" * 8 + "-" + "[0-9]" * 6


@dataclass(frozen=True)
class Kept:
    """The two folders of one namespace, beside the ids of its AppRoles."""

    directory: Path

    @property
    def replaced_path(self) -> Path:
        return self.directory / REPLACED_NAME

    def keep(self, kind: str, name: str, content: str) -> Path:
        """Write a copy before something is replaced. Equal content is kept once.

        Return the copy, for example ``replaced/policy-backend-20261201-150112.hcl``.
        """
        folder = self._folder(REPLACED_NAME)
        start, suffix = f"{kind}-{_as_file(name)}-", "hcl" if kind == "policy" else "json"
        for earlier in folder.glob(f"{start}{_STAMP}*.{suffix}"):
            if earlier.read_bytes() == content.encode():
                return earlier
        stamp = time.strftime("%Y%m%d-%H%M%S")
        numbered = (f"{start}{stamp}{f'.{n}' if n else ''}.{suffix}" for n in itertools.count())
        copy = next(folder / each for each in numbered if not (folder / each).exists())
        files.write_private(copy, content)
        return copy

    def keep_policy(self, op: VaultAdmin, name: str, new: str) -> Path | None:
        """Keep the present policy if a new text would replace it."""
        present = policy_text(op, name)
        if not present.strip() or present.strip() == new.strip():
            return None
        return self.keep("policy", name, present)

    def adopt(self, policy: str, text: str) -> Path:
        """Make a policy count instead of the blueprint's, for `seed` and `doctor`."""
        files.write_private(self._folder(ADOPTED_NAME) / f"{_as_file(policy)}.hcl", text)
        return self.adopted_path(policy)

    def give_up(self, policy: str) -> None:
        self.adopted_path(policy).unlink(missing_ok=True)

    def adopted(self, policy: str) -> str:
        """Return the text that counts instead of the blueprint's; empty if none."""
        path = self.adopted_path(policy)
        return path.read_bytes().decode() if path.exists() else ""

    def adopted_path(self, policy: str) -> Path:
        return self.directory / ADOPTED_NAME / f"{_as_file(policy)}.hcl"

    def _folder(self, name: str) -> Path:
        files.private_directory(self.directory)
        return files.private_directory(self.directory / name)


def policy_text(op: VaultAdmin, name: str) -> str:
    data = op.request("GET", f"sys/policies/acl/{name}").get("data") or {}
    return str(data.get("policy") or "")


def _as_file(name: str) -> str:
    return quote(name, safe="")
