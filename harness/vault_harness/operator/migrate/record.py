"""Record a migration, without values, before each step, for a second run and ``--undo``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vault_harness.errors import StackError, named
from vault_harness.local.vault.kv import SecretVersion
from vault_harness.local.written_ahead import WrittenAhead

_FORMAT = 1
DIRECTORY = "migrations"

Returned = Mapping[tuple[str, int, str], tuple[int, str]]
"""From path, number and time of the version that an undo left to the version it restored."""


@dataclass
class Written:
    """One secret that a migration writes.

    Attributes:
        before: Latest version at the time of the plan, 0 for none.
        before_created: When it was written, since a number may occur again, for example after a
            restore.
        written: Version that the migration wrote, None until it is confirmed.
        origin: Set if an earlier run wrote here and nobody since: the version before that run, 0
            for none. ``before`` is then the version of that run.
        atop: An earlier run wrote here and somebody else since, whose version is ``before``.
        left: Latest version after the undo. None before it, and in records of earlier releases.
    """

    path: str
    variables: dict[str, str]
    before: int
    before_created: str = ""
    written: int | None = None
    written_created: str = ""
    undone: bool = False
    origin: int | None = None
    origin_created: str = ""
    atop: bool = False
    left: int | None = None
    left_created: str = ""

    @property
    def back(self) -> tuple[int, str]:
        if self.origin is None:
            return self.before, self.before_created
        return self.origin, self.origin_created

    @property
    def made(self) -> tuple[int | None, str]:
        if self.written is None and self.origin is not None:
            return self.before, self.before_created
        return self.written, self.written_created

    def again(self, variables: dict[str, str], now: SecretVersion) -> Written:
        if not self.is_written(now):
            return Written(self.path, variables, now.version, atop=True)
        origin, created = self.back
        return Written(
            self.path,
            variables,
            now.version,
            now.created,
            origin=origin,
            origin_created=created,
            atop=self.atop,
        )

    def never_again(self) -> None:
        """Undo `again` after a run that wrote nothing."""
        if self.written is None and self.origin is not None:
            self.written, self.written_created = self.made
            self.before, self.before_created = self.back
            self.origin, self.origin_created = None, ""

    def note_before(self, now: SecretVersion) -> bool:
        """Record what the write is based on; return True if it changed."""
        if (now.version, now.created) == (self.before, self.before_created):
            return False
        if now.version != self.before and self.origin is not None:
            self.origin, self.origin_created, self.atop = None, "", True
        self.before, self.before_created = now.version, now.created
        return True

    def is_written(self, version: SecretVersion) -> bool:
        """Return whether the migration wrote this. An equal number alone is not enough."""
        return self._is_made(version.version, version.created)

    def is_own(self, version: SecretVersion, returned: Returned) -> bool:
        """Return whether the migration wrote this, or a later undo restored it."""
        number, created = version.version, version.created
        while not self._is_made(number, created):
            back = returned.get((self.path, number, created), (0, ""))
            if not 0 < back[0] < number:
                return False
            number, created = back
        return True

    def _is_made(self, number: int, created: str) -> bool:
        wanted, moment = self.made
        return number == wanted and _same(created, moment)

    def note_undone(self, left: SecretVersion) -> None:
        self.undone, self.left, self.left_created = True, left.version, left.created

    def is_back(self, version: SecretVersion) -> bool:
        number, created = self.back
        return version.version == number and _same(version.created, created)


@dataclass
class MigrationRecord:
    """One migration of one dotenv file.

    Attributes:
        mount_uuid: Distinguishes the mounts of different Vaults.
        state: ``running``, ``done``, ``undoing`` or ``undone``.
        number: Orders a data directory's migrations, since the clock may be set back. 0 in records
            of earlier releases.
    """

    env_file: str
    mount: str
    mount_uuid: str
    started: str
    backup: str
    read_as: dict[str, Any] = field(default_factory=dict)
    env_vault: str | None = None
    env_vault_sha256: str | None = None
    env_vault_backup: str | None = None
    state: str = "running"
    steps: dict[str, Written] = field(default_factory=dict)
    number: int = 0
    file: Path | None = None

    def save(self) -> None:
        assert self.file is not None
        content = asdict(self)
        del content["file"]
        for step in content["steps"].values():
            if step["left"] is None:  # so that an earlier release can read it
                del step["left"], step["left_created"]
        _written_ahead(self.file).write(content)


def _same(created: str, noted: str) -> bool:
    """Compare two times. Records of earlier releases have none."""
    return not noted or created == noted


def place(file: Path) -> Path:
    """Return the same path for each way to name its folder. A link in the last part stays."""
    return file.parent.resolve() / file.name


def stamp() -> str:
    """Return the time in UTC, for a file name that sorts by time."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")


def records(data_dir: Path, env_file: Path, mount_uuid: str) -> list[MigrationRecord]:
    wanted = place(env_file)
    return [
        record
        for record in _all(data_dir)
        if record.mount_uuid == mount_uuid and place(Path(record.env_file)) == wanted
    ]


def last_written(data_dir: Path, mount_uuid: str) -> dict[str, Written]:
    return {
        step.path: step
        for record in _all(data_dir)
        if record.mount_uuid == mount_uuid
        for step in record.steps.values()
        if step.made[0] is not None and not step.undone
    }


def returned(data_dir: Path, mount_uuid: str) -> Returned:
    return {
        (step.path, step.left, step.left_created): step.back
        for record in _all(data_dir)
        if record.mount_uuid == mount_uuid
        for step in record.steps.values()
        if step.undone and step.left is not None
    }


def half_way(data_dir: Path, env_file: Path, mount_uuid: str) -> str:
    """Return what is unfinished with a file, and how to finish it."""
    found: list[MigrationRecord] = []
    with contextlib.suppress(StackError):  # an unreadable record tells nothing
        found = records(data_dir, env_file, mount_uuid)
    state = found[-1].state if found else ""
    again, back = named("migrate", str(env_file)), named("migrate", str(env_file), "--undo")
    if state == "running":
        return f"{env_file.name} is half migrated: {again} continues, {back} takes it back"
    return f"{env_file.name} is half taken back: {back} continues" if state == "undoing" else ""


def next_number(data_dir: Path) -> int:
    return 1 + max((record.number for record in _all(data_dir)), default=0)


def _all(data_dir: Path) -> list[MigrationRecord]:
    # A stable sort: records without a number stay sorted by name, so by time.
    return sorted(_each(data_dir), key=lambda record: record.number)


def _each(data_dir: Path) -> Iterator[MigrationRecord]:
    for path in sorted((data_dir / DIRECTORY).glob("*.json")):
        if (record := _written_ahead(path).read()) is not None:
            record.file = path
            yield record


def _written_ahead(file: Path) -> WrittenAhead[MigrationRecord]:
    return WrittenAhead(file, _made, _refused, _FORMAT)


def _made(*, steps: dict[str, dict[str, Any]], **fields: Any) -> MigrationRecord:
    return MigrationRecord(**fields, steps={name: Written(**step) for name, step in steps.items()})


def _refused(file: Path) -> StackError:
    return StackError(
        f"{file.name} is not a record of a migration",
        looked_at=str(file),
        remedy=f"Move the file away: mv '{file}' '{file}.broken'. Then --undo cannot take "
        "that migration back.",
    )
