"""The content of the data directory: which names are ours. Nothing else is touched."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from vault_harness import files
from vault_harness.errors import SettingsError, StackError, named
from vault_harness.local.engine.provider import ServiceState
from vault_harness.local.engine.seal import SEAL_DIRECTORY
from vault_harness.local.stack.lock import LOCK_NAME
from vault_harness.local.stack.record import FILE_NAME as RECORD_NAME
from vault_harness.local.stack.record import no_folder
from vault_harness.local.vault.approle import CERTIFICATE_SUFFIX
from vault_harness.local.vault.kept import ADOPTED_NAME, REPLACED_NAME
from vault_harness.local.vault.root.operator_token import OPERATOR_TOKEN_NAME

KEYRING_NAME = "init.json"
AUTHORITY_NAME = "authority"
"""Folder of the certificate authority. `down` keeps it; `destroy` deletes it with all keys."""

NAMESPACES_NAME = "namespaces"
"""Folder with a folder for each namespace, which holds the ids of its AppRoles."""

SEAL_MIGRATION_NAME = "seal-migration"
"""Folder of an unfinished seal migration: its progress, and a copy of the data."""

INIT_MARKER_NAME = "init.started"
"""File that exists from before a Vault is initialised until its keys are known to work."""

_FILES = frozenset(
    {
        "compose.env",
        RECORD_NAME,
        INIT_MARKER_NAME,
        OPERATOR_TOKEN_NAME,
        "root-attempt",
        "doctor-logins.json",
    }
)
_COMMON = frozenset({"compose.env"})
"""Names of our files that other programs may use too."""

_ID_SUFFIXES = ("-role-id", "-secret-id", CERTIFICATE_SUFFIX)
_DIRECTORIES = frozenset(
    {
        "rotations",
        "migrations",
        REPLACED_NAME,
        ADOPTED_NAME,
        NAMESPACES_NAME,
        SEAL_DIRECTORY,
        SEAL_MIGRATION_NAME,
        AUTHORITY_NAME,
    }
)
_ENGINES = frozenset(
    {
        *("vault", "nodes", "balancer", "holder", "recorder", "relay", "toxiproxy"),
        *("audit", "services", "tls"),
    }
)
# `vault_harness.files.write_private` leaves such a name if it is killed.
_UNFINISHED = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}")


def check(data_dir: Path) -> None:
    """Refuse a data directory with only foreign files, and one that is a file or a broken link."""
    if not data_dir.is_dir():
        way = (data_dir, *data_dir.parents)
        if any(each.is_file() for each in way):
            raise no_folder(data_dir)
        for each in way:
            if each.is_symlink() and not each.exists():
                raise _leads_nowhere(each)
        return
    present = {entry.name for entry in data_dir.iterdir()}
    if files.keeps_from_git(data_dir):
        present.remove(files.GITIGNORE)
    # Folders named `services` or `migrations` prove nothing: other people may have them too.
    if not all(map(_is_known, present)) and not any(map(_is_mark, present)):
        raise SettingsError(
            f"{data_dir} holds other files than the stack's",
            looked_at=f"HARNESS_DATA_DIR, {', '.join(sorted(present)[:5])}",
            remedy="name an empty or a new folder",
        )


def _leads_nowhere(link: Path) -> SettingsError:
    """Return the error for a link to a missing folder, perhaps on a disk that is not mounted."""
    return SettingsError(
        f"{link} is a link to a folder that does not exist",
        looked_at=f"HARNESS_DATA_DIR, {link.readlink()}",
        remedy="restore the folder (mount its disk), or name another folder",
    )


def state(data_dir: Path) -> list[Path]:
    """Return what the tasks wrote besides the engine's data: all keys, ids, records.

    Backups, reports, files of the user and the lock do not count.
    """
    if not data_dir.is_dir():
        return []
    found = sorted(path for path in data_dir.iterdir() if _is_state(path))
    if files.keeps_from_git(data_dir):
        found.append(data_dir / files.GITIGNORE)  # last, because it protects the others
    return found


def refuse_replaced(data_dir: Path, services: Iterable[ServiceState]) -> None:
    """Refuse to continue while a server runs with data that was replaced on disk.

    Its next start would use the data on disk, perhaps an older copy.
    """
    replaced = [service for service in services if service.replaced]
    if replaced:
        raise StackError(
            f"{' and '.join(service.name for service in replaced)} runs with other data than is in "
            "its folder, which was replaced under it",
            looked_at=f"{data_dir}; {', '.join(each.detail for each in replaced)}",
            remedy=f"its data is in deleted files, and lost when it ends: {named('backup')} "
            f"first. Then {named('down')}, and {named('up')}, which serves the folder's data",
        )


def ids_directory(data_dir: Path, namespace: str) -> Path:
    """Return the folder of AppRole ids of a namespace. Namespaces may share role names."""
    if not namespace:
        return data_dir
    return data_dir / NAMESPACES_NAME / namespace.replace("/", "+")


def _is_state(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        return path.name in _DIRECTORIES
    return _is_state_file(path.name)


def _is_state_file(name: str) -> bool:
    unfinished = _UNFINISHED.fullmatch(name)
    if unfinished is not None:
        name = unfinished["name"]
    return (
        name in _FILES
        or name.endswith(_ID_SUFFIXES)
        # Also copies beside these files, and unfinished writes.
        or name == KEYRING_NAME
        or name.startswith((f"{KEYRING_NAME}.", f"{OPERATOR_TOKEN_NAME}."))
    )


def _is_mark(name: str) -> bool:
    """Return whether a name proves that a task of ours worked there."""
    return name == LOCK_NAME or (name not in _COMMON and _is_state_file(name))


def _is_known(name: str) -> bool:
    return _is_state_file(name) or name in _DIRECTORIES | _ENGINES | {LOCK_NAME}
