"""What a saved stack has besides its Vault."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from vault_harness import files
from vault_harness.errors import HarnessError, StackError, named, without_frames
from vault_harness.local.engine.provider import holds_data
from vault_harness.local.engine.seal import SealKind, seal_stanza
from vault_harness.local.stack import sealing
from vault_harness.local.stack.data_dir import NAMESPACES_NAME
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault.kept import ADOPTED_NAME, REPLACED_NAME
from vault_harness.operator.backup.files import Backup, Keys
from vault_harness.operator.backup.keys import restore_seal_key
from vault_harness.operator.backup.lock import Opener

PART = "stack.age"
_IDS = ("-role-id", "-secret-id")
_FOLDERS = frozenset({ADOPTED_NAME, REPLACED_NAME})


@dataclass(frozen=True)
class Saved:
    """A stack without its Vault; `files` are by path below the data directory."""

    seal: SealKind
    nodes: int
    tls: bool
    client_certs: bool
    seeded: str
    blueprint: str
    files: dict[str, str]

    @classmethod
    def of(cls, stack: LocalStack) -> Saved:
        record = StackRecord.load(stack.data_dir)
        return cls(
            seal=sealing.seal_here(stack.data_dir),
            nodes=len(stack.endpoints().nodes),
            tls=record.tls,
            client_certs=record.client_certs,
            seeded=record.seeded,
            blueprint=record.blueprint,
            files={
                str(path.relative_to(stack.data_dir)): path.read_bytes().decode()
                for path in _files(stack.data_dir)
            },
        )

    @classmethod
    @without_frames
    def load(cls, backup: Backup, opener: Opener) -> Saved:
        """Refuse a file that would go outside the data directory."""
        if not backup.has(PART):
            raise StackError(
                f"{backup.directory} is a backup of a Vault, and no saved stack",
                looked_at=f"{backup.directory}: {', '.join(backup.checksums)}",
                remedy=named("restore", "--source", backup.directory),
            )
        found = cls(**json.loads(backup.open_part(PART, opener)))
        for name in found.files:  # anybody who knows a public key can make a save
            if ".." in PurePosixPath(name).parts or not _is_saved(PurePosixPath(name)):
                raise StackError(
                    f"this save has a file that no stack has: {name!r}",
                    looked_at=str(backup.directory / PART),
                    remedy="load a save that you or somebody you trust has made",
                )
        return found

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    def start(self, stack: LocalStack, keys: Keys) -> None:
        """Start the stack that is here, or a new one of the same shape."""
        if holds_data(stack.data_dir):
            left = stack.opening.unfinished_restore()
            # Only the rest of the restore opens the servers.
            half_way = left is not None and not left.keys_here
            with contextlib.suppress(*([HarnessError] if half_way else [])):
                stack.up()
            return
        with stack.held():
            restore_seal_key(keys, stack.data_dir)
        stack.up(ha=self.nodes > 1, tls=self.tls, client_certs=self.client_certs, seal=self.seal)

    def put_files(self, data_dir: Path) -> None:
        """Write the files; the caller holds the lock."""
        for name, content in self.files.items():
            path = data_dir / name
            files.make_private(path.parent)
            files.write_private(files.led_to(path), content)
        record = StackRecord.load(data_dir)
        record.seeded = self.seeded
        record.blueprint = self.blueprint if Path(self.blueprint).is_file() else ""
        record.save(data_dir)


def check_saveable(data_dir: Path) -> None:
    """Refuse a Vault whose seal's key no save can hold."""
    if "transit" in seal_stanza(data_dir):
        raise StackError(
            "this Vault has the seal transit, and a save cannot hold the seal's key",
            looked_at=str(data_dir),
            remedy=f"save after {named('seal.migrate', 'shamir')}, or copy the folder while it is "
            f"{named('down')}",
        )


def _files(data_dir: Path) -> Iterator[Path]:
    for path in sorted(data_dir.rglob("*")):
        relative = PurePosixPath(path.relative_to(data_dir))
        if _is_saved(relative) and path.is_file():
            yield path


def _is_saved(path: PurePosixPath) -> bool:
    parts: Sequence[str] = path.parts
    if len(parts) > 2 and parts[0] == NAMESPACES_NAME:
        parts = parts[2:]
    if not parts or parts[-1].startswith("."):
        return False
    return (len(parts) == 1 and parts[0].endswith(_IDS)) or (
        len(parts) == 2 and parts[0] in _FOLDERS
    )
