"""Taking a migration back, as far as nobody wrote since."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from vault_harness.boundary import without_frames
from vault_harness.errors import StackError
from vault_harness.interrupts import telling_what_is_left
from vault_harness.vault.kv import Kv, SecretVersion
from vault_harness.vault.migrate._files import Checkpoint, take_back_files
from vault_harness.vault.migrate._record import (
    DIRECTORY,
    MigrationRecord,
    Returned,
    Written,
    half_way,
    records,
    returned,
)
from vault_harness.vault.migrate._run import Outcome, find_written, original_values


@without_frames
def undo(
    kv: Kv, env_file: Path, *, data_dir: Path, checkpoint: Checkpoint = lambda _step: None
) -> Outcome:
    """Take the newest migration of a file back, as far as nobody wrote since.

    A secret that the migration made is soft-deleted (``kv undelete`` brings it back), one that it
    changed gets its earlier keys as a new version. A ``.env.vault`` that it wrote is removed, or
    replaced by what was there.

    Once more, it takes back the one before that: what the first undo left counts as that one's.

    Raises:
        StackError: There is no migration of that file, or the copy of it that is needed is not
            where it was.
        OperatorError: Vault refused.
    """
    record, *earlier = _undoable(kv, env_file, data_dir)
    since = returned(data_dir, record.mount_uuid)
    # Only what an ended run did not write down has to be found again by its values.
    unsure = any(step.written is None and not step.undone for step in record.steps.values())
    values = original_values(record) if unsure else {}
    changed: dict[str, int] = {}
    kept: list[str] = []
    with telling_what_is_left(partial(half_way, data_dir, env_file, record.mount_uuid)):
        record.state = "undoing"
        record.save()
        checkpoint("undo begun")
        for step in record.steps.values():
            if step.written is None and not step.undone:
                find_written(kv, step, values)
            if step.written is None or step.undone:
                continue
            left = _take_back(kv, step, kept, since)
            if left is not None:
                changed[step.path] = left.version
                step.note_undone(left)
                if step.atop:
                    kept.append(
                        f"{step.path}: as somebody left it between two runs (version "
                        f"{step.back[0]}), with what the first one had written"
                    )
                record.save()
                checkpoint(f"took back {step.path}")
        env_vault = take_back_files(record, env_file, kept)
        checkpoint("files put back")
        record.state = "undone"
        record.save()
    more = earlier[0].started if earlier else ""
    return Outcome(changed, Path(record.backup), env_vault, tuple(kept), more)


@without_frames
def find_undo(kv: Kv, env_file: Path, *, data_dir: Path) -> list[str]:
    """Paths of the secrets that `undo` would take back, as far as nobody wrote since.

    Raises:
        StackError: There is no migration of that file.
    """
    return list(_undoable(kv, env_file, data_dir)[0].steps)


def _undoable(kv: Kv, env_file: Path, data_dir: Path) -> list[MigrationRecord]:
    """The migrations of a file that are not taken back, the newest first; at least one."""
    found = [r for r in records(data_dir, env_file, kv.uuid()) if r.state != "undone"]
    if found:
        return found[::-1]
    raise StackError(
        f"no migration of {env_file.name} is there to take back",
        looked_at=f"{data_dir / DIRECTORY}",
        remedy="Check --env-file.",
    )


def _take_back(kv: Kv, step: Written, kept: list[str], since: Returned) -> SecretVersion | None:
    """Undo one secret; the version that is the latest now, or None if it was left alone."""
    assert step.written is not None
    now = kv.read(step.path)
    number, _ = step.back
    before = kv.read(step.path, version=number) if number else None
    if before is not None and before.state == "destroyed":
        kept.append(f"{step.path}: version {number} is destroyed, there is nothing to go back to")
        return None
    if before is not None and not step.is_back(before):
        kept.append(f"{step.path}: version {number} is another one now, it stays")
        return None
    gone = before is None or before.state != "present"
    if step.is_own(now, since):
        if now.state != "present":
            return now
        if gone:
            kv.delete(step.path, now.version)
            return now
        assert before is not None
        return kv.write_version(step.path, before.data, cas=now.version)
    if (
        not gone
        and before is not None
        and now.data == before.data
        and now.version > 1
        and step.is_own(kv.read(step.path, version=now.version - 1), since)
    ):
        return now  # taken back already, by a run that was ended before it could record it
    kept.append(f"{step.path}: somebody wrote version {now.version} since, it stays")
    return None
