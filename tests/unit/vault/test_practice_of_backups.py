"""A backup is kept only if it is of the Vault that is looked at."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.vault.backup import Contents, Lock, new_identity, write_backup
from vault_harness.vault.practices import PRACTICES, Standing

LOCK = Lock(recipients=(new_identity()[1],))


@pytest.mark.parametrize(
    ("vaults", "standing", "seen"),
    [
        (("mine",), Standing.KEPT, "of this hour"),
        (("mine", "theirs"), Standing.KEPT, "of this hour"),
        (("theirs",), Standing.BROKEN, "no backup of this Vault"),
        ((), Standing.BROKEN, "there is no backup"),
    ],
)
def test_stacks_share_a_folder(
    tmp_path: Path, vaults: tuple[str, ...], standing: Standing, seen: str
) -> None:
    """The other one's snapshot has nothing of what would be lost here."""
    contents = Contents((), {}, (), ())
    for vault in vaults:
        write_backup(
            tmp_path,
            vault,
            LOCK,
            product="openbao",
            version="2",
            snapshot=(b"a snapshot", contents),
            keys=None,
            vault=vault,
        )
    operator = SimpleNamespace(request=lambda *_: {"cluster_id": "mine"})
    deployment: Any = SimpleNamespace(backups=tmp_path, operator=operator, now=datetime.now(UTC))
    found = PRACTICES["backups"](deployment)
    assert found.standing is standing
    assert seen in found.seen
