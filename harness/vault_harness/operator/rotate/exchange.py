"""Replace a value by another, step by step, and undo that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vault_harness import urls
from vault_harness.errors import HarnessError, OperatorError, named
from vault_harness.local.vault.kv import CheckAndSetError, Kv, SecretVersion
from vault_harness.local.written_ahead import Checkpoint
from vault_harness.operator.rotate.password_server import (
    Account,
    PasswordServer,
    ServerRefusedError,
    ServerUnreachableError,
)
from vault_harness.operator.rotate.record import RotationRecord, Target, load
from vault_harness.waiting import rest

_ATTEMPTS = 5


@dataclass(frozen=True)
class SecretRotation:
    """The result of a rotation or a rollback.

    Attributes:
        versions: By path, the version with the new value: the secret itself, and others with the
            password inside a URL.
        holding: ``path KEY`` that rightly have the old password: URLs of other accounts, and values
            that are exactly this password.
        missed: Those that have it inside a text that could not be parsed.
    """

    target: Target
    versions: dict[str, int]
    server: str | None
    resumed: bool = False
    holding: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()


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
    """Old and new value as in KV, which may hold a number or an object."""

    user: str
    old: object = field(repr=False)
    new: object = field(repr=False)

    @property
    def account(self) -> Account:
        return Account(self.user, str(self.old), str(self.new))


def to_rotate(kv: Kv, target: Target) -> SecretVersion:
    now = kv.read(target.path)
    if now.data.get(target.key) is None:
        raise OperatorError(
            f"{kv.mount}/{target.path} has no {target.key} to rotate",
            looked_at=f"version {now.version}, which is {now.state}",
            remedy=f"Put it there first: {named('seed')}, or {named('migrate')}.",
        )
    return now


def exchange(work: Work, new: object, *, ends_as: str) -> SecretRotation:
    """Change a secret in Vault and on the server, with a record of it.

    Raises:
        ServerRefusedError: Vault has the old value again.
        ServerUnreachableError: The same if the server was not asked yet. Otherwise it may have the
            new value, so Vault and the record keep it for the next run.
    """
    kv, target = work.kv, work.target
    now = to_rotate(kv, target)
    values = _Values(str(now.data.get(target.user_key, "")), now.data[target.key], new)
    account = values.account
    if work.server is not None:
        need_the_one_before(kv, target, work.server)
        # Do not begin without a login, which alone tells in the end which password counts.
        work.server.accepts(account, account.old)
    present = load(work.file)
    record = RotationRecord.begin(kv, target, now, new, ends_as=ends_as)
    record.follow(present.settled if present is not None else None)
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
        if not asked:  # otherwise the server may have it, and the next run needs the record
            _go_back(work, record, values)
        raise
    except HarnessError as error:
        if asked and not _has_the_old(error):
            raise _unfinished(work, record, error) from None
        _go_back(work, record, values)
        raise
    return _conclude(work, record, account, versions)


def need_the_one_before(kv: Kv, target: Target, server: PasswordServer) -> None:
    """Check that Vault keeps the version before a write, if a server has the password too.

    Until the server has the new password, only that version holds the server's.
    """
    if kv.keeps_the_one_before(target.path):
        return
    place = f"{kv.mount}/{target.path}"
    more = named("vault", "--", "kv", "metadata", "put", "-max-versions=10", place)
    raise OperatorError(
        f"{place} keeps only one version: an interrupted rotation would lose the password that "
        f"{server.title} has; nothing was changed",
        looked_at=f"max_versions of {kv.mount}/config and of the secret's metadata",
        remedy=f"{more}, then run this again",
    )


def _go_back(work: Work, record: RotationRecord, values: _Values) -> None:
    """Put the old value back, which the server has.

    If Vault cannot be reached, the record stays for the next run.
    """
    with contextlib.suppress(HarnessError):
        _restore(work, values)
        record.come_to_nothing(work.file)


def _conclude(
    work: Work, record: RotationRecord, account: Account, versions: dict[str, int]
) -> SecretRotation:
    if work.server is not None:
        if work.grace and work.server.keeps_old:
            # Nobody knows when the last client has read the new value.
            rest(work.grace, f"clients of {work.server.title} to read the new password")
        work.server.retire_old(account)
        work.checkpoint("the old password ended")
    record.state = record.ends_as
    record.save(work.file)
    title = work.server.title if work.server else None
    kept, missed = holding(work, account)
    return SecretRotation(work.target, versions, title, holding=kept, missed=missed)


def account_in(target: Target, now: SecretVersion) -> Account:
    return Account(str(now.data.get(target.user_key, "")), str(now.data[target.key]), "")


def holding(work: Work, account: Account) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the places that keep the old password, see `SecretRotation`.

    Empty if no server knows the value, or if Vault does not answer.
    """
    kept: list[str] = []
    missed: list[str] = []
    kind = work.target.server
    if kind is None:
        return (), ()
    with contextlib.suppress(OperatorError):  # the rotation is done
        for path in work.kv.paths():
            own = work.target.key if path == work.target.path else ""
            for key, value in _with_urls(work.kv.read(path).data, account, kind).items():
                if key == own or not isinstance(value, str):
                    continue
                found = [_rightly(url, account, kind) for url in urls.each(value)]
                if False in found:
                    missed.append(f"{path} {key}")
                elif True in found:
                    kept.append(f"{path} {key}")
    return tuple(kept), tuple(missed)


def _rightly(url: str, account: Account, kind: urls.ServerKind) -> bool | None:
    """Return whether a text may keep the old password; None if it does not have it."""
    if url == account.old != "" or urls.find_login(url, account.old):
        return True
    if not urls.holds(url, account.old):
        return None
    return urls.server_of(url) not in {"", kind}


def _with_urls(
    data: Mapping[str, Any], account: Account, kind: urls.ServerKind | None
) -> dict[str, Any]:
    """Replace the password in a secret's URLs, except those of other accounts."""

    def change(url: str) -> str:
        found = urls.find_login(url, account.old)
        if found is None or (
            kind is not None and urls.is_of_another(url, found.user, own=account.user, kind=kind)
        ):
            return url
        return found.with_password(account.new)

    return {
        key: urls.change_each(value, change) if isinstance(value, str) else value
        for key, value in data.items()
    }


def resumable(kv: Kv, target: Target, record: RotationRecord) -> bool:
    return (
        record.state == "running"
        and record.earlier(kv) is not None
        and record.wrote(kv.read(target.path).data.get(target.key))
    )


def resume(work: Work, record: RotationRecord) -> SecretRotation | None:
    """Finish an interrupted run; return None if Vault does not have its new value.

    Raises:
        ServerUnreachableError: The server may have either value. Vault and the record stay.
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
    with contextlib.suppress(ServerRefusedError):  # the old password works, and that is enough
        server.retire_old(back)
    raise ServerRefusedError(
        f"{server.title} took the new password, and then refused a login with it",
        looked_at=repr(server),
        remedy="The old password is back. Look at the server's log and its list of users.",
    )


def _has_the_old(error: HarnessError) -> bool:
    return isinstance(error, ServerRefusedError) and not isinstance(error, ServerUnreachableError)


def _unfinished(work: Work, record: RotationRecord, error: HarnessError) -> ServerUnreachableError:
    """Describe a server that may have the new password. Vault keeps it, or nobody could log in."""
    task = "rotate.secrets" if record.ends_as == "done" else "rotate.rollback"
    return ServerUnreachableError(
        f"{error.cause}; it may have the new password now, so Vault keeps that",
        looked_at=error.looked_at,
        remedy=f"{error.remedy} Then run it again ({named(task, work.target.name)}): it asks the "
        "server which one it accepts, and continues from there.",
    )


def _write_all(work: Work, values: _Values) -> dict[str, int]:
    target, account = work.target, values.account

    def change(data: dict[str, Any]) -> dict[str, Any]:
        return {**_with_urls(data, account, target.server), target.key: values.new}

    versions = {target.path: _update(work, target.path, change)}
    return versions | _write_urls(work, account)


def _write_urls(work: Work, account: Account, *, but: str = "") -> dict[str, int]:
    """Replace the password in every secret's URLs except ``but``."""
    kind = work.target.server
    if kind is None:
        return {}
    versions = {}
    for path in work.kv.paths():
        if path == but:
            continue
        data = dict(work.kv.read(path).data)
        if _with_urls(data, account, kind) != data:
            versions[path] = _update(work, path, lambda data: _with_urls(data, account, kind))
    return versions


def _update(work: Work, path: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """Change some keys of a secret. Keys of other writers survive."""
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
        f"{work.kv.mount}/{path} keeps being changed by somebody else",
        looked_at=f"{_ATTEMPTS} attempts with check-and-set",
        remedy=f"Find out who writes there: {named('audit', '--path', f'*{path}')}",
    )


def _restore(work: Work, values: _Values) -> None:
    """Put the old value back wherever Vault has the new one, in the secret itself last.

    There the new value tells the next run of the interruption. If the secret came first, some URLs
    could keep a password that the server refuses.
    """
    back = _Values(values.user, values.new, values.old).account
    key = work.target.key

    def change(data: dict[str, Any]) -> dict[str, Any]:
        if data.get(key) == values.new:
            data[key] = values.old
        return _with_urls(data, back, work.target.server)

    try:
        _write_urls(work, back, but=work.target.path)
    except HarnessError:
        _update(work, work.target.path, change)  # most clients need this more than the URLs
        raise
    _update(work, work.target.path, change)
