"""Copies of AppRole ids for the example services, each in a directory of the service's own.

A file that is replaced by rename is seen through a mounted directory, not through a mounted file;
and the data directory itself, which holds the ids that the tasks write, holds the unseal keys too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from vault_harness import files
from vault_harness.engine import tls_files
from vault_harness.vault import Change, Operator, approle

CERTIFICATE_NAME = "certificate.pem"
"""What a service shows to Vault, with its key, in its own directory."""


def service_directory(data_dir: Path, service: str) -> Path:
    """Where a service finds its two ids; mounted into its container."""
    return data_dir / "services" / service


def write_ids(op: Operator, role: str, ids: Path, *, new: bool, dry: bool) -> Change:
    """Write a role's ids to files where none are that work.

    Args:
        op: Acts where the role is.
        role: The AppRole.
        ids: The folder of the files.
        new: Whether the role is, or would be, a moment old.
        dry: Write nothing; tell what would be done.
    """
    _, secret_file = approle.credential_files(role, ids)
    if not dry:
        written = approle.write_credentials(op, role, ids).written
    else:
        written = new or not approle.credentials_work(op, role, ids)
    return Change("secret-id", role, "created" if written else "unchanged", secret_file.name)


def hand_out_ids(
    data_dir: Path,
    roles: Mapping[str, str],
    services: Iterable[str] | None = None,
    *,
    ids: Path | None = None,
) -> list[str]:
    """Give each service the ids that its role has now; it reads them at its next login.

    To be called by whatever writes ids: a service that kept the old ones could not log in again.

    Args:
        data_dir: The stack's.
        roles: Service to AppRole, as ``[services]`` of a blueprint has it.
        services: Which; by default those that have a directory, which `services.up` makes.
        ids: Where ``<role>-role-id`` and ``<role>-secret-id`` are, if not there.

    Returns:
        The services whose files changed.
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
    """Tell each service that has a directory whom to trust, if Vault speaks TLS.

    It gets what it shows too, if Vault asks for that. To be called before a server shows what
    another authority signed.
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
