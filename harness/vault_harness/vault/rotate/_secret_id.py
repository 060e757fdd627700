"""A new secret-id for a role, while its services go on.

The order is what matters: the new id exists and has logged in before the file is replaced, the file
is replaced in one step, and the old id ends last. A run that was ended half-way is finished by the
next one: each new id carries the run's name, so one that no file ever got can be found and
destroyed. That name is also why a record of another Vault does no harm: nothing there bears it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vault_harness import files
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.errors import OperatorError
from vault_harness.interrupts import telling_what_is_left
from vault_harness.vault import approle
from vault_harness.vault.operator import Operator
from vault_harness.vault.rotate._record import DIRECTORY
from vault_harness.waiting import rest

Checkpoint = Callable[[str], None]

_METADATA = "rotation"


@dataclass(frozen=True)
class SecretIdRotation:
    """What a rotation did.

    Attributes:
        role: The AppRole.
        file: Where its services find the secret-id.
        accessor: Of the new secret-id.
        destroyed: Accessors of the old one, of ids that an ended run left behind, and of all others
            where that was asked for.
        resumed: Whether it finished what an earlier run had begun.
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
        role: The AppRole.
        file: Where the new secret-id would be.
        old: The accessor that would be destroyed, if known.
        others: Accessors of the role's other secret-ids, which services elsewhere may use.
        left: Accessors that would be destroyed too: an ended run made them, and no file got them.
        resumes: Whether it would only finish what an earlier run had begun, whose new secret-id is
            in the file.
    """

    role: str
    file: Path
    old: str | None
    others: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    resumes: bool = False


@dataclass
class _Run:
    """A rotation under way: its name, the accessor that it replaces, and when the file was."""

    name: str
    old: str | None
    replaced: float | None = None


@without_frames
def plan_secret_id(
    op: Operator, role: str, directory: Path, *, mount: str = approle.DEFAULT_MOUNT
) -> SecretIdPlan:
    """What `rotate_secret_id` would do, without doing it.

    Raises:
        OperatorError: There is no such role.
    """
    role = role.lower()  # Vault takes any case and makes it this; so are the files called
    approle.role_id(op, role, mount=mount)
    _, file = approle.credential_files(role, directory)
    begun = _load(_record(role, directory))
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
    op: Operator,
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
        op: An operator who may make, look up and destroy secret-ids of the role.
        role: The AppRole.
        directory: Where ``<role>-role-id`` and ``<role>-secret-id`` are.
        mount: Where AppRole is mounted.
        grace: Seconds for which the old secret-id stays good after the file was replaced: for
            services that were given it by value and must be told. Ended meanwhile, the next run
            waits for the rest and then ends it.
        end_others: Destroy every other secret-id of the role as well, such as those of a machine
            that was lost.
        checkpoint: Called after each step.

    Raises:
        OperatorError: Vault refused something, or a login with the new secret-id does not work;
            then the file and the old secret-id are as they were.
    """
    role = role.lower()  # as for the plan
    work = _Work(op, role, _record(role, directory), mount, grace, end_others)
    with telling_what_is_left(lambda: _left(work)):
        return _rotate(work, directory, checkpoint)


def _left(work: _Work) -> str:
    """What an interrupt leaves; empty if everything is as it was before, or done."""
    if not work.record.exists():
        return ""
    # As it was called: without its time the old one would end at once.
    words = [work.role, *(["--grace", f"{work.grace:g}"] if work.grace else [])]
    words += ["--end-others"] if work.end_others else []
    return (
        f"{work.role} may have a new secret-id, and the old one may be good still: "
        f"{named('rotate.secret-id', *words)} goes on from there"
    )


def _rotate(work: _Work, directory: Path, checkpoint: Checkpoint) -> SecretIdRotation:
    op, role, mount = work.op, work.role, work.mount
    role_file, file = approle.credential_files(role, directory)
    left = _load(work.record)
    destroyed: list[str] = []
    if left is not None:
        mine = _accessors_of(op, role, left.name, mount)
        current = _accessor(op, role, approle.read_id(file), mount)
        if current is not None and current in mine:
            # Whoever hands the file on may not have done so: first of all, before the old one ends.
            checkpoint("found the new one in the file")
            destroyed += _finish(work, left, current, mine - {current}, checkpoint)
            return SecretIdRotation(role, file, current, tuple(destroyed), resumed=True)
        for accessor in sorted(mine):
            approle.destroy(op, role, accessor, mount=mount)
            destroyed.append(accessor)
    # Whose file is lost, or has what is no good, is to be rid of what the ended run was to replace.
    old = _accessor(op, role, approle.read_id(file), mount) or (
        left.old if left is not None else None
    )
    run = _Run(secrets.token_hex(8), old)
    _save(work.record, run)
    checkpoint("recorded")
    role_id = approle.role_id(op, role, mount=mount)
    new = _new(op, role, run.name, mount)
    checkpoint("made a new secret-id")
    try:
        _login(op, role, role_id, new.secret_id, run.name, mount)
    except OperatorError:
        for accessor in _accessors_of(op, role, run.name, mount):
            approle.destroy(op, role, accessor, mount=mount)
        work.record.unlink()
        raise
    checkpoint("logged in with it")
    if approle.read_id(role_file) != role_id:
        approle.write_id(role_file, role_id)
    approle.write_id(file, new.secret_id)
    run.replaced = time.time()
    _save(work.record, run)
    checkpoint("replaced the file")
    spare = _accessors_of(op, role, run.name, mount) - {new.accessor}
    destroyed += _finish(work, run, new.accessor, spare, checkpoint)
    return SecretIdRotation(role, file, new.accessor, tuple(destroyed))


@dataclass(frozen=True)
class _Work:
    """What ending the old ids needs."""

    op: Operator
    role: str
    record: Path
    mount: str
    grace: float
    end_others: bool


def _finish(
    work: _Work, run: _Run, current: str, spare: set[str], checkpoint: Checkpoint
) -> list[str]:
    """Destroy what the new secret-id replaces; it is in the file, and has logged in before that."""
    op, role, mount = work.op, work.role, work.mount
    left = (run.replaced or time.time()) + work.grace - time.time()
    if run.old and left > 0:
        # Nothing tells when the last service was given the new one: they are given time.
        rest(min(left, work.grace), f"services of {role} to be given the new secret-id")
    present = set(approle.accessors(op, role, mount=mount)) - {current}
    ending = sorted(
        present if work.end_others else (spare | ({run.old} if run.old else set())) & present
    )
    for accessor in ending:
        approle.destroy(op, role, accessor, mount=mount)
    checkpoint("destroyed the old secret-id")
    work.record.unlink()
    return ending


def _new(op: Operator, role: str, run: str, mount: str) -> approle.SecretId:
    metadata = json.dumps({_METADATA: run})
    data = op.request("POST", f"auth/{mount}/role/{role}/secret-id", metadata=metadata)["data"]
    return approle.SecretId(str(data["secret_id"]), str(data["secret_id_accessor"]))


def _login(op: Operator, role: str, role_id: str, secret_id: str, run: str, mount: str) -> None:
    """Log in once and revoke the token; for an id of a single use, its twin logs in."""
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
                remedy=f"{named('unlock', role)}, then this again. Nothing was changed.",
            ) from None
        raise
    if answer["auth"].get("token_type") != "batch":
        service = op.with_token(token)
        try:
            service.request("POST", "auth/token/revoke-self")
        finally:
            service.close()


def _is_locked(op: Operator, role_id: str) -> bool:
    try:
        return any(each.role_id == role_id for each in approle.locked(op))
    except OperatorError:
        return False  # nobody may tell; the refusal itself is told then


def _accessor(op: Operator, role: str, secret_id: str, mount: str) -> str | None:
    if not secret_id:
        return None
    known: dict[str, Any] | None = approle.lookup(op, role, secret_id, mount=mount)
    return str(known["secret_id_accessor"]) if known else None


def _accessors_of(op: Operator, role: str, run: str, mount: str) -> set[str]:
    """Accessors of the secret-ids that a run made.

    Raises:
        OperatorError: Vault did not say it of one: it would be forgotten, and be good for ever.
    """
    found = set()
    for accessor in approle.accessors(op, role, mount=mount):
        # None of one that expired between the list and the look.
        known = approle.lookup_accessor(op, role, accessor, mount=mount) or {}
        if (known.get("metadata") or {}).get(_METADATA) == run:
            found.add(accessor)
    return found


def _record(role: str, directory: Path) -> Path:
    """Where a rotation of a role's secret-id notes what it does."""
    return directory / DIRECTORY / f"secret-id-{role}.json"


def _save(record: Path, run: _Run) -> None:
    files.private_directory(record.parent)
    files.write_private(record, json.dumps(asdict(run)) + "\n")


def _load(record: Path) -> _Run | None:
    try:
        return _Run(**json.loads(record.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return None  # never written half: somebody else's file, and nothing in it is needed
