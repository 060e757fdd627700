from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.operator.backup import Contents, Lock, new_identity, write_backup
from vault_harness.operator.doctor import State
from vault_harness.operator.practices import PRACTICES

LOCK = Lock(recipients=(new_identity()[1],))


@pytest.mark.parametrize(
    ("vaults", "standing", "seen"),
    [
        (("mine",), State.GOOD, "of this hour"),
        (("mine", "theirs"), State.GOOD, "of this hour"),
        (("theirs",), State.BAD, "no backup of this Vault"),
        ((), State.BAD, "there is no backup"),
    ],
)
def test_stacks_share_a_folder(
    tmp_path: Path, vaults: tuple[str, ...], standing: State, seen: str
) -> None:
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
    assert found.state is standing
    assert seen in found.seen


@pytest.mark.parametrize(
    ("made", "standing", "seen"),
    [
        ([400], State.BAD, "dated after now"),
        ([400, -3], State.BAD, "72 h old"),
        ([400, 0], State.GOOD, "of this hour"),
    ],
)
def test_a_clock_that_was_wrong(
    tmp_path: Path, made: list[int], standing: State, seen: str
) -> None:
    """A backup of the future does not hide that the others are too old."""
    now = datetime.now(UTC)
    for number, days in enumerate(made):
        backup = write_backup(
            tmp_path,
            str(number),
            LOCK,
            product="openbao",
            version="2",
            snapshot=(b"a snapshot", Contents((), {}, (), ())),
            keys=None,
            vault="mine",
        )
        manifest = backup.directory / "manifest.json"
        content = json.loads(manifest.read_text())
        content["made"] = (now + timedelta(days=days)).isoformat()
        manifest.write_text(json.dumps(content))
    operator = SimpleNamespace(request=lambda *_: {"cluster_id": "mine"})
    deployment: Any = SimpleNamespace(backups=tmp_path, operator=operator, now=now)
    found = PRACTICES["backups"](deployment)
    assert found.state is standing
    assert seen in found.seen
