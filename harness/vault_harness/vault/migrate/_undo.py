"""Taking a migration back, as far as nobody wrote since."""

from __future__ import annotations

from pathlib import Path

from vault_harness.boundary import without_frames
from vault_harness.errors import StackError
from vault_harness.vault.kv import Kv
from vault_harness.vault.migrate._files import Checkpoint, take_back_files
from vault_harness.vault.migrate._record import DIRECTORY, MigrationRecord, Written, records
from vault_harness.vault.migrate._run import Outcome, find_written, original_values


@without_frames
def undo(
    kv: Kv, env_file: Path, *, data_dir: Path, checkpoint: Checkpoint = lambda _step: None
) -> Outcome:
    """Take the newest migration of a file back, as far as nobody wrote since.

    A secret that the migration made is soft-deleted (``kv undelete`` brings it back), one that it
    changed gets its earlier keys as a new version. A ``.env.vault`` that it wrote is removed, or
    replaced by what was there.

    Raises:
        StackError: There is no migration of that file, or the copy of it that is needed is not
            where it was.
        OperatorError: Vault refused.
    """
    record = _newest(kv, env_file, data_dir)
    # Only what an ended run did not write down has to be found again by its values.
    unsure = any(step.written is None and not step.undone for step in record.steps.values())
    values = original_values(record) if unsure else {}
    record.state = "undoing"
    record.save()
    checkpoint("undo begun")
    changed: dict[str, int] = {}
    kept: list[str] = []
    for step in record.steps.values():
        if step.written is None and not step.undone:
            find_written(kv, step, values)
        if step.written is None or step.undone:
            continue
        version = _take_back(kv, step, kept)
        if version is not None:
            changed[step.path] = version
            step.undone = True
            if step.atop:
                kept.append(
                    f"{step.path}: as somebody left it between two runs (version {step.back[0]}), "
                    "with what the first one had written"
                )
            record.save()
            checkpoint(f"took back {step.path}")
    env_vault = take_back_files(record, env_file, kept)
    checkpoint("files put back")
    record.state = "undone"
    record.save()
    return Outcome(changed, Path(record.backup), env_vault, tuple(kept))


@without_frames
def find_undo(kv: Kv, env_file: Path, *, data_dir: Path) -> list[str]:
    """Paths of the secrets that `undo` would take back, as far as nobody wrote since.

    Raises:
        StackError: There is no migration of that file.
    """
    return list(_newest(kv, env_file, data_dir).steps)


def _newest(kv: Kv, env_file: Path, data_dir: Path) -> MigrationRecord:
    found = [r for r in records(data_dir, env_file, kv.uuid()) if r.state != "undone"]
    if found:
        return found[-1]
    raise StackError(
        f"no migration of {env_file.name} is there to take back",
        looked_at=f"{data_dir / DIRECTORY}",
        remedy="Check --env-file.",
    )


def _take_back(kv: Kv, step: Written, kept: list[str]) -> int | None:
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
    if step.is_written(now):
        if now.state != "present":
            return now.version
        if gone:
            kv.delete(step.path, now.version)
            return now.version
        assert before is not None
        return kv.write(step.path, before.data, cas=now.version)
    if (
        not gone
        and before is not None
        and now.version == step.written + 1
        and now.data == before.data
    ):
        return now.version  # taken back already, by a run that was ended before it could record it
    kept.append(f"{step.path}: somebody wrote version {now.version} since, it stays")
    return None
