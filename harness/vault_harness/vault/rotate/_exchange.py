"""The steps by which a value is exchanged for another, forwards and backwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vault_harness.commands import named
from vault_harness.errors import HarnessError, OperatorError
from vault_harness.vault.kv import CheckAndSetError, Kv, SecretVersion
from vault_harness.vault.rotate._password_server import (
    Account,
    PasswordServer,
    ServerRefusedError,
    ServerUnreachableError,
)
from vault_harness.vault.rotate._record import RotationRecord, load
from vault_harness.vault.rotate._secret_id import Checkpoint
from vault_harness.vault.rotate._targets import Target
from vault_harness.vault.rotate._urls import holds, with_urls
from vault_harness.waiting import rest

_ATTEMPTS = 5


@dataclass(frozen=True)
class SecretRotation:
    """What a rotation, or taking one back, did.

    Attributes:
        target: What was rotated.
        versions: By path, the version that has the new value: the secret itself, and others that
            hold the password inside a URL.
        server: Title of the server that was changed too, or None.
        resumed: Whether it finished what an earlier run had begun.
        holding: Places that have the old password still, as ``path KEY``: of another account that
            has the same one, or in a form that is no URL.
    """

    target: Target
    versions: dict[str, int]
    server: str | None
    resumed: bool = False
    holding: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """What every step needs."""

    kv: Kv
    target: Target
    server: PasswordServer | None
    file: Path
    grace: float
    checkpoint: Checkpoint


@dataclass(frozen=True)
class _Values:
    """What is exchanged, as KV has it: a number or an object too, where servers have a text."""

    user: str
    old: object = field(repr=False)
    new: object = field(repr=False)

    @property
    def account(self) -> Account:
        return Account(self.user, str(self.old), str(self.new))


def to_rotate(kv: Kv, target: Target) -> SecretVersion:
    """The version with the value that a rotation would replace.

    Raises:
        OperatorError: There is no such secret, or no such key in it.
    """
    now = kv.read(target.path)
    if now.data.get(target.key) is None:
        raise OperatorError(
            f"{kv.mount}/{target.path} has no {target.key} to rotate",
            looked_at=f"version {now.version}, which is {now.state}",
            remedy=f"Put it there first: {named('seed')}, or {named('migrate')}.",
        )
    return now


def exchange(work: Work, new: object, *, ends_as: str) -> SecretRotation:
    """Give a secret a value, in Vault and on the server, with a record of it.

    Args:
        work: What is to be done.
        new: The value.
        ends_as: State of the record in the end.

    Raises:
        ServerRefusedError: The server did not take it; Vault has the old value again.
        ServerUnreachableError: As above if the server was never asked to take it. Else it may have
            it, so Vault keeps it, and the record for the next run.
        OperatorError: Vault refused, or keeps no earlier version of the secret.
    """
    kv, target = work.kv, work.target
    now = to_rotate(kv, target)
    values = _Values(str(now.data.get(target.user_key, "")), now.data[target.key], new)
    account = values.account
    if work.server is not None:
        need_the_one_before(kv, target, work.server)
        # A login is what tells in the end who has what: where none can be tried, nothing is begun.
        work.server.accepts(account, account.old)
    present = load(work.file)
    previous = present.settled if present is not None else None
    record = RotationRecord.begin(kv, target, now, new, ends_as=ends_as, previous=previous)
    versions: dict[str, int] = {}
    asked = False
    try:
        record.save(work.file)
        work.checkpoint("recorded")
        if work.server is None:
            versions = _write_all(work, values)
        else:
            with work.server.changing(account) as confirm:
                work.checkpoint("the server is ready")
                versions = _write_all(work, values)
                asked = True
                confirm()
            work.checkpoint("the server has it")
            _check(work.server, account)
    except KeyboardInterrupt:
        if not asked:  # else the server may have it by now, and the record stays for the next run
            _go_back(work, record, values)
        raise
    except HarnessError as error:
        if asked and not _has_the_old(error):
            raise _unfinished(work, record, error) from None
        _go_back(work, record, values)
        raise
    return _conclude(work, record, account, versions)


def need_the_one_before(kv: Kv, target: Target, server: PasswordServer) -> None:
    """See that Vault keeps the version before a write, where a server has the password too.

    Vault has the new one first: the server's is an earlier version, or lost, until then.

    Raises:
        OperatorError: It keeps one version alone.
    """
    if kv.keeps_the_one_before(target.path):
        return
    place = f"{kv.mount}/{target.path}"
    more = named("vault", "--", "kv", "metadata", "put", "-max-versions=10", place)
    raise OperatorError(
        f"{place} keeps one version alone: were this ended half-way, the password that "
        f"{server.title} has would be nowhere to be read; nothing was changed",
        looked_at=f"max_versions of {kv.mount}/config and of the secret's metadata",
        remedy=f"{more}, then this again",
    )


def _go_back(work: Work, record: RotationRecord, values: _Values) -> None:
    """Put the old value back, which the server has.

    If Vault cannot be reached now, the record stays, and the next run goes on from it.
    """
    with contextlib.suppress(HarnessError):
        _restore(work, values)
        record.come_to_nothing(work.file)


def _conclude(
    work: Work, record: RotationRecord, account: Account, versions: dict[str, int]
) -> SecretRotation:
    if work.server is not None:
        if work.grace and work.server.keeps_old:
            # Nothing tells when the last client has read the new value: they are given time.
            rest(work.grace, f"clients of {work.server.title} to read the new password")
        work.server.retire_old(account)
        work.checkpoint("the old password ended")
    record.state = record.ends_as
    record.save(work.file)
    title = work.server.title if work.server else None
    return SecretRotation(work.target, versions, title, holding=_holding(work, account))


def _holding(work: Work, account: Account) -> tuple[str, ...]:
    """Where the old password still is, for a person to look at; nothing if Vault does not say."""
    found: list[str] = []
    if work.target.server is None:
        return ()
    with contextlib.suppress(OperatorError):  # what was asked for is done
        for path in work.kv.paths():
            own = work.target.key if path == work.target.path else ""
            found += [
                f"{path} {key}"
                for key, value in work.kv.read(path).data.items()
                if key != own and holds(value, account.old)
            ]
    return tuple(found)


def resumable(kv: Kv, target: Target, record: RotationRecord) -> bool:
    """Whether an ended run began it, and Vault has its new value."""
    return (
        record.state == "running"
        and record.earlier(kv) is not None
        and record.wrote(kv.read(target.path).data.get(target.key))
    )


def resume(work: Work, record: RotationRecord) -> SecretRotation | None:
    """Finish what an ended run began; None if Vault does not have its new value (any more).

    Raises:
        ServerRefusedError: The server did not take it; Vault has the old value again.
        ServerUnreachableError: Nobody can tell which one it has; Vault and the record stay.
        OperatorError: Vault refused.
    """
    kv, target = work.kv, work.target
    now = kv.read(target.path)
    new = now.data.get(target.key)
    old = record.earlier(kv)
    if old is None or not record.wrote(new):
        return None
    values = _Values(str(now.data.get(target.user_key, "")), old, new)
    account = values.account
    versions = {target.path: now.version}
    try:
        if work.server is not None and not work.server.accepts(account, account.new):
            with work.server.changing(account) as confirm:
                confirm()
            _check(work.server, account)
        versions |= _write_urls(work, account)
    except ServerRefusedError as error:
        if not _has_the_old(error):
            raise _unfinished(work, record, error) from None
        _restore(work, values)
        record.come_to_nothing(work.file)
        raise
    concluded = _conclude(work, record, account, versions)
    return replace(concluded, resumed=True)


def _check(server: PasswordServer, account: Account) -> None:
    if server.accepts(account, account.new):
        return
    back = Account(account.user, account.new, account.old)
    try:
        with server.changing(back) as confirm:
            confirm()
    except ServerRefusedError as error:
        raise ServerUnreachableError(
            f"{server.title} took the new password, refused a login with it, and did not take the "
            f"old one again ({error.cause})",
            looked_at=repr(server),
            remedy="Look at the server's log and its list of users.",
        ) from None
    with contextlib.suppress(ServerRefusedError):  # the old one is good, which is what matters
        server.retire_old(back)
    raise ServerRefusedError(
        f"{server.title} took the new password, and then refused a login with it",
        looked_at=repr(server),
        remedy="The old password is back. Look at the server's log and its list of users.",
    )


def _has_the_old(error: HarnessError) -> bool:
    """Whether a server that was to take the new password surely has the old one."""
    return isinstance(error, ServerRefusedError) and not isinstance(error, ServerUnreachableError)


def _unfinished(work: Work, record: RotationRecord, error: HarnessError) -> ServerUnreachableError:
    """The server may have the new password: with the old one in Vault nobody could log in."""
    task = "rotate.secrets" if record.ends_as == "done" else "rotate.rollback"
    return ServerUnreachableError(
        f"{error.cause}; it may have the new password by now, and Vault keeps that",
        looked_at=error.looked_at,
        remedy=f"{error.remedy} Then run it again ({named(task, work.target.name)}): it asks the "
        "server which one it takes, and goes on from there.",
    )


def _write_all(work: Work, values: _Values) -> dict[str, int]:
    """The secret itself first, then every other one that holds the password inside a URL."""
    target, account = work.target, values.account

    def change(data: dict[str, Any]) -> dict[str, Any]:
        return {**with_urls(data, account, target.server), target.key: values.new}

    versions = {target.path: _update(work, target.path, change)}
    return versions | _write_urls(work, account)


def _write_urls(work: Work, account: Account, *, but: str = "") -> dict[str, int]:
    """Exchange the password in the URLs of every secret but one."""
    kind = work.target.server
    if kind is None:
        return {}
    versions = {}
    for path in work.kv.paths():
        if path == but:
            continue
        data = dict(work.kv.read(path).data)
        if with_urls(data, account, kind) != data:
            versions[path] = _update(work, path, lambda data: with_urls(data, account, kind))
    return versions


def _update(work: Work, path: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
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


def _restore(work: Work, values: _Values) -> None:
    """Put the old value back wherever Vault has the new one, in the secret itself last.

    By that the next run knows that one was ended half-way: before it, and some URLs would keep a
    password that no server takes, and nobody would look for it.
    """
    back = _Values(values.user, values.new, values.old).account
    key = work.target.key

    def change(data: dict[str, Any]) -> dict[str, Any]:
        if data.get(key) == values.new:
            data[key] = values.old
        return with_urls(data, back, work.target.server)

    try:
        _write_urls(work, back, but=work.target.path)
    except HarnessError:
        _update(work, work.target.path, change)  # most log in by it, and need not suffer for a URL
        raise
    _update(work, work.target.path, change)
