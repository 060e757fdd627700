"""What a migration does, on disk before it does it. There are no values in it.

A second run and ``--undo`` go by it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.commands import named
from vault_harness.errors import StackError
from vault_harness.vault.kv import SecretVersion

_FORMAT = 1
DIRECTORY = "migrations"

Returned = Mapping[tuple[str, int, str], tuple[int, str]]
"""By path, number and moment of the version that an undo left: the version that it is again."""


@dataclass
class Written:
    """One secret that a migration writes.

    Attributes:
        path: Under the mount.
        variables: Variable to key, of what is written there.
        before: The latest version when it was planned, 0 for none.
        before_created: When that one was written: numbers come again, after a restore for example.
        written: The version that the migration made, None while that is not confirmed.
        written_created: When that one was written.
        undone: Whether it was taken back.
        origin: Where a run of the same migration wrote here before, and nobody since: the version
            that was there before that one, 0 for none. ``before`` is what that run made then.
        origin_created: When ``origin`` was written.
        atop: Whether a run of the same migration wrote here before, and somebody since: ``before``
            is theirs then, with what that run had written in it.
        left: The latest version once it was taken back, None where it was not, and in records of
            earlier releases.
        left_created: When that one was written.
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
        """The version that taking it back leads to, and when that was written."""
        if self.origin is None:
            return self.before, self.before_created
        return self.origin, self.origin_created

    @property
    def made(self) -> tuple[int | None, str]:
        """The newest version that is the migration's own, and when that was written."""
        if self.written is None and self.origin is not None:
            return self.before, self.before_created
        return self.written, self.written_created

    def again(self, variables: dict[str, str], now: SecretVersion) -> Written:
        """The step of a later run that writes here once more.

        Args:
            variables: What it writes.
            now: The version that it was planned against.
        """
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
        """Nothing was written once more: it is what it was before `again`."""
        if self.written is None and self.origin is not None:
            self.written, self.written_created = self.made
            self.before, self.before_created = self.back
            self.origin, self.origin_created = None, ""

    def note_before(self, now: SecretVersion) -> bool:
        """Note what the write is on top of; whether anything had to be noted."""
        if (now.version, now.created) == (self.before, self.before_created):
            return False
        if now.version != self.before and self.origin is not None:
            self.origin, self.origin_created, self.atop = None, "", True
        self.before, self.before_created = now.version, now.created
        return True

    def is_written(self, version: SecretVersion) -> bool:
        """Whether that is the version that the migration made, and not its number come again."""
        return self._is_made(version.version, version.created)

    def is_own(self, version: SecretVersion, returned: Returned) -> bool:
        """As `is_written`, also of one by which a later migration was taken back to that.

        Args:
            version: The latest one, say.
            returned: What every undo led to.
        """
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
        """Note that it was taken back, and which version is the latest since."""
        self.undone, self.left, self.left_created = True, left.version, left.created

    def is_back(self, version: SecretVersion) -> bool:
        """Whether that is the version that taking it back leads to."""
        number, created = self.back
        return version.version == number and _same(version.created, created)


@dataclass
class MigrationRecord:
    """One migration of one dotenv file.

    Attributes:
        env_file: Absolute path of the original, see `place`.
        mount: The KV v2 mount.
        mount_uuid: Tells this Vault's mount from that of another Vault.
        backup: Copy of the original, made before anything else.
        read_as: Encoding and interpolation that the original was read with.
        env_vault: The file with the settings for clients, once written.
        env_vault_sha256: Of what was written there (it holds no secret).
        env_vault_backup: What was there before, if anything.
        state: ``running``, ``done``, ``undoing`` or ``undone``.
        steps: By path.
        number: Its place among the migrations of a data directory, counted: the clock may have been
            set back between two. 0 in records of earlier releases, which are older.
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
        """Write it so that a crash leaves the state before or the state after."""
        assert self.file is not None
        files.private_directory(self.file.parent)
        content = {"format": _FORMAT, **asdict(self)}
        del content["file"]
        for step in content["steps"].values():
            if step["left"] is None:  # a colleague's earlier release reads what says nothing of it
                del step["left"], step["left_created"]
        files.write_private(self.file, json.dumps(content, indent=2) + "\n")


def _same(created: str, noted: str) -> bool:
    """Records of earlier releases have no moments: for them the number must do."""
    return not noted or created == noted


def place(file: Path) -> Path:
    """Where a file is, the same for each way to name its folder: ``../.env`` is ``.env`` there."""
    return file.parent.resolve() / file.name


def stamp() -> str:
    """Now, in UTC, fit for a file name and sorted like time."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")


def records(data_dir: Path, env_file: Path, mount_uuid: str) -> list[MigrationRecord]:
    """Migrations of one file into one Vault, oldest first.

    Raises:
        StackError: A record cannot be read.
    """
    wanted = place(env_file)
    return [
        record
        for record in _all(data_dir)
        if record.mount_uuid == mount_uuid and place(Path(record.env_file)) == wanted
    ]


def last_written(data_dir: Path, mount_uuid: str) -> dict[str, Written]:
    """What the newest migration wrote, by path, whatever file it came from."""
    return {
        step.path: step
        for record in _all(data_dir)
        if record.mount_uuid == mount_uuid
        for step in record.steps.values()
        if step.made[0] is not None and not step.undone
    }


def returned(data_dir: Path, mount_uuid: str) -> Returned:
    """What every undo in this Vault led to: what it left is what was there before, once more.

    Raises:
        StackError: A record cannot be read.
    """
    return {
        (step.path, step.left, step.left_created): step.back
        for record in _all(data_dir)
        if record.mount_uuid == mount_uuid
        for step in record.steps.values()
        if step.undone and step.left is not None
    }


def half_way(data_dir: Path, env_file: Path, mount_uuid: str) -> str:
    """What was begun with a file and not finished, and what finishes it; empty if nothing was."""
    found: list[MigrationRecord] = []
    with contextlib.suppress(StackError):  # then nothing of it can be told
        found = records(data_dir, env_file, mount_uuid)
    state = found[-1].state if found else ""
    again, back = named("migrate", str(env_file)), named("migrate", str(env_file), "--undo")
    if state == "running":
        return f"{env_file.name} is half migrated: {again} goes on with it, {back} takes it back"
    return f"{env_file.name} is half taken back: {back} goes on" if state == "undoing" else ""


def next_number(data_dir: Path) -> int:
    """The place of one more migration, after all that there are.

    Raises:
        StackError: A record cannot be read.
    """
    return 1 + max((record.number for record in _all(data_dir)), default=0)


def _all(data_dir: Path) -> list[MigrationRecord]:
    """Every record, in the order in which they were begun."""
    # Those without a number stay as their names sort: by time.
    return sorted(_each(data_dir), key=lambda record: record.number)


def _each(data_dir: Path) -> Iterator[MigrationRecord]:
    for path in sorted((data_dir / DIRECTORY).glob("*.json")):
        try:
            content = json.loads(path.read_text())
            if content.pop("format") != _FORMAT:
                raise ValueError
            content["steps"] = {name: Written(**step) for name, step in content["steps"].items()}
            record = MigrationRecord(**content)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise StackError(
                f"{path.name} is not a record of a migration",
                looked_at=str(path),
                remedy=f"Move the file away: mv '{path}' '{path}.broken'. --undo can then not take "
                "that migration back.",
            ) from None
        record.file = path
        yield record
