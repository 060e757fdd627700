"""Carrying a migration out. Each step can be the last one before the power goes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.errors import OperatorError, SettingsError, StackError
from vault_harness.interrupts import telling_what_is_left
from vault_harness.vault.kv import CheckAndSetError, Kv
from vault_harness.vault.migrate._dotenv import read
from vault_harness.vault.migrate._files import (
    Checkpoint,
    ClientSettings,
    copy,
    same,
    write_env_vault,
)
from vault_harness.vault.migrate._plan import Placement, Plan
from vault_harness.vault.migrate._record import (
    DIRECTORY,
    MigrationRecord,
    Written,
    half_way,
    last_written,
    next_number,
    place,
    records,
    stamp,
)

_ATTEMPTS = 5


@dataclass(frozen=True)
class Outcome:
    """What a migration, or taking one back, came to.

    Attributes:
        changed: Secrets written (or taken back), as ``path`` to their new version.
        backup: The copy of the original.
        env_vault: The file with the settings for clients.
        kept: What was left alone on taking back, one line each with the reason.
        earlier: When the migration of the same file was begun that another undo would take back,
            see `stamp`; empty if there is none.
        before: The copy of what was in ``env_vault`` before a migration wrote there.
    """

    changed: Mapping[str, int]
    backup: Path
    env_vault: Path
    kept: tuple[str, ...] = ()
    earlier: str = ""
    before: Path | None = None


@without_frames
def previous_versions(kv: Kv, data_dir: Path) -> dict[str, int]:
    """By path, the version that the newest migration into this Vault made."""
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

    Args:
        kv: Where it goes.
        plan: What `make_plan` found; nothing is written if it has conflicts, unless ``keep``.
        env_file: The original, which is never changed.
        settings: What ``.env.vault`` says; it is written beside the original.
        data_dir: Where the record of the migration goes.
        keep: Leave Vault's value where there is a conflict.
        read_as: How the original was read (``encoding``, ``interpolate``), for a later ``undo``.
        checkpoint: Called after each step.

    Raises:
        SettingsError: None of the variables has a place.
        OperatorError: A conflict, or Vault refused; what was written so far is in the record, and
            running it again goes on from there.
    """
    if not plan.placements:
        raise _nothing_to_do(plan, env_file)
    if plan.conflicts and not keep:
        raise _conflict(plan.conflicts)
    text = settings.render()
    env_vault = env_file.with_name(f"{env_file.name}.vault")
    done = _done_before(kv, plan, env_file, data_dir)
    if done is not None and same(env_vault, text.encode()):
        return Outcome({}, Path(done.backup), env_vault)
    changed: dict[str, int] = {}
    with telling_what_is_left(partial(half_way, data_dir, env_file, kv.uuid())):
        record = _begin(kv, plan, env_file, data_dir, dict(read_as or {}), checkpoint)
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
    """The finished migration of this very file, if there is nothing left to write."""
    if any(p.action in _WRITES for p in plan.placements):
        return None
    content = env_file.read_bytes()
    found = records(data_dir, env_file, kv.uuid())
    done = [each for each in found if each.state == "done" and same(Path(each.backup), content)]
    return done[-1] if done and found[-1].state != "running" else None


def _begin(
    kv: Kv,
    plan: Plan,
    env_file: Path,
    data_dir: Path,
    read_as: dict[str, object],
    checkpoint: Checkpoint,
) -> MigrationRecord:
    """An unfinished record of the same file, or a new one with a new backup."""
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
        copy(backup, content)
        checkpoint("backed up")
        record = MigrationRecord(str(original), kv.mount, uuid, now, str(backup), read_as)
        record.number = next_number(data_dir)
        record.file = data_dir / DIRECTORY / f"{now}.json"
    else:
        values = original_values(record)
        for step in record.steps.values():
            if step.written is None:
                find_written(kv, step, values)
    for path, version in plan.versions.items():
        writing = {p.name: p.target.key for p in plan.of_path(path) if p.action in _WRITES}
        if not writing:
            continue
        earlier = record.steps.get(path)
        if earlier is None or earlier.written is None:
            record.steps[path] = Written(path, writing, version)
        else:  # this run was given another map than the one that wrote, or --overwrite
            record.steps[path] = earlier.again(writing, kv.read(path, version=version or None))
    record.save()
    checkpoint("recorded")
    return record


_WRITES = frozenset({"create", "change"})


def _write(
    kv: Kv,
    record: MigrationRecord,
    path: str,
    placements: tuple[Placement, ...],
    checkpoint: Checkpoint,
) -> int:
    """Write one secret on top of what is there, as long as nobody touches the same keys."""
    step = record.steps[path]
    ours = {p.target.key: p.value for p in placements if p.action in _WRITES}
    planned_against = kv.read(path, version=step.before).data if step.before else {}
    for _ in range(_ATTEMPTS):
        now = kv.read(path)
        touched = [
            p
            for p in placements
            if p.action in _WRITES
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
        f"{kv.mount}/{path} is being changed all the time by somebody else",
        looked_at=f"{_ATTEMPTS} attempts with check-and-set",
        remedy="Find out who writes there "
        f"({named('audit', '--path', '*' + path)}), and run it again.",
    )


def _verify(kv: Kv, plan: Plan) -> None:
    """Read every secret back and compare, byte for byte."""
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
                looked_at="what was written against what Vault has now",
                remedy="Somebody changed it in the meantime: look at it, and run this again.",
            )


def original_values(record: MigrationRecord) -> dict[str, str]:
    """The variables of the original, from its copy.

    Raises:
        StackError: The copy is not where it was.
    """
    if not Path(record.backup).is_file():
        raise StackError(
            "the copy of the original that the migration made is not where it was, and without it "
            "nobody can tell what an ended run had written",
            looked_at=record.backup,
            remedy="Put the copy back there under its old name, and run this again.",
        )
    encoding, interpolate = record.read_as.get("encoding"), record.read_as.get("interpolate")
    dotenv = read(
        Path(record.backup), encoding=encoding, interpolate=bool(interpolate), environ=os.environ
    )
    return {name: variable.value for name, variable in dotenv.variables.items()}


def find_written(kv: Kv, step: Written, values: Mapping[str, str]) -> None:
    """Note the version of a write that happened but was not recorded any more, if there is one."""
    now = kv.read(step.path)
    if now.version > step.before:
        made = kv.read(step.path, version=step.before + 1)
        # What was made of other values is not in the file; a step of such keys alone tells nothing.
        ours = {key: values[name] for name, key in step.variables.items() if name in values}
        if ours and ours.items() <= dict(made.data).items():
            step.written, step.written_created = made.version, made.created
    step.never_again()


def _nothing_to_do(plan: Plan, env_file: Path) -> SettingsError:
    """Saying that nothing was written, and go on to talk of the original, loses secrets."""
    names = ", ".join((*plan.unknown, *plan.outside)) or "it has no variables"
    return SettingsError(
        f"nothing in {env_file} has a place in Vault: nothing was migrated",
        looked_at=names,
        remedy="Say where its variables belong with --map FILE. The original still has the only "
        "copy of them: keep it.",
    )


def _conflict(placements: tuple[Placement, ...] | list[Placement]) -> OperatorError:
    lines = "; ".join(f"{p.name}: {p.why or 'it was changed meanwhile'}" for p in placements)
    return OperatorError(
        f"{len(placements)} value(s) in Vault are neither of seeding nor of a migration",
        looked_at=lines,
        remedy=f"Compare them ({named('vault', '--', 'kv', 'get')}). Then run it with --keep to "
        "leave Vault's values, or with --overwrite to take those of the file. None of these was "
        "changed.",
    )
