"""The content of the data directory: which names are ours, and the folders of example services.

A service gets copies of its AppRole ids in a directory that is mounted. A mounted directory shows
files that are replaced by rename; a mounted file does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from vault_harness import files
from vault_harness.errors import SettingsError, StackError, named
from vault_harness.local.engine.provider import ServiceState, tls_files
from vault_harness.local.engine.seal import SEAL_DIRECTORY
from vault_harness.local.stack.lock import LOCK_NAME
from vault_harness.local.stack.record import FILE_NAME as RECORD_NAME
from vault_harness.local.stack.record import no_folder
from vault_harness.local.vault import approle
from vault_harness.local.vault.kept import ADOPTED_NAME, REPLACED_NAME
from vault_harness.local.vault.tokens import OPERATOR_TOKEN_NAME

KEYRING_NAME = "init.json"
AUTHORITY_NAME = "authority"
"""`down` keeps it; `destroy` deletes it."""

NAMESPACES_NAME = "namespaces"
"""Each namespace has a folder there with the ids of its AppRoles."""

SEAL_MIGRATION_NAME = "seal-migration"
"""An unfinished migration: its progress, and a copy of the data."""

INIT_MARKER_NAME = "init.started"
"""Exists from before the initialisation until the keys are known to work."""

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
"""Other programs use these names too."""

_ID_SUFFIXES = ("-role-id", "-secret-id", approle.CERTIFICATE_SUFFIX)
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
    """Refuse a folder with only foreign files, a file, and a broken link."""
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
    # `services` or `migrations` prove nothing: other people may have such folders.
    if not all(map(_is_known, present)) and not any(map(_is_mark, present)):
        raise SettingsError(
            f"{data_dir} holds other files than the stack's",
            looked_at=f"HARNESS_DATA_DIR, {', '.join(sorted(present)[:5])}",
            remedy="name an empty or a new folder",
        )


def _leads_nowhere(link: Path) -> SettingsError:
    return SettingsError(
        f"{link} is a link to a folder that does not exist",
        looked_at=f"HARNESS_DATA_DIR, {link.readlink()}",
        remedy="restore the folder (mount its disk), or name another folder",
    )


def state(data_dir: Path) -> list[Path]:
    """Return what the tasks wrote: keys, ids, records; no backups, reports or user's files."""
    if not data_dir.is_dir():
        return []
    found = sorted(path for path in data_dir.iterdir() if _is_state(path))
    if files.keeps_from_git(data_dir):
        found.append(data_dir / files.GITIGNORE)  # last, because it protects the others
    return found


def refuse_replaced(data_dir: Path, services: Iterable[ServiceState]) -> None:
    """Refuse if a server's data was replaced on disk: its next start would use that."""
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
    """Return the folder of AppRole ids. Namespaces may share role names."""
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
        # Also copies beside these, and unfinished writes.
        or name == KEYRING_NAME
        or name.startswith((f"{KEYRING_NAME}.", f"{OPERATOR_TOKEN_NAME}."))
    )


def _is_mark(name: str) -> bool:
    return name == LOCK_NAME or (name not in _COMMON and _is_state_file(name))


def _is_known(name: str) -> bool:
    return _is_state_file(name) or name in _DIRECTORIES | _ENGINES | {LOCK_NAME}


CERTIFICATE_NAME = "certificate.pem"


def service_directory(data_dir: Path, service: str) -> Path:
    return data_dir / "services" / service


def hand_out_ids(
    data_dir: Path,
    roles: Mapping[str, str],
    services: Iterable[str] | None = None,
    *,
    ids: Path | None = None,
) -> list[str]:
    """Copy each role's current ids to its services. Return the services whose files changed.

    Call this after ids were written: with old ids a service cannot log in again. By default
    `services` are those with a directory, which `services.up` makes.
    """
    changed = []
    for service, role in roles.items():
        directory = service_directory(data_dir, service)
        if directory.is_dir() if services is None else service in services:
            files.private_directory(directory)
            present = approle.credential_files(role, ids or data_dir)
            copied = {_copied(file, directory) for file in present}
            if True in copied:
                changed.append(service)
    return changed


def hand_out_tls(data_dir: Path) -> None:
    """Copy the CA file, and required client certificates, to services with a directory.

    Call this before a server shows a certificate of another authority.
    """
    tls = tls_files(data_dir)
    if tls is None:
        return
    for directory in data_dir.glob("services/*/"):
        _copied(tls.ca, directory)
        if tls.clients is not None:
            own = approle.certificate_file(directory.name, data_dir)
            _copied(own, directory, CERTIFICATE_NAME)


def _copied(source: Path, directory: Path, name: str = "") -> bool:
    content, target = files.tail(source), directory / (name or source.name)
    if not content or content == files.tail(target):
        return False
    files.write_private(target, content)
    return True
