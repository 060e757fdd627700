"""New values for secrets, as a new KV version, and on the server that knows the password too.

Nobody is locked out at any moment, and a run that was ended half-way is finished by the next one:
the record on disk says which versions were there before, KV has both values, and the server is
asked which one it takes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault_harness.blueprint import Blueprint
from vault_harness.commands import named
from vault_harness.errors import HarnessError, OperatorError, StackError
from vault_harness.vault._boundary import without_frames
from vault_harness.vault.kv import CheckAndSetError, Kv
from vault_harness.vault.rotate._record import RotationRecord, load, record_file
from vault_harness.vault.rotate._secret_id import Checkpoint
from vault_harness.vault.rotate._servers import Account, PasswordServer, ServerRefusedError
from vault_harness.vault.rotate._targets import ServerKind, Target
from vault_harness.vault.rotate._urls import with_urls

Servers = Callable[[ServerKind], PasswordServer | None]

_ATTEMPTS = 5


@dataclass(frozen=True)
class SecretRotation:
    """What a rotation, or taking one back, did.

    Attributes:
        target: What was rotated.
        versions: By path, the version that has the new value: the secret itself, and others that
            hold
            the password inside a URL.
        server: Title of the server that was changed too, or None.
        resumed: Whether it finished what an earlier run had begun.
    """

    target: Target
    versions: dict[str, int]
    server: str | None
    resumed: bool = False


class NothingToRollBack(StackError):
    """There is no rotation of that value in this Vault, or its value is not the rotation's."""


@dataclass(frozen=True)
class _Work:
    """What every step needs."""

    kv: Kv
    target: Target
    server: PasswordServer | None
    file: Path
    grace: float
    checkpoint: Checkpoint


@without_frames
def rotate_secret(
    kv: Kv,
    target: Target,
    directory: Path,
    *,
    servers: Servers = lambda _kind: None,
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
    """
    work = _work(kv, target, directory, servers, grace, checkpoint)
    record = load(work.file)
    if record is not None and record.state == "running":
        finished = _resume(work, record)
        if finished is not None and record.ends_as == "done":
            return finished
    new = target.new_value(blueprint, kv.mount)
    return _exchange(work, new, ends_as="done")


@without_frames
def roll_back(
    kv: Kv,
    target: Target,
    directory: Path,
    *,
    servers: Servers = lambda _kind: None,
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
    """
    work = _work(kv, target, directory, servers, grace, checkpoint)
    record = load(work.file)
    if record is not None and record.state == "running":
        finished = _resume(work, record)
        if finished is not None and record.ends_as == "rolled back":
            return finished
    earlier, _ = _find_earlier(work)
    return _exchange(work, earlier, ends_as="rolled back")


@without_frames
def find_rollback(kv: Kv, target: Target, directory: Path) -> int:
    """The version whose value `roll_back` would return to; changes nothing.

    Raises:
        HarnessError: As `roll_back` says.
    """
    work = _work(kv, target, directory, lambda _kind: None, 0.0, lambda _step: None)
    return _find_earlier(work)[1]


def each_of(
    targets: Iterable[Target], turn: Callable[[Target], SecretRotation]
) -> Iterator[tuple[Target, SecretRotation | HarnessError]]:
    """Do something to each of several targets; what one refuses does not keep it from the others.

    Args:
        targets: Which ones.
        turn: `rotate_secret` or `roll_back` with everything but the target.

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
    servers: Servers,
    grace: float,
    checkpoint: Checkpoint,
) -> _Work:
    server = servers(target.server) if target.server else None
    return _Work(kv, target, server, record_file(directory, kv, target), grace, checkpoint)


def _find_earlier(work: _Work) -> tuple[str, int]:
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


def _exchange(work: _Work, new: str, *, ends_as: str) -> SecretRotation:
    kv, target = work.kv, work.target
    now = kv.read(target.path)
    old = now.data.get(target.key)
    if old is None:
        raise OperatorError(
            f"{kv.mount}/{target.path} has no {target.key} to rotate",
            looked_at=f"version {now.version}, which is {now.state}",
            remedy=f"Put it there first: {named('seed')}, or {named('migrate')}.",
        )
    account = Account(str(now.data.get(target.user_key, "")), str(old), new)
    present = load(work.file)
    previous = present.settled if present is not None else None
    record = RotationRecord.begin(kv, target, now, new, ends_as=ends_as, previous=previous)
    record.save(work.file)
    work.checkpoint("recorded")
    versions: dict[str, int] = {}
    try:
        if work.server is None:
            versions = _write_all(work, account)
        else:
            with work.server.changing(account) as confirm:
                work.checkpoint("the server is ready")
                versions = _write_all(work, account)
                confirm()
            work.checkpoint("the server has it")
            _check(work.server, account)
    except HarnessError:
        # If Vault cannot be reached now, the record stays, and the next run goes on from it.
        with contextlib.suppress(HarnessError):
            _restore(work, account)
            record.come_to_nothing(work.file)
        raise
    return _conclude(work, record, account, versions)


def _conclude(
    work: _Work, record: RotationRecord, account: Account, versions: dict[str, int]
) -> SecretRotation:
    if work.server is not None:
        if work.grace:
            # Nothing tells when the last client has read the new value: they are given time.
            time.sleep(work.grace)
        work.server.retire_old(account)
        work.checkpoint("the old password ended")
    record.state = record.ends_as
    record.save(work.file)
    return SecretRotation(work.target, versions, work.server.title if work.server else None)


def _resume(work: _Work, record: RotationRecord) -> SecretRotation | None:
    """Finish what an ended run began; None if Vault does not have its new value (any more)."""
    kv, target = work.kv, work.target
    now = kv.read(target.path)
    new = now.data.get(target.key)
    old = record.earlier(kv)
    if old is None or not record.wrote(new):
        return None
    account = Account(str(now.data.get(target.user_key, "")), old, str(new))
    versions = {target.path: now.version}
    try:
        if work.server is not None and not work.server.accepts(account, account.new):
            with work.server.changing(account) as confirm:
                confirm()
            _check(work.server, account)
        versions |= _write_urls(work, account)
    except ServerRefusedError:
        _restore(work, account)
        record.come_to_nothing(work.file)
        raise
    concluded = _conclude(work, record, account, versions)
    return SecretRotation(target, concluded.versions, concluded.server, resumed=True)


def _check(server: PasswordServer, account: Account) -> None:
    if server.accepts(account, account.new):
        return
    back = Account(account.user, account.new, account.old)
    with server.changing(back) as confirm:
        confirm()
    server.retire_old(back)
    raise ServerRefusedError(
        f"{server.title} took the new password, and then refused a login with it",
        looked_at=repr(server),
        remedy="The old password is back. Look at the server's log and its list of users.",
    )


def _write_all(work: _Work, account: Account) -> dict[str, int]:
    """The secret itself first, then every other one that holds the password inside a URL."""
    target = work.target

    def change(data: dict[str, Any]) -> dict[str, Any]:
        return {**with_urls(data, account), target.key: account.new}

    versions = {target.path: _update(work, target.path, change)}
    return versions | _write_urls(work, account)


def _write_urls(work: _Work, account: Account) -> dict[str, int]:
    if work.target.server is None:
        return {}
    versions = {}
    for path in work.kv.paths():
        data = dict(work.kv.read(path).data)
        if with_urls(data, account) != data:
            versions[path] = _update(work, path, lambda data: with_urls(data, account))
    return versions


def _update(work: _Work, path: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """Change some keys of a secret; other writers' keys survive."""
    for _ in range(_ATTEMPTS):
        now = work.kv.read(path)
        changed = change(dict(now.data))
        if changed == dict(now.data):
            return now.version
        try:
            version = work.kv.write(path, changed, cas=now.version)
        except CheckAndSetError:
            continue
        work.checkpoint(f"wrote {path}")
        return version
    raise OperatorError(
        f"{work.kv.mount}/{path} is being changed all the time by somebody else",
        looked_at=f"{_ATTEMPTS} attempts with check-and-set",
        remedy=f"Find out who writes there: {named('audit', '--path', f'*{path}')}",
    )


def _restore(work: _Work, account: Account) -> None:
    """Put the old value back wherever Vault has the new one."""
    back = Account(account.user, account.new, account.old)
    key = work.target.key

    def change(data: dict[str, Any]) -> dict[str, Any]:
        if data.get(key) == account.new:
            data[key] = account.old
        return with_urls(data, back)

    _update(work, work.target.path, change)
    _write_urls(work, back)
