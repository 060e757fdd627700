"""Who acts in the unsealed Vault, where there is nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.errors import KeyringMissing
from vault_harness.vault.root import standing_operator


def test_without_keys_they_come_back_first(tmp_path: Path) -> None:
    """No token and no keyring: a root token cannot be made from keys that are not here."""
    with pytest.raises(KeyringMissing) as caught:
        standing_operator("http://127.0.0.1:1", None, tmp_path)
    remedy = caught.value.remedy or ""
    assert remedy.index("restore.keys") < remedy.index("root.generate")
