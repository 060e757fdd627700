"""Give a role a new secret-id while its services keep running.

The new id logs in first, then the file is replaced in one step, and the old id is destroyed last.
Each new id carries the name of its run, so the next run finds and destroys one that no file got. A
record of another Vault does no harm, since its ids do not have that name.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vault_harness.errors import OperatorError, named, without_frames
from vault_harness.interrupts import telling_what_is_left
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.written_ahead import Checkpoint, WrittenAhead
from vault_harness.operator.rotate.record import DIRECTORY
from vault_harness.waiting import rest

_METADATA = "rotation"


@dataclass(frozen=True)
class SecretIdRotation:
    """The result of a rotation.

    Attributes:
        destroyed: Accessors of the old id, of ids from an interrupted run, and of all others with
            ``end_others``.
    """

    role: str
    file: Path
    accessor: str
    destroyed: tuple[str, ...]
    resumed: bool = False


@dataclass(frozen=True)
class SecretIdPlan:
    """What a rotation would do.

    Attributes:
        others: Accessors that services elsewhere may use.
        resumes: It would only finish an earlier run, whose new secret-id is in the file.
    """

    role: str
    file: Path
    old: str | None
    others: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    resumes: bool = False


@dataclass
class _Run:
    """A rotation in progress; ``old`` is the accessor it replaces."""

    name: str
    old: str | None
    replaced: float | None = None


@without_frames
def plan_secret_id(
    op: VaultAdmin, role: str, directory: Path, *, mount: str = approle.DEFAULT_MOUNT
) -> SecretIdPlan:
    """Return what `rotate_secret_id` would do, and change nothing."""
    role = role.lower()  # as in Vault and the file names
    approle.role_id(op, role, mount=mount)
    _, file = approle.credential_files(role, directory)
    begun = _record(role, directory).read()
    mine = _accessors_of(op, role, begun.name, mount) if begun is not None else set()
    current = _accessor(op, role, approle.read_id(file), mount)
    resumes = current is not None and current in mine
    old = None if resumes else current
    if old is None and begun is not None:
        old = begun.old
    present = approle.accessors(op, role, mount=mount)
    old = old if old in present else None
    left = tuple(sorted(mine - {current}))
    others = tuple(each for each in present if each not in {old, current, *left})
    return SecretIdPlan(role, file, old, others, left, resumes)


@without_frames
def rotate_secret_id(
    op: VaultAdmin,
    role: str,
    directory: Path,
    *,
    mount: str = approle.DEFAULT_MOUNT,
    grace: float = 0.0,
    end_others: bool = False,
    checkpoint: Checkpoint = lambda _step: None,
) -> SecretIdRotation:
    """Give a role's services a new secret-id, then destroy the old one.

    Args:
        directory: Where ``<role>-role-id`` and ``<role>-secret-id`` are.
        grace: Seconds for which the old secret-id stays valid after the file was replaced, for
            services that get the id by value. After an interrupt, the next run waits for the rest.
        end_others: Destroy the role's other secret-ids too, such as those of a lost machine.

    Raises:
        OperatorError: Vault refused, or the new secret-id does not log in. Then the file and the
            old secret-id are unchanged.
    """
    role = role.lower()
    work = _Work(op, role, _record(role, directory), mount, grace, end_others)
    with telling_what_is_left(lambda: _left(work)):
        return _rotate(work, directory, checkpoint)


def _left(work: _Work) -> str:
    if not work.record.file.exists():
        return ""
    # With the options: without --grace the old id would end at once.
    words = [work.role, *(["--grace", f"{work.grace:g}"] if work.grace else [])]
    words += ["--end-others"] if work.end_others else []
    return (
        f"{work.role} may have a new secret-id, and the old one may still be valid: "
        f"{named('rotate.secret-id', *words)} continues from there"
    )


def _rotate(work: _Work, directory: Path, checkpoint: Checkpoint) -> SecretIdRotation:
    op, role, mount = work.op, work.role, work.mount
    role_id = approle.role_id(op, role, mount=mount)  # a missing role leaves no record
    role_file, file = approle.credential_files(role, directory)
    left = work.record.read()
    destroyed: list[str] = []
    if left is not None:
        mine = _accessors_of(op, role, left.name, mount)
        current = _accessor(op, role, approle.read_id(file), mount)
        if current is not None and current in mine:
            # The caller may not have passed the file on yet, and must before the old id ends.
            checkpoint("found the new one in the file")
            destroyed += _finish(work, left, current, mine - {current}, checkpoint)
            return SecretIdRotation(role, file, current, tuple(destroyed), resumed=True)
        for accessor in sorted(mine):
            approle.destroy(op, role, accessor, mount=mount)
            destroyed.append(accessor)
    # If the file is lost or invalid, replace what the interrupted run was to replace.
    old = _accessor(op, role, approle.read_id(file), mount) or (
        left.old if left is not None else None
    )
    run = _Run(secrets.token_hex(8), old)
    work.record.write(asdict(run))
    checkpoint("recorded")
    new = _new(op, role, run.name, mount)
    checkpoint("made a new secret-id")
    try:
        _login(work, role_id, new.secret_id, run.name)
    except OperatorError:
        for accessor in _accessors_of(op, role, run.name, mount):
            approle.destroy(op, role, accessor, mount=mount)
        work.record.remove()
        raise
    checkpoint("logged in with it")
    if approle.read_id(role_file) != role_id:
        approle.write_id(role_file, role_id)
    approle.write_id(file, new.secret_id)
    run.replaced = time.time()
    work.record.write(asdict(run))
    checkpoint("replaced the file")
    spare = _accessors_of(op, role, run.name, mount) - {new.accessor}
    destroyed += _finish(work, run, new.accessor, spare, checkpoint)
    return SecretIdRotation(role, file, new.accessor, tuple(destroyed))


@dataclass(frozen=True)
class _Work:
    op: VaultAdmin
    role: str
    record: WrittenAhead[_Run]
    mount: str
    grace: float
    end_others: bool


def _finish(
    work: _Work, run: _Run, current: str, spare: set[str], checkpoint: Checkpoint
) -> list[str]:
    op, role, mount = work.op, work.role, work.mount
    left = (run.replaced or time.time()) + work.grace - time.time()
    if run.old and left > 0:
        # Nobody knows when the last service got the new id.
        rest(min(left, work.grace), f"services of {role} to be given the new secret-id")
    present = set(approle.accessors(op, role, mount=mount)) - {current}
    ending = sorted(
        present if work.end_others else (spare | ({run.old} if run.old else set())) & present
    )
    for accessor in ending:
        approle.destroy(op, role, accessor, mount=mount)
    checkpoint("destroyed the old secret-id")
    work.record.remove()
    return ending


def _new(op: VaultAdmin, role: str, run: str, mount: str) -> approle.SecretId:
    metadata = json.dumps({_METADATA: run})
    data = op.request("POST", f"auth/{mount}/role/{role}/secret-id", metadata=metadata)["data"]
    return approle.SecretId(str(data["secret_id"]), str(data["secret_id_accessor"]))


def _login(work: _Work, role_id: str, secret_id: str, run: str) -> None:
    """Log in once and revoke the token; with a second id if an id works only once."""
    op, role, mount = work.op, work.role, work.mount
    known = approle.lookup(op, role, secret_id, mount=mount) or {}
    if known.get("secret_id_num_uses") == 1:
        secret_id = _new(op, role, run, mount).secret_id
    try:
        with op.asking(f"log in as {role} with the new secret-id") as client:
            answer = client.auth.approle.login(
                role_id=role_id, secret_id=secret_id, use_token=False, mount_point=mount
            )
            token = answer["auth"]["client_token"]
    except OperatorError as error:
        if "permission denied" in error.cause and _is_locked(op, role_id):
            raise OperatorError(
                f"cannot log in as {role} with the new secret-id: the role is locked after five "
                "bad secret-ids",
                looked_at="sys/locked-users",
                remedy=f"{named('unlock', role)}, then run this again. Nothing was changed.",
            ) from None
        raise
    if answer["auth"].get("token_type") != "batch":
        service = op.with_token(token)
        try:
            service.request("POST", "auth/token/revoke-self")
        finally:
            service.close()


def _is_locked(op: VaultAdmin, role_id: str) -> bool:
    try:
        return any(each.role_id == role_id for each in approle.locked(op))
    except OperatorError:
        return False  # this token may not tell


def _accessor(op: VaultAdmin, role: str, secret_id: str, mount: str) -> str | None:
    if not secret_id:
        return None
    known: dict[str, Any] | None = approle.lookup(op, role, secret_id, mount=mount)
    return str(known["secret_id_accessor"]) if known else None


def _accessors_of(op: VaultAdmin, role: str, run: str, mount: str) -> set[str]:
    found = set()
    for accessor in approle.accessors(op, role, mount=mount):
        # None if it expired after it was listed.
        known = approle.lookup_accessor(op, role, accessor, mount=mount) or {}
        if (known.get("metadata") or {}).get(_METADATA) == run:
            found.add(accessor)
    return found


def _record(role: str, directory: Path) -> WrittenAhead[_Run]:
    return WrittenAhead(directory / DIRECTORY / f"secret-id-{role}.json", _Run)
