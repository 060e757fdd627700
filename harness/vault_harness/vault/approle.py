"""AppRole, the operator's side: ids, secret-ids, lockouts, and the files that services read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac.exceptions

from vault_harness import files
from vault_harness.boundary import without_frames
from vault_harness.vault.operator import Operator

DEFAULT_MOUNT = "approle"
CERTIFICATE_SUFFIX = "-certificate.pem"


@dataclass(frozen=True)
class SecretId:
    """A secret-id and the accessor that destroys it. Its repr shows the accessor only."""

    secret_id: str = field(repr=False)
    accessor: str


@dataclass(frozen=True)
class Credentials:
    """Where a service finds its two ids.

    Attributes:
        role: The AppRole.
        role_id_file: Holds the role-id, 0600.
        secret_id_file: Holds the secret-id, 0600.
        written: Whether a new secret-id was made; False if what was there still works.
    """

    role: str
    role_id_file: Path
    secret_id_file: Path
    written: bool = True


@without_frames
def role_id(op: Operator, role: str, *, mount: str = DEFAULT_MOUNT) -> str:
    """The role-id of a role.

    Raises:
        OperatorError: There is no such role.
    """
    with op.asking(f"read the role-id of {role}") as client:
        answer = client.auth.approle.read_role_id(role_name=role, mount_point=mount)
    return str(answer["data"]["role_id"])


@without_frames
def new_secret_id(op: Operator, role: str, *, mount: str = DEFAULT_MOUNT) -> SecretId:
    """A new secret-id for a role; the others stay valid.

    Raises:
        OperatorError: There is no such role.
    """
    with op.asking(f"make a secret-id for {role}") as client:
        data = client.auth.approle.generate_secret_id(role_name=role, mount_point=mount)["data"]
    return SecretId(str(data["secret_id"]), str(data["secret_id_accessor"]))


@without_frames
def lookup(
    op: Operator, role: str, secret_id: str, *, mount: str = DEFAULT_MOUNT
) -> dict[str, Any] | None:
    """What Vault knows of a secret-id (accessor, uses, expiry), or None if it is not good.

    Unlike a login this costs no use and counts towards no lockout.

    Raises:
        OperatorError: Vault could not say: it is sealed, denies the look-up, or there is no such
            role.
    """
    path = f"auth/{mount}/role/{role}/secret-id/lookup"
    data = op.request("POST", path, secret_id=secret_id).get("data")
    return dict(data) if data else None


@without_frames
def lookup_accessor(
    op: Operator, role: str, accessor: str, *, mount: str = DEFAULT_MOUNT
) -> dict[str, Any] | None:
    """What Vault knows of the secret-id of an accessor, or None if it is no more.

    Raises:
        OperatorError: Vault could not say.
    """
    with op.asking(f"look up a secret-id of {role}") as client:
        try:
            answer = client.auth.approle.read_secret_id_accessor(
                role_name=role, secret_id_accessor=accessor, mount_point=mount
            )
        except hvac.exceptions.InvalidPath:
            return None
    return dict(answer["data"]) if isinstance(answer, dict) and answer.get("data") else None


@without_frames
def destroy(op: Operator, role: str, accessor: str, *, mount: str = DEFAULT_MOUNT) -> None:
    """Destroy a secret-id by its accessor; tokens that were made with it live on."""
    with op.asking(f"destroy a secret-id of {role}") as client:
        client.auth.approle.destroy_secret_id_accessor(
            role_name=role, secret_id_accessor=accessor, mount_point=mount
        )


@without_frames
def accessors(op: Operator, role: str, *, mount: str = DEFAULT_MOUNT) -> list[str]:
    """Accessors of all secret-ids of a role."""
    path = f"auth/{mount}/role/{role}/secret-id"
    return [str(key) for key in op.request("LIST", path).get("data", {}).get("keys", [])]


@dataclass(frozen=True)
class LockedRole:
    """A role that nobody can log in to for a while, after five bad secret-ids.

    Attributes:
        role_id: The locked role-id ("alias identifier" in the API's words).
        mount_accessor: Accessor of its auth mount, needed to unlock.
    """

    role_id: str
    mount_accessor: str


@without_frames
def locked(op: Operator) -> list[LockedRole]:
    """Every locked role-id; on Vault and OpenBao a lock lasts 15 minutes by default."""
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
def unlock(op: Operator, role_id: str) -> bool:
    """Unlock a role-id now; False if it was not locked."""
    for role in locked(op):
        if role.role_id == role_id:
            op.request("POST", f"sys/locked-users/{role.mount_accessor}/unlock/{role_id}")
            return True
    return False


def credential_files(role: str, directory: Path) -> tuple[Path, Path]:
    """The two files of a role: ``<role>-role-id`` and ``<role>-secret-id``."""
    return directory / f"{role}-role-id", directory / f"{role}-secret-id"


def write_id(file: Path, content: str) -> None:
    """Write an id so that whoever reads it meanwhile has the one before, or this one.

    A link stays one: a service that has its ids on a disk of its own finds the next one there too,
    and not the one that is destroyed in a moment.
    """
    files.write_private(files.led_to(file), content)


def certificate_file(service: str, directory: Path) -> Path:
    """What a service shows to a Vault that asks for certificates, with its key; beside its ids."""
    return directory / f"{service}{CERTIFICATE_SUFFIX}"


@without_frames
def write_credentials(
    op: Operator, role: str, directory: Path, *, renew: bool = False, mount: str = DEFAULT_MOUNT
) -> Credentials:
    """Write both ids of a role to files, unless the files are there and still good.

    Args:
        op: An operator who may read the role and make secret-ids.
        role: The AppRole.
        directory: Created 0700.
        renew: Make a new secret-id in any case.
        mount: Where AppRole is mounted.
    """
    files.private_directory(directory)
    role_file, secret_file = credential_files(role, directory)
    if not renew and credentials_work(op, role, directory, mount=mount):
        return Credentials(role, role_file, secret_file, written=False)
    wanted = role_id(op, role, mount=mount)
    secret = new_secret_id(op, role, mount=mount)
    write_id(role_file, wanted)
    write_id(secret_file, secret.secret_id)
    return Credentials(role, role_file, secret_file)


@without_frames
def credentials_work(
    op: Operator, role: str, directory: Path, *, mount: str = DEFAULT_MOUNT
) -> bool:
    """Whether the files of a role hold ids that Vault takes. Nobody logs in for that."""
    role_file, secret_file = credential_files(role, directory)
    present = read_id(secret_file)
    if not present or read_id(role_file) != role_id(op, role, mount=mount):
        return False
    return lookup(op, role, present, mount=mount) is not None


def read_id(path: Path) -> str:
    """The id in a file, empty if there is none. What a broken disk left there is none of anybody.

    Raises:
        OSError: It may not be read.
    """
    try:
        return path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""
