"""New values for secrets, as a new KV version, and on the server that knows the password too.

Nobody is locked out at any moment, and a run that was ended half-way is finished by the next one:
the record on disk says which versions were there before, KV has both values, and the server is
asked which one it takes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from vault_harness.blueprint import Blueprint
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.errors import HarnessError, OperatorError, StackError
from vault_harness.interrupts import telling_what_is_left
from vault_harness.vault.kv import Kv
from vault_harness.vault.rotate._exchange import (
    SecretRotation,
    Work,
    exchange,
    need_the_one_before,
    resumable,
    resume,
    to_rotate,
)
from vault_harness.vault.rotate._password_server import PasswordServer, ServerUnreachableError
from vault_harness.vault.rotate._record import load, record_file
from vault_harness.vault.rotate._secret_id import Checkpoint
from vault_harness.vault.rotate._targets import ServerKind, Target

FindServer = Callable[[ServerKind], PasswordServer | None]
_Of = TypeVar("_Of")
_Came = TypeVar("_Came")

_SAID = (ServerUnreachableError,)
"""Errors that say themselves which task goes on with what was begun."""


@dataclass(frozen=True)
class SecretPlan:
    """What a rotation would do.

    Attributes:
        version: The version whose value would be replaced.
        resumes: Whether it would only finish what an earlier run had begun, whose new value that
            version has.
    """

    version: int
    resumes: bool


class NothingToRollBack(StackError):
    """There is no rotation of that value in this Vault, or its value is not the rotation's."""


@without_frames
def rotate_secret(
    kv: Kv,
    target: Target,
    directory: Path,
    *,
    servers: FindServer = lambda _kind: None,
    blueprint: Blueprint | None = None,
    grace: float = 0.0,
    checkpoint: Checkpoint = lambda _step: None,
) -> SecretRotation:
    """Give one secret a new value, here and on the server that knows it too.

    Args:
        kv: Where it is.
        target: Which one.
        directory: Where the record of it goes.
        servers: The server of a kind, or None where none is configured.
        blueprint: Says length and alphabet of the new value, if it has the secret.
        grace: Seconds for which the old password stays good on a server that can have two (Redis):
            longer than clients keep a value.
        checkpoint: Called after each step.

    Raises:
        OperatorError: There is no such secret, or Vault refused.
        ServerRefusedError: The server did not take the password; Vault has the old value again.
        ServerUnreachableError: Nobody can tell which password it takes. Before it was asked to take
            the new one Vault has the old value again, afterwards Vault keeps the new one, and the
            next run goes on.
    """
    work = _work(kv, target, directory, servers, grace, checkpoint)
    with telling_what_is_left(partial(_left, work, "rotate.secrets"), but=_SAID):
        record = load(work.file)
        if record is not None and record.state == "running":
            finished = resume(work, record)
            if finished is not None and record.ends_as == "done":
                return finished
        new = target.new_value(blueprint, kv.mount)
        return exchange(work, new, ends_as="done")


@without_frames
def plan_secret(
    kv: Kv, target: Target, directory: Path, *, servers: FindServer = lambda _kind: None
) -> SecretPlan:
    """What `rotate_secret` would do, without doing it; no server is asked.

    Raises:
        OperatorError: There is no such secret, or no such key in it, or Vault keeps one version of
            it alone.
    """
    now = to_rotate(kv, target)
    work = _work(kv, target, directory, servers, 0.0, lambda _step: None)
    record = load(work.file)
    resumes = record is not None and record.ends_as == "done" and resumable(kv, target, record)
    if work.server is not None and not resumes:
        need_the_one_before(kv, target, work.server)
    return SecretPlan(now.version, resumes)


@without_frames
def roll_back(
    kv: Kv,
    target: Target,
    directory: Path,
    *,
    servers: FindServer = lambda _kind: None,
    grace: float = 0.0,
    checkpoint: Checkpoint = lambda _step: None,
) -> SecretRotation:
    """Return to the value before the newest rotation, here and on the server.

    Only what the rotation itself wrote is replaced: a value that somebody wrote since stays.

    Arguments as for `rotate_secret`.

    Raises:
        NothingToRollBack: There is no rotation of it in this Vault, or its value is not the
            rotation's any more.
        OperatorError: The earlier value is gone, or Vault refused.
        ServerRefusedError: The server did not take the earlier password.
        ServerUnreachableError: As for `rotate_secret`.
    """
    work = _work(kv, target, directory, servers, grace, checkpoint)
    with telling_what_is_left(partial(_left, work, "rotate.rollback"), but=_SAID):
        record = load(work.file)
        if record is not None and record.state == "running":
            finished = resume(work, record)
            if finished is not None and record.ends_as == "rolled back":
                return finished
        earlier, _ = _find_earlier(work)
        return exchange(work, earlier, ends_as="rolled back")


@without_frames
def find_rollback(
    kv: Kv, target: Target, directory: Path, *, servers: FindServer = lambda _kind: None
) -> int:
    """The version whose value `roll_back` would return to; changes nothing, and asks no server.

    Raises:
        HarnessError: As `roll_back` says.
    """
    work = _work(kv, target, directory, servers, 0.0, lambda _step: None)
    record = load(work.file)
    if record is not None and resumable(kv, target, record):  # it would be finished first
        done = record if record.ends_as == "done" else record.settled
        if done is not None:
            return done.before
    before = _find_earlier(work)[1]
    if work.server is not None:
        need_the_one_before(kv, target, work.server)
    return before


def each_of(
    targets: Iterable[_Of], turn: Callable[[_Of], _Came]
) -> Iterator[tuple[_Of, _Came | HarnessError]]:
    """Do something to each of several targets; what one refuses does not keep it from the others.

    Args:
        targets: Which ones: values, or roles by their names.
        turn: `rotate_secret`, `roll_back`, `rotate_secret_id` or what they would do, with
            everything but the target.

    Yields:
        Each target with what came of it, as soon as it is known.
    """
    for target in targets:
        try:
            yield target, turn(target)
        except HarnessError as error:
            yield target, error


def _work(
    kv: Kv,
    target: Target,
    directory: Path,
    servers: FindServer,
    grace: float,
    checkpoint: Checkpoint,
) -> Work:
    server = servers(target.server) if target.server else None
    return Work(kv, target, server, record_file(directory, kv, target), grace, checkpoint)


def _left(work: Work, task: str) -> str:
    """What an interrupt leaves; empty if everything is as it was before, or done."""
    record = None
    with contextlib.suppress(StackError):  # somebody else's file: nothing of this run is in it
        record = load(work.file)
    if record is None or record.state != "running":
        return ""
    knows = f", and {work.server.title} takes either of the two or both" if work.server else ""
    both = work.server is not None and work.server.keeps_old and work.grace
    words = [work.target.name, *(["--grace", f"{work.grace:g}"] if both else [])]
    return (
        f"{work.target.name} is half-way: Vault has the old value or the new one{knows}. "
        f"{named(task, *words)} asks which, and goes on from there"
    )


def _find_earlier(work: Work) -> tuple[object, int]:
    """The value before the newest rotation and its version, if the rotation's is still there."""
    kv, target = work.kv, work.target
    present = load(work.file)
    record = present.settled if present is not None else None
    command = named("vault", "--", "kv", "metadata", "get", f"{kv.mount}/{target.path}")
    versions = f"See its versions: {command}"
    if record is None or record.state != "done":
        raise NothingToRollBack(
            f"no rotation of {target.name} in this Vault is there to take back",
            looked_at=str(work.file),
            remedy=versions,
        )
    now = kv.read(target.path)
    if not record.wrote(now.data.get(target.key)):
        raise NothingToRollBack(
            f"{target.key} of {kv.mount}/{target.path} is not what the rotation wrote: somebody "
            "changed it since, and it stays",
            looked_at=f"version {now.version}, which is {now.state}; {work.file}",
            remedy=versions,
        )
    earlier = record.earlier(kv)
    if earlier is None:
        raise OperatorError(
            f"version {record.before} of {kv.mount}/{target.path} has no {target.key} any more",
            looked_at="KV keeps a limited number of versions, and deleted ones cannot be read",
            remedy=f"Rotate it anew: {named('rotate.secrets', target.name)}",
        )
    return earlier, record.before
