"""What lies in the data directory: which names are ours, and that nothing else is touched."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from vault_harness import files
from vault_harness.commands import named
from vault_harness.engine import SEAL_DIRECTORY, ServiceState
from vault_harness.errors import SettingsError, StackError
from vault_harness.stack._lock import LOCK_NAME
from vault_harness.stack.record import FILE_NAME as RECORD_NAME
from vault_harness.stack.record import no_folder
from vault_harness.vault.approle import CERTIFICATE_SUFFIX
from vault_harness.vault.root import OPERATOR_TOKEN_NAME

KEYRING_NAME = "init.json"
AUTHORITY_NAME = "authority"
"""Folder of the certificate authority: kept by `down`, destroyed with all other keys."""

NAMESPACES_NAME = "namespaces"
"""Folder with the ids of AppRoles that are in a namespace, in a folder for each."""

SEAL_MIGRATION_NAME = "seal-migration"
"""Folder of a migration of the seal that is not done: how far it is, and a copy of the data."""

INIT_MARKER_NAME = "init.started"
"""There from before a Vault is initialised until its keys are known to work."""

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
"""Names of files of ours that others may have too."""

_ID_SUFFIXES = ("-role-id", "-secret-id", CERTIFICATE_SUFFIX)
_DIRECTORIES = frozenset(
    {
        "rotations",
        "migrations",
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
# What `vault_harness.files.write_private` leaves if it is killed half-way.
_UNFINISHED = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}")


def check(data_dir: Path) -> None:
    """See that a data directory is ours: it is made 0700, and written to.

    Raises:
        SettingsError: It holds other people's files and none that a task wrote, it is a file, or a
            link that leads nowhere.
    """
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
    # Anybody may have a folder that is named `services` or `migrations`, beside what is theirs.
    if not all(map(_is_known, present)) and not any(map(_is_mark, present)):
        raise SettingsError(
            f"{data_dir} holds other files than the stack's",
            looked_at=f"HARNESS_DATA_DIR, {', '.join(sorted(present)[:5])}",
            remedy="name an empty or a new folder",
        )


def _leads_nowhere(link: Path) -> SettingsError:
    """The error for a folder that is looked for where it is not, on a disk that is away perhaps."""
    return SettingsError(
        f"{link} is a link to what is not there",
        looked_at=f"HARNESS_DATA_DIR, {link.readlink()}",
        remedy="put back what it leads to (mount the disk that has it), or name another folder",
    )


def state(data_dir: Path) -> list[Path]:
    """What the tasks wrote there beside the engine's own: keys of any age, ids, records.

    Backups, reports and whatever else a person keeps there are not among it, nor is the lock.
    """
    if not data_dir.is_dir():
        return []
    found = sorted(path for path in data_dir.iterdir() if _is_state(path))
    if files.keeps_from_git(data_dir):
        found.append(data_dir / files.GITIGNORE)  # last: the others are what it is for
    return found


def refuse_replaced(data_dir: Path, services: Iterable[ServiceState]) -> None:
    """See that no server goes on with data that is not in its folder any more.

    Raises:
        StackError: One does: ended, it would start with what is there now, an older copy perhaps.
    """
    replaced = [service for service in services if service.replaced]
    if replaced:
        raise StackError(
            f"{' and '.join(service.name for service in replaced)} runs with other data than is in "
            "its folder, which was replaced under it",
            looked_at=f"{data_dir}; {', '.join(each.detail for each in replaced)}",
            remedy=f"what it holds is in no folder, and lost when it ends: {named('backup')} "
            f"first. Then {named('down')}, and {named('up')}, which serves what is there now",
        )


def ids_directory(data_dir: Path, namespace: str) -> Path:
    """Where the ids of the AppRoles of a namespace are; roles of two may have the same name."""
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
        # Their own names, and what was kept beside them or is on its way to be one of them.
        or name == KEYRING_NAME
        or name.startswith((f"{KEYRING_NAME}.", f"{OPERATOR_TOKEN_NAME}."))
    )


def _is_mark(name: str) -> bool:
    """Whether a task of ours was at work where that lies, which nobody else names so."""
    return name == LOCK_NAME or (name not in _COMMON and _is_state_file(name))


def _is_known(name: str) -> bool:
    return _is_state_file(name) or name in _DIRECTORIES | _ENGINES | {LOCK_NAME}
