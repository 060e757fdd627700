"""Write and restore a migration's files: copies of originals, and ``.env.vault``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from vault_harness import files
from vault_harness.local.written_ahead import Checkpoint
from vault_harness.operator.migrate.dotenv import assignment
from vault_harness.operator.migrate.record import MigrationRecord, place, stamp


@dataclass(frozen=True)
class ClientSettings:
    """The content of ``.env.vault``.

    `address` is the application's. `client_cert` has certificate and key for a Vault that asks for
    them.
    """

    address: str
    role: str
    role_id_file: Path
    secret_id_file: Path
    mount: str
    ca_cert: Path | None = None
    client_cert: Path | None = None
    namespace: str = ""

    def render(self) -> str:
        lines = {
            "USE_VAULT": "true",
            "VAULT_ADDR": self.address,
            "VAULT_MOUNT_POINT": self.mount,
            "VAULT_ROLE_ID_FILE": str(self.role_id_file.absolute()),
            "VAULT_SECRET_ID_FILE": str(self.secret_id_file.absolute()),
        }
        if self.namespace:
            lines["VAULT_NAMESPACE"] = self.namespace
        if self.ca_cert is not None:
            lines["VAULT_CACERT"] = str(self.ca_cert.absolute())
        if self.client_cert is not None:
            file = str(self.client_cert.absolute())
            lines |= {"VAULT_CLIENT_CERT": file, "VAULT_CLIENT_KEY": file}
        head = f"# How {self.role} reaches Vault. There is no secret in this file.\n"
        return head + "".join(assignment(name, value) for name, value in lines.items())


def write_env_vault(record: MigrationRecord, path: Path, text: str, checkpoint: Checkpoint) -> None:
    """Write the file that tells clients how to reach Vault, and copy the earlier one."""
    if same(path, text.encode()) and record.env_vault is None:
        return  # an earlier migration's, which the undo of this one must leave
    if path.exists() and record.env_vault is None:
        kept = path.with_name(f"{path.name}.backup-{stamp()}")
        files.write_private(kept, path.read_bytes())
        record.env_vault_backup = str(kept)
    record.env_vault = str(place(path))
    record.env_vault_sha256 = hashlib.sha256(text.encode()).hexdigest()
    record.save()
    checkpoint("about to write .env.vault")
    files.write_private(_where_it_is(path, but=Path(record.env_file)), text)
    checkpoint("wrote .env.vault")


def take_back_files(record: MigrationRecord, env_file: Path, kept: list[str]) -> Path:
    """Restore the files, except those that somebody changed since; return ``.env.vault``."""
    env_vault = Path(record.env_vault or env_file.with_name(f"{env_file.name}.vault"))
    vault_text = env_vault.read_bytes() if env_vault.exists() else None
    if not env_file.exists() or (vault_text and env_file.read_bytes() == vault_text):
        # The guide tells people to copy .env.vault over .env.
        _put_back(_where_it_is(env_file, but=env_vault), Path(record.backup), kept)
    elif not same(Path(record.backup), env_file.read_bytes()):
        # The guide also tells them to remove what is in Vault, which only the copy has.
        kept.append(f"{env_file.name}: it was changed since, it stays; as it was: {record.backup}")
    if vault_text is not None and record.env_vault is not None:
        if hashlib.sha256(vault_text).hexdigest() != record.env_vault_sha256:
            kept.append(f"{env_vault.name}: it was changed since, it stays")
        elif record.env_vault_backup is not None:
            _put_back(_where_it_is(env_vault, but=env_file), Path(record.env_vault_backup), kept)
        else:
            _where_it_is(env_vault, but=env_file).unlink()
    return env_vault


def _where_it_is(file: Path, *, but: Path) -> Path:
    """Return the target of a link, unless that is the other file."""
    place = file.resolve() if file.is_symlink() else file
    return file if place == but.resolve() or not place.parent.is_dir() else place


def _put_back(file: Path, copy_of_it: Path, kept: list[str]) -> None:
    if copy_of_it.is_file():
        files.write_private(file, copy_of_it.read_bytes())
    else:
        kept.append(f"{file.name}: its copy {copy_of_it} is not where it was")


def same(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content
