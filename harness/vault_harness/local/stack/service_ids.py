"""Copies of AppRole ids for the example services, each in its own directory.

A mounted directory shows files that are replaced by rename; a mounted file does not. The data
directory holds the unseal keys, so it is not mounted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from vault_harness import files
from vault_harness.local.engine.provider import tls_files
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.apply import Change

CERTIFICATE_NAME = "certificate.pem"


def service_directory(data_dir: Path, service: str) -> Path:
    return data_dir / "services" / service


def write_ids(op: VaultAdmin, role: str, ids: Path, *, new: bool, dry: bool) -> Change:
    """Write a role's ids to files, unless working ones are there. `op` acts in its namespace."""
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
