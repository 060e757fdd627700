"""Carry a migration out. The power may fail after each step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vault_harness import files
from vault_harness.errors import OperatorError, SettingsError, StackError, named, without_frames
from vault_harness.interrupts import telling_what_is_left
from vault_harness.local.vault.kv import CheckAndSetError, Kv, SecretVersion
from vault_harness.local.written_ahead import Checkpoint
from vault_harness.operator.migrate.dotenv import read
from vault_harness.operator.migrate.files import (
    ClientSettings,
    same,
    take_back_files,
    write_env_vault,
)
from vault_harness.operator.migrate.plan import Placement, Plan
from vault_harness.operator.migrate.record import (
    DIRECTORY,
    MigrationRecord,
    Returned,
    Written,
    half_way,
    last_written,
    next_number,
    place,
    records,
    returned,
    stamp,
)

_ATTEMPTS = 5


@dataclass(frozen=True)
class Outcome:
    """The result of a migration or of its undo.

    Attributes:
        kept: What an undo left alone, with the reason.
        earlier: `stamp` of the migration that another undo would take back, or "".
    """

    changed: Mapping[str, int]
    backup: Path
    env_vault: Path
    kept: tuple[str, ...] = ()
    earlier: str = ""
    before: Path | None = None


@without_frames
def previous_versions(kv: Kv, data_dir: Path) -> dict[str, int]:
    """Return, by path, the version that the newest migration into this Vault wrote."""
    return {
        path: made
        for path, step in last_written(data_dir, kv.uuid()).items()
        if (made := step.made[0]) is not None and step.is_written(kv.read(path, version=made))
    }


@without_frames
def migrate(
    kv: Kv,
    plan: Plan,
    env_file: Path,
    settings: ClientSettings,
    *,
    data_dir: Path,
    keep: bool = False,
    read_as: Mapping[str, object] | None = None,
    checkpoint: Checkpoint = lambda _step: None,
) -> Outcome:
    """Carry a plan out: back up, write with check-and-set, read back, write ``.env.vault``.

    After an error, another run continues from the record.

    Args:
        keep: Leave Vault's value where there is a conflict.
        read_as: ``encoding`` and ``interpolate`` of the original, for a later ``undo``.
    """
    check(plan, env_file, keep=keep)
    text = settings.render()
    env_vault = env_file.with_name(f"{env_file.name}.vault")
    done = _done_before(kv, plan, env_file, data_dir)
    if done is not None and same(env_vault, text.encode()):
        return Outcome({}, Path(done.backup), env_vault)
    changed: dict[str, int] = {}
    with telling_what_is_left(partial(half_way, data_dir, env_file, kv.uuid())):
        record = _record_of(kv, env_file, data_dir, dict(read_as or {}), checkpoint)
        _note_steps(kv, plan, record)
        checkpoint("recorded")
        for path in sorted(plan.versions):
            if path in record.steps and record.steps[path].written is None:
                changed[path] = _write(kv, record, path, plan.of_path(path), checkpoint)
        _verify(kv, plan)
        checkpoint("verified")
        write_env_vault(record, env_vault, text, checkpoint)
        record.state = "done"
        record.save()
        checkpoint("done")
    before = Path(record.env_vault_backup) if record.env_vault_backup else None
    return Outcome(changed, Path(record.backup), env_vault, before=before)


def _done_before(kv: Kv, plan: Plan, env_file: Path, data_dir: Path) -> MigrationRecord | None:
    if any(p.writes for p in plan.placements):
        return None
    content = env_file.read_bytes()
    found = records(data_dir, env_file, kv.uuid())
    done = [each for each in found if each.state == "done" and same(Path(each.backup), content)]
    return done[-1] if done and found[-1].state != "running" else None


def _record_of(
    kv: Kv, env_file: Path, data_dir: Path, read_as: dict[str, object], checkpoint: Checkpoint
) -> MigrationRecord:
    content = env_file.read_bytes()
    uuid = kv.uuid()
    record = next(
        (
            each
            for each in reversed(records(data_dir, env_file, uuid))
            if each.state == "running" and same(Path(each.backup), content)
        ),
        None,
    )
    if record is None:
        now = stamp()
        original = place(env_file)
        backup = original.with_name(f"{original.name}.backup-{now}")
        files.write_private(backup, content)
        checkpoint("backed up")
        record = MigrationRecord(str(original), kv.mount, uuid, now, str(backup), read_as)
        record.number = next_number(data_dir)
        record.file = data_dir / DIRECTORY / f"{now}.json"
    else:
        values = original_values(record)
        for step in record.steps.values():
            if step.written is None:
                find_written(kv, step, values)
    return record


def _note_steps(kv: Kv, plan: Plan, record: MigrationRecord) -> None:
    for path, version in plan.versions.items():
        writing = {p.name: p.target.key for p in plan.of_path(path) if p.writes}
        if not writing:
            continue
        earlier = record.steps.get(path)
        if earlier is None or earlier.written is None:
            record.steps[path] = Written(path, writing, version)
        else:  # another map than in the run that wrote, or --overwrite
            record.steps[path] = earlier.again(writing, kv.read(path, version=version or None))
    record.save()


def _write(
    kv: Kv,
    record: MigrationRecord,
    path: str,
    placements: tuple[Placement, ...],
    checkpoint: Checkpoint,
) -> int:
    step = record.steps[path]
    ours = {p.target.key: p.value for p in placements if p.writes}
    planned_against = kv.read(path, version=step.before).data if step.before else {}
    for _ in range(_ATTEMPTS):
        now = kv.read(path)
        touched = [
            p
            for p in placements
            if p.writes
            and now.data.get(p.target.key) not in (planned_against.get(p.target.key), p.value)
        ]
        if touched:
            raise _conflict(touched)
        if step.note_before(now):
            record.save()
        checkpoint(f"about to write {path}")
        try:
            made = kv.write_version(path, {**now.data, **ours}, cas=now.version)
        except CheckAndSetError:
            continue
        checkpoint(f"wrote {path}")
        step.written, step.written_created = made.version, made.created
        record.save()
        checkpoint(f"recorded {path}")
        return made.version
    raise OperatorError(
        f"{kv.mount}/{path} keeps being changed by somebody else",
        looked_at=f"{_ATTEMPTS} attempts with check-and-set",
        remedy="Find out who writes there "
        f"({named('audit', '--path', '*' + path)}), and run it again.",
    )


def _verify(kv: Kv, plan: Plan) -> None:
    for path in plan.versions:
        data = kv.read(path).data
        wrong = [
            p.target.key
            for p in plan.of_path(path)
            if p.action != "conflict" and data.get(p.target.key) != p.value
        ]
        if wrong:
            raise OperatorError(
                f"{kv.mount}/{path} reads back differently: {', '.join(wrong)}",
                looked_at="the written values and those that Vault has now",
                remedy="Somebody changed it in the meantime: look at it, and run this again.",
            )


def original_values(record: MigrationRecord) -> dict[str, str]:
    if not Path(record.backup).is_file():
        raise StackError(
            "the migration's copy of the original is missing, and only that copy tells what an "
            "interrupted run had written",
            looked_at=record.backup,
            remedy="Put the copy back there under its old name, and run this again.",
        )
    encoding, interpolate = record.read_as.get("encoding"), record.read_as.get("interpolate")
    dotenv = read(
        Path(record.backup), encoding=encoding, interpolate=bool(interpolate), environ=os.environ
    )
    return {name: variable.value for name, variable in dotenv.variables.items()}


def find_written(kv: Kv, step: Written, values: Mapping[str, str]) -> None:
    """Find and record a write that was not recorded."""
    now = kv.read(step.path)
    if now.version > step.before:
        made = kv.read(step.path, version=step.before + 1)
        # The file lacks values made from other values. A step with only those tells nothing.
        ours = {key: values[name] for name, key in step.variables.items() if name in values}
        if ours and ours.items() <= dict(made.data).items():
            step.written, step.written_created = made.version, made.created
    step.never_again()


def _nothing_to_do(plan: Plan, env_file: Path) -> SettingsError:
    """Return an error, since after a success people would delete the original."""
    names = ", ".join((*plan.unknown, *plan.outside)) or "it has no variables"
    return SettingsError(
        f"nothing in {env_file} has a place in Vault: nothing was migrated",
        looked_at=names,
        remedy="Say where its variables belong with --map FILE. The original still has the only "
        "copy of them: keep it.",
    )


def check(plan: Plan, env_file: Path, *, keep: bool) -> None:
    if not plan.placements:
        raise _nothing_to_do(plan, env_file)
    if plan.conflicts and not keep:
        raise _conflict(plan.conflicts)


def _conflict(placements: tuple[Placement, ...] | list[Placement]) -> OperatorError:
    lines = "; ".join(f"{p.name}: {p.why or 'somebody changed it meanwhile'}" for p in placements)
    return OperatorError(
        f"the file has another value than Vault for {len(placements)} of its variables",
        looked_at=lines,
        remedy=f"Compare them ({named('vault', '--', 'kv', 'get')}). Then run it with --keep to "
        "leave Vault's values, or with --overwrite to take those of the file. None of these was "
        "changed.",
    )


@without_frames
def undo(
    kv: Kv, env_file: Path, *, data_dir: Path, checkpoint: Checkpoint = lambda _step: None
) -> Outcome:
    """Take the newest migration of a file back, except where somebody wrote since.

    A secret that the migration created is soft-deleted, and ``kv undelete`` restores it. A changed
    secret gets its earlier keys as a new version. A second undo takes back the migration before
    that.
    """
    record, *earlier = _undoable(kv, env_file, data_dir)
    since = returned(data_dir, record.mount_uuid)
    # Only for writes that an interrupted run did not record.
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
    return list(_undoable(kv, env_file, data_dir)[0].steps)


def _undoable(kv: Kv, env_file: Path, data_dir: Path) -> list[MigrationRecord]:
    found = [r for r in records(data_dir, env_file, kv.uuid()) if r.state != "undone"]
    if found:
        return found[::-1]
    raise StackError(
        f"there is no migration of {env_file.name} to take back",
        looked_at=f"{data_dir / DIRECTORY}",
        remedy="Check --env-file.",
    )


def _take_back(kv: Kv, step: Written, kept: list[str], since: Returned) -> SecretVersion | None:
    """Return the latest version after the undo, or None if the secret was left alone."""
    assert step.written is not None
    now = kv.read(step.path)
    number, _ = step.back
    before = kv.read(step.path, version=number) if number else None
    if before is not None and before.state == "destroyed":
        kept.append(f"{step.path}: version {number} is destroyed, so it cannot be restored")
        return None
    if before is not None and not step.is_back(before):
        kept.append(f"{step.path}: version {number} is not the one from before, so this stays")
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
        return now  # an interrupted run did not record it
    kept.append(f"{step.path}: somebody wrote version {now.version} since, it stays")
    return None
