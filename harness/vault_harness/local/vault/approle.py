"""Manage AppRoles for an operator: ids, secret-ids, lockouts, and the files of services."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac.exceptions

from vault_harness import files
from vault_harness.errors import OperatorError, named, without_frames
from vault_harness.local.vault.admin import VaultAdmin

DEFAULT_MOUNT = "approle"
CERTIFICATE_SUFFIX = "-certificate.pem"


@dataclass(frozen=True)
class SecretId:
    """A secret-id and its accessor. Its repr shows only the accessor."""

    secret_id: str = field(repr=False)
    accessor: str


@dataclass(frozen=True)
class Credentials:
    """Where a service finds its two ids. `written`: a new secret-id was made."""

    role: str
    role_id_file: Path
    secret_id_file: Path
    written: bool = True


@without_frames
def role_id(op: VaultAdmin, role: str, *, mount: str = DEFAULT_MOUNT) -> str:
    with op.asking(f"read the role-id of {role}") as client:
        try:
            answer = client.auth.approle.read_role_id(role_name=role, mount_point=mount)
        except hvac.exceptions.InvalidPath as error:
            if error.errors:  # the mount or the namespace may be missing
                raise
            raise OperatorError(
                f"there is no AppRole {role}",
                looked_at=f"auth/{mount}/role",
                remedy=f"List all roles: {named('vault', '--', 'list', f'auth/{mount}/role')}",
            ) from None
    return str(answer["data"]["role_id"])


@without_frames
def new_secret_id(op: VaultAdmin, role: str, *, mount: str = DEFAULT_MOUNT) -> SecretId:
    with op.asking(f"make a secret-id for {role}") as client:
        data = client.auth.approle.generate_secret_id(role_name=role, mount_point=mount)["data"]
    return SecretId(str(data["secret_id"]), str(data["secret_id_accessor"]))


@without_frames
def lookup(
    op: VaultAdmin, role: str, secret_id: str, *, mount: str = DEFAULT_MOUNT
) -> dict[str, Any] | None:
    """Return what Vault knows of a secret-id; None if it is not valid.

    Unlike a login, this costs no use and does not count towards a lockout.
    """
    path = f"auth/{mount}/role/{role}/secret-id/lookup"
    data = op.request("POST", path, secret_id=secret_id).get("data")
    return dict(data) if data else None


@without_frames
def lookup_accessor(
    op: VaultAdmin, role: str, accessor: str, *, mount: str = DEFAULT_MOUNT
) -> dict[str, Any] | None:
    with op.asking(f"look up a secret-id of {role}") as client:
        try:
            answer = client.auth.approle.read_secret_id_accessor(
                role_name=role, secret_id_accessor=accessor, mount_point=mount
            )
        except hvac.exceptions.InvalidPath:
            return None
    return dict(answer["data"]) if isinstance(answer, dict) and answer.get("data") else None


@without_frames
def destroy(op: VaultAdmin, role: str, accessor: str, *, mount: str = DEFAULT_MOUNT) -> None:
    """Destroy a secret-id by its accessor, if it still exists. Tokens made with it stay valid."""
    if lookup_accessor(op, role, accessor, mount=mount) is None:
        return  # Vault would answer 500
    with op.asking(f"destroy a secret-id of {role}") as client:
        client.auth.approle.destroy_secret_id_accessor(
            role_name=role, secret_id_accessor=accessor, mount_point=mount
        )


@without_frames
def accessors(op: VaultAdmin, role: str, *, mount: str = DEFAULT_MOUNT) -> list[str]:
    path = f"auth/{mount}/role/{role}/secret-id"
    return [str(key) for key in op.request("LIST", path).get("data", {}).get("keys", [])]


@dataclass(frozen=True)
class LockedRole:
    """A role that is locked after five bad secret-ids; `role_id` is its "alias identifier"."""

    role_id: str
    mount_accessor: str


@without_frames
def locked(op: VaultAdmin) -> list[LockedRole]:
    """Return every locked role-id. By default a lock lasts 15 minutes."""
    found = []
    data = op.request("GET", "sys/locked-users").get("data", {})
    for namespace in data.get("by_namespace") or []:
        for mount in namespace.get("mount_accessors") or []:
            found += [
                LockedRole(str(identifier), str(mount["mount_accessor"]))
                for identifier in mount.get("alias_identifiers") or []
            ]
    return found


@without_frames
def unlock(op: VaultAdmin, role_id: str) -> bool:
    """Unlock a role-id. Return False if it was not locked."""
    for role in locked(op):
        if role.role_id == role_id:
            op.request("POST", f"sys/locked-users/{role.mount_accessor}/unlock/{role_id}")
            return True
    return False


def credential_files(role: str, directory: Path) -> tuple[Path, Path]:
    return directory / f"{role}-role-id", directory / f"{role}-secret-id"


def write_id(file: Path, content: str) -> None:
    """Write an id atomically. A link stays a link, where its service finds the new id."""
    files.write_private(files.led_to(file), content)


def certificate_file(service: str, directory: Path) -> Path:
    return directory / f"{service}{CERTIFICATE_SUFFIX}"


@without_frames
def write_credentials(
    op: VaultAdmin, role: str, directory: Path, *, renew: bool = False
) -> Credentials:
    """Write both ids of a role to files, unless the present ones are valid."""
    files.private_directory(directory)
    role_file, secret_file = credential_files(role, directory)
    if not renew and credentials_work(op, role, directory):
        return Credentials(role, role_file, secret_file, written=False)
    wanted = role_id(op, role)
    secret = new_secret_id(op, role)
    write_id(role_file, wanted)
    write_id(secret_file, secret.secret_id)
    return Credentials(role, role_file, secret_file)


@without_frames
def credentials_work(op: VaultAdmin, role: str, directory: Path) -> bool:
    """Return whether the files of a role hold valid ids. Does not log in."""
    role_file, secret_file = credential_files(role, directory)
    present = read_id(secret_file)
    if not present or read_id(role_file) != role_id(op, role):
        return False
    return lookup(op, role, present) is not None


def read_id(path: Path) -> str:
    """Return the id in a file; empty if there is none."""
    try:
        return path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""
