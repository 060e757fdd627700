"""New values for secrets, as a new KV version, and on the server that knows the password too.

Nobody is locked out at any moment, and a run that was ended half-way is finished by the next one:
the record
on disk says which versions were there before, KV has both values, and the server is asked which one
it takes.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from vault_harness import files
from vault_harness.blueprint import Blueprint
from vault_harness.commands import named
from vault_harness.errors import HarnessError, OperatorError, StackError
from vault_harness.vault.kv import CheckAndSetError, Kv
from vault_harness.vault.rotate._secret_id import RECORDS, Checkpoint
from vault_harness.vault.rotate._servers import Account, PasswordServer, ServerRefusedError
from vault_harness.vault.rotate._targets import ServerKind, Target

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


@dataclass
class _Record:
    """A rotation on disk. No values: KV has them.

    Attributes:
        path: The secret.
        key: The key inside it.
        before: The version with the value that is replaced.
        state: ``running``, ``done`` or ``rolled back``.
    """

    path: str
    key: str
    before: int
    state: str = "running"
    file: Path | None = field(default=None, compare=False)

    def save(self) -> None:
        assert self.file is not None
        files.private_directory(self.file.parent)
        content = asdict(self)
        del content["file"]
        files.write_private(self.file, json.dumps(content) + "\n")


@dataclass(frozen=True)
class _Work:
    """What every step needs."""

    kv: Kv
    target: Target
    server: PasswordServer | None
    grace: float
    checkpoint: Checkpoint


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
    work = _Work(kv, target, servers(target.server) if target.server else None, grace, checkpoint)
    record = _load(directory, target)
    if record is not None and record.state == "running":
        finished = _resume(work, record)
        if finished is not None:
            return finished
    new = target.new_value(blueprint, kv.mount)
    return _exchange(work, directory, new, "done")


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

    Arguments as for `rotate_secret`.

    Raises:
        StackError: There is no rotation to take back.
        OperatorError: The earlier value is gone, or Vault refused.
        ServerRefusedError: The server did not take the earlier password.
    """
    work = _Work(kv, target, servers(target.server) if target.server else None, grace, checkpoint)
    record = _load(directory, target)
    if record is not None and record.state == "running":
        _resume(work, record)
        record = _load(directory, target)
    if record is None or record.state != "done":
        raise StackError(
            f"no rotation of {target.name} is there to take back",
            looked_at=str(_record_file(directory, target)),
            remedy="See its versions: "
            + named("vault", "--", "kv", "metadata", "get", f"{kv.mount}/{target.path}"),
        )
    earlier = kv.read(target.path, version=record.before).data.get(target.key)
    if earlier is None:
        raise OperatorError(
            f"version {record.before} of {kv.mount}/{target.path} has no {target.key} any more",
            looked_at="KV keeps a limited number of versions, and deleted ones cannot be read",
            remedy=f"Rotate it anew: {named('rotate.secrets', target.name)}",
        )
    return _exchange(work, directory, str(earlier), "rolled back")


def _exchange(work: _Work, directory: Path, new: str, state: str) -> SecretRotation:
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
    record = _Record(target.path, target.key, now.version, file=_record_file(directory, target))
    record.save()
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
            record.state = "rolled back"
            record.save()
        raise
    return _conclude(work, record, account, versions, state)


def _conclude(
    work: _Work, record: _Record, account: Account, versions: dict[str, int], state: str
) -> SecretRotation:
    if work.server is not None:
        if work.grace:
            # Nothing tells when the last client has read the new value: they are given time.
            time.sleep(work.grace)
        work.server.retire_old(account)
        work.checkpoint("the old password ended")
    record.state = state
    record.save()
    return SecretRotation(work.target, versions, work.server.title if work.server else None)


def _resume(work: _Work, record: _Record) -> SecretRotation | None:
    """Finish what an ended run began; None if it had not changed Vault yet."""
    kv, target = work.kv, work.target
    now = kv.read(target.path)
    old = kv.read(target.path, version=record.before).data.get(target.key)
    new = now.data.get(target.key)
    if old is None or new is None or old == new:
        return None
    account = Account(str(now.data.get(target.user_key, "")), str(old), str(new))
    versions = {target.path: now.version}
    try:
        if work.server is not None and not work.server.accepts(account, account.new):
            with work.server.changing(account) as confirm:
                confirm()
            _check(work.server, account)
        versions |= _write_urls(work, account)
    except ServerRefusedError:
        _restore(work, account)
        record.state = "rolled back"
        record.save()
        raise
    concluded = _conclude(work, record, account, versions, "done")
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
        return {**_with_urls(data, account), target.key: account.new}

    versions = {target.path: _update(work, target.path, change)}
    return versions | _write_urls(work, account)


def _write_urls(work: _Work, account: Account) -> dict[str, int]:
    if work.target.server is None:
        return {}
    versions = {}
    for path in work.kv.paths():
        data = dict(work.kv.read(path).data)
        if _with_urls(data, account) != data:
            versions[path] = _update(work, path, lambda data: _with_urls(data, account))
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
        return _with_urls(data, back)

    _update(work, work.target.path, change)
    _write_urls(work, back)


def _with_urls(data: dict[str, Any], account: Account) -> dict[str, Any]:
    """The same secret with the password exchanged in every URL that logs in with it."""
    return {
        key: _in_url(value, account) if isinstance(value, str) else value
        for key, value in data.items()
    }


def _in_url(value: str, account: Account) -> str:
    try:
        parts = urlsplit(value)
        password = parts.password
    except ValueError:
        return value  # brackets that are no IPv6 address: no URL
    if not parts.scheme or not password or unquote(password) != account.old:
        return value
    head, _, host = parts.netloc.rpartition("@")
    user = head.partition(":")[0]
    netloc = f"{user}:{quote(account.new, safe='')}@{host}"
    return urlunsplit(parts._replace(netloc=netloc))


def _record_file(directory: Path, target: Target) -> Path:
    name = f"secret-{target.path}-{target.key}".replace("/", "-")
    return directory / RECORDS / f"{name}.json"


def _load(directory: Path, target: Target) -> _Record | None:
    file = _record_file(directory, target)
    try:
        record = _Record(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise StackError(
            f"{file.name} is no record of a rotation",
            looked_at=str(file),
            remedy="Move the file away; that rotation can then not be taken back.",
        ) from None
    record.file = file
    return record
